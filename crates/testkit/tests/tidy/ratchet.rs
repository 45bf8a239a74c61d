//! Exceptions that can only become fewer and smaller: a table of what breaks a limit today, by how
//! much, compared with what the tree holds.

/// How a table of exceptions differs from the truth, a sentence each with what to do about it.
///
/// `known` and `found` hold what is over the limit and its size in lines; no name comes twice.
pub fn differences(
    lines_max: usize,
    known: &[(&str, usize)],
    found: &[(String, usize)],
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, lines) in found {
        match known.iter().find(|(known, _)| known == name) {
            None => wrong.push(format!(
                "{name}: {lines} lines, {lines_max} at most: split it along its ideas, \
                 and leave the table of exceptions alone"
            )),
            Some((_, allowed)) if lines > allowed => wrong.push(format!(
                "{name}: grew from {allowed} to {lines} lines: split it, or put what is new elsewhere"
            )),
            Some((_, allowed)) if lines < allowed => wrong.push(format!(
                "{name}: shrank from {allowed} to {lines} lines: lower its entry in the table"
            )),
            Some(_) => {}
        }
    }
    for (name, _) in known {
        if !found.iter().any(|(found, _)| found == name) {
            wrong.push(format!(
                "{name}: not over {lines_max} lines any more, or gone: strike its entry from the table"
            ));
        }
    }
    wrong
}

#[test]
fn what_is_new_or_changed_is_seen() {
    let found = |name: &str, lines| vec![(name.to_owned(), lines)];
    let table = [("a.rs", 90)];
    assert_eq!(differences(80, &table, &found("a.rs", 90)), [""; 0]);
    assert_eq!(differences(80, &[], &[]), [""; 0]);
    let only = |found: &[(String, usize)], says: &str| {
        let wrong = differences(80, &table, found);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(wrong[0].contains(says), "{wrong:?}");
    };
    only(&found("a.rs", 91), "grew from 90 to 91");
    only(&found("a.rs", 89), "shrank from 90 to 89");
    only(&[], "strike");
    let both = [found("a.rs", 90), found("b.rs", 81)].concat();
    only(&both, "b.rs: 81 lines, 80 at most");
}
