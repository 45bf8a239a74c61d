//! Rewrites the expressions in a PostgreSQL definition as the server writes them after a restore.
//!
//! The server keeps an expression as it was parsed. When it reads back its own text, it parses some
//! expressions in another way with the same meaning; only the second text survives any number of
//! restores. Guarantees: a text that the server would write again unchanged is returned unchanged.
//! Quoted names and strings are not touched.

/// Writes a definition as the server does after one dump and restore.
pub fn settled(text: &str) -> String {
    with_flat_chains(&with_cast_elements(text))
}

/// `AND` or `OR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connective {
    And,
    Or,
}

/// A group in parentheses: the positions of its parentheses, and the connective of its operands.
#[derive(Debug, Clone, Copy)]
struct Group {
    open: usize,
    close: usize,
    connective: Option<Connective>,
}

/// A group that is still open.
#[derive(Debug)]
struct Open {
    at: usize,
    connective: Option<Connective>,
    /// The group that it begins with.
    first: Option<Group>,
}

/// Writes `((a AND b) AND c)` as `(a AND b AND c)`, likewise with `OR`, and the text `ON TRUE` as
/// `ON (true)`. The nested form comes from `a BETWEEN x AND y AND c`, from comparisons of rows and
/// from `IS DISTINCT FROM`; the server flattens it only at the start of a group.
fn with_flat_chains(text: &str) -> String {
    let mut open: Vec<Open> = Vec::new();
    // Byte ranges to replace, with the replacements.
    let mut edits: Vec<(usize, usize, &str)> = Vec::new();
    let mut word_before = "";
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let length = token_bytes(rest);
        let token = rest.get(..length).unwrap_or(rest);
        match token {
            "(" => open.push(Open {
                at,
                connective: None,
                first: None,
            }),
            ")" => {
                let Some(ended) = open.pop() else { break };
                if let Some(outer) = open.last_mut().filter(|outer| outer.at + 1 == ended.at) {
                    outer.first = Some(Group {
                        open: ended.at,
                        close: at,
                        connective: ended.connective,
                    });
                }
            }
            "AND" | "OR" => {
                let connective = match token {
                    "AND" => Connective::And,
                    _ => Connective::Or,
                };
                if let Some(group) = open.last_mut().filter(|group| group.connective.is_none()) {
                    group.connective = Some(connective);
                    let first = group.first.filter(|first| {
                        first.connective == Some(connective)
                            && text.get(first.close + 1..at) == Some(" ")
                    });
                    if let Some(first) = first {
                        edits.push((first.open, first.open + 1, ""));
                        edits.push((first.close, first.close + 1, ""));
                    }
                }
            }
            "TRUE" if word_before == "ON" => edits.push((at, at + length, "(true)")),
            _ => {}
        }
        if !token.trim().is_empty() {
            word_before = token;
        }
        at += length;
    }
    edits.sort_unstable();
    let mut out = String::with_capacity(text.len());
    let mut kept = 0;
    for (from, to, replacement) in edits {
        out.push_str(text.get(kept..from).unwrap_or_default());
        out.push_str(replacement);
        kept = to;
    }
    out.push_str(text.get(kept..).unwrap_or_default());
    out
}

/// Length in bytes of the first token of a text that is not empty: a word, something in quotes, or
/// a single character.
fn token_bytes(text: &str) -> usize {
    let mut characters = text.char_indices();
    let Some((_, first)) = characters.next() else {
        return 0;
    };
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    match first {
        // A doubled quote ends one token and begins the next, which has the same effect.
        '\'' | '"' => {
            let closing = characters.find(|(_, c)| *c == first);
            closing.map_or(text.len(), |(at, _)| at + 1)
        }
        // The body of a routine: `$function$ … $function$`.
        '$' => dollar_quoted_bytes(text).unwrap_or(1),
        first if is_word(first) => {
            let end = characters.find(|(_, c)| !is_word(*c));
            end.map_or(text.len(), |(at, _)| at)
        }
        first => first.len_utf8(),
    }
}

fn dollar_quoted_bytes(text: &str) -> Option<usize> {
    let tag = text.strip_prefix('$')?.split('$').next()?;
    let is_tag = tag.chars().all(|c| c.is_alphanumeric() || c == '_');
    let mark = text.get(..tag.len() + 2).filter(|_| is_tag)?;
    let end = text.get(mark.len()..)?.find(mark)?;
    Some(end + 2 * mark.len())
}

/// Writes `(ARRAY[a, b])::text[]` as `ARRAY[(a)::text, (b)::text]`: the server turns the first into
/// the second when it reads back its own definition, so only the second survives a restore.
fn with_cast_elements(text: &str) -> String {
    const OPEN: &str = "(ARRAY[";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        out.push_str(before);
        match array_cast(after) {
            Some((elements, cast, tail)) => {
                let element = |e: &&str| format!("({})::{cast}", with_cast_elements(e));
                let elements: Vec<String> = elements.iter().map(element).collect();
                out.push_str("ARRAY[");
                out.push_str(&elements.join(", "));
                out.push(']');
                rest = tail;
            }
            None => {
                out.push_str(OPEN);
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Splits the text after `(ARRAY[` into the elements, the element type of the cast, and the rest.
fn array_cast(text: &str) -> Option<(Vec<&str>, &str, &str)> {
    let (mut depth, mut quote, mut start) = (0_usize, None, 0);
    let mut elements = Vec::new();
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(' | '[') => depth += 1,
            (None, ')') => depth = depth.checked_sub(1)?,
            (None, ']') if depth > 0 => depth -= 1,
            (None, ',') if depth == 0 => {
                elements.push(text.get(start..at)?.trim());
                start = at + 1;
            }
            (None, ']') => {
                elements.push(text.get(start..at)?.trim());
                let cast = text.get(at + 1..)?.strip_prefix(")::")?;
                let (cast, tail) = cast.split_once("[]")?;
                let name = |c: char| c.is_alphanumeric() || " _.\"(),".contains(c);
                return cast.chars().all(name).then_some((elements, cast, tail));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn array_casts_are_written_as_after_a_restore() {
        let captured = "CHECK (((s)::text = ANY ((ARRAY['a,]'::character varying, 'b'::character varying])::text[])))";
        let restored = "CHECK (((s)::text = ANY (ARRAY[('a,]'::character varying)::text, ('b'::character varying)::text])))";
        assert_eq!(settled(captured), restored);
        assert_eq!(settled(restored), restored);
        for same in [
            "(ARRAY[]::text[])",
            "SELECT 1",
            "(ARRAY[1, 2])",
            "(ARRAY['",
            "(ARRAY[1])::text",
        ] {
            assert_eq!(settled(same), same);
        }
    }

    #[test]
    fn chains_are_written_as_after_a_restore() {
        let cases = [
            (
                "(((a >= 1) AND (a <= 5)) AND b)",
                "((a >= 1) AND (a <= 5) AND b)",
            ),
            ("((((a AND b) AND c) AND d))", "((a AND b AND c AND d))"),
            (
                "(((a OR b) OR c) AND ((d AND e) AND f))",
                "((a OR b OR c) AND (d AND e AND f))",
            ),
            (
                "(JOIN t ON TRUE) WHERE ((\"AND\" AND 'x)') AND 'it''s')",
                "(JOIN t ON (true)) WHERE (\"AND\" AND 'x)' AND 'it''s')",
            ),
        ];
        for (captured, restored) in cases {
            assert_eq!(settled(captured), restored);
            assert_eq!(settled(restored), restored);
        }
        for same in [
            // Only a group at the start is flattened.
            "(c AND (a AND b))",
            "((a AND b) OR c)",
            "((a AND b)::text AND c)",
            "((NOT (a AND b)) AND c)",
            "AS $f$ if ((a AND b) AND c) $f$",
            "'((a AND b) AND c)'",
            ") AND (((",
            "$1 AND $",
            "é ON TRUELY",
        ] {
            assert_eq!(settled(same), same);
        }
    }
}
