//! Rewrites the tables of a view's definition as MariaDB writes them after a restore.
//!
//! The server writes a bare chain of joins where a part of a comma-separated table list is a query.
//! When it reads that back, it nests the chain. Guarantees: a text that the server would write
//! again unchanged is returned unchanged. Quoted names and strings are not touched.

/// The tables of one `from` during reading.
#[derive(Debug, Default)]
struct Tables {
    /// Start of the first table.
    start: usize,
    /// Starts of the joins that are not in parentheses.
    joins: Vec<usize>,
    /// True when it contains something that a bare chain does not have.
    other: bool,
}

/// Words that end the tables of a query.
const ENDS: &[&str] = &[
    "where",
    "group",
    "having",
    "order",
    "limit",
    "union",
    "except",
    "intersect",
    "window",
    "procedure",
];

/// Words before `join` that occur only in parentheses.
const QUALIFIERS: &[&str] = &["left", "right", "inner", "cross", "natural", "full"];

/// Writes `from a join b join c` as `from ((a join b) join c)`, in each query of a definition.
pub fn nested_joins(text: &str) -> String {
    // One item for each open parenthesis, and one for the whole text.
    let mut open: Vec<Option<Tables>> = vec![None];
    let mut inserts: Vec<(usize, String)> = Vec::new();
    let (mut at, mut word_before) = (0, "");
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let length = token_bytes(rest);
        let token = rest.get(..length).unwrap_or(rest);
        match token {
            "(" => open.push(None),
            ")" => {
                let ended = open.pop().flatten();
                nest(text, ended, at, &mut inserts);
                if open.is_empty() {
                    return text.to_owned();
                }
            }
            word => {
                if let Some(tables) = open.last_mut() {
                    if word == "from" {
                        *tables = Some(Tables {
                            start: at + length + 1,
                            ..Tables::default()
                        });
                    } else if ENDS.contains(&word) {
                        nest(text, tables.take(), at, &mut inserts);
                    } else if let Some(tables) = tables.as_mut().filter(|_| word == "join") {
                        tables.other |= QUALIFIERS.contains(&word_before);
                        tables.joins.push(at);
                    }
                }
            }
        }
        if !token.trim().is_empty() {
            word_before = token;
        }
        at += length;
    }
    if open.len() > 1 {
        return text.to_owned();
    }
    nest(text, open.pop().flatten(), text.len(), &mut inserts);
    inserts.sort_by_key(|(at, _)| *at);
    let mut out = String::with_capacity(text.len());
    let mut kept = 0;
    for (at, insert) in inserts {
        out.push_str(text.get(kept..at).unwrap_or_default());
        out.push_str(&insert);
        kept = at;
    }
    out.push_str(text.get(kept..).unwrap_or_default());
    out
}

/// Puts parentheses around the joins of tables that end at `end`.
fn nest(text: &str, tables: Option<Tables>, end: usize, inserts: &mut Vec<(usize, String)>) {
    let Some(tables) = tables.filter(|tables| !tables.other && !tables.joins.is_empty()) else {
        return;
    };
    let before = |at: usize| text.get(..at).map_or(at, |text| text.trim_end().len());
    inserts.push((tables.start, "(".repeat(tables.joins.len())));
    let ends = tables.joins.iter().skip(1).chain([&end]);
    inserts.extend(ends.map(|at| (before(*at), ")".to_owned())));
}

/// Length in bytes of the first token of a text that is not empty: a word, something in quotes, or
/// a single character.
fn token_bytes(text: &str) -> usize {
    let mut characters = text.char_indices();
    let Some((_, first)) = characters.next() else {
        return 0;
    };
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut escaped = false;
    let mut ends = |c: char| {
        let ends = c == first && !escaped;
        escaped = c == '\\' && !escaped && first != '`';
        ends
    };
    let end = match first {
        // A doubled quote ends one token and begins the next, which has the same effect.
        '\'' | '"' | '`' => characters.find(|(_, c)| ends(*c)).map(|(at, _)| at + 1),
        first if is_word(first) => characters.find(|(_, c)| !is_word(*c)).map(|(at, _)| at),
        first => Some(first.len_utf8()),
    };
    end.unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_are_nested_as_after_a_restore() {
        let cases = [
            ("select 1 from `a` join `b`", "select 1 from (`a` join `b`)"),
            (
                "select 1 from (select 2 from `b` join `c` join `d`) `x` join `a` join `b` where 1",
                "select 1 from (((select 2 from ((`b` join `c`) join `d`)) `x` join `a`) join `b`) where 1",
            ),
            (
                "select ' from `' from (`a` left join `b` on(1)) join `from` group by 1",
                "select ' from `' from ((`a` left join `b` on(1)) join `from`) group by 1",
            ),
            (
                "select 'it\\'s', trim('a' from 'b') from `a``x` join `b` union select 1 from `c` join `d`",
                "select 'it\\'s', trim('a' from 'b') from (`a``x` join `b`) union select 1 from (`c` join `d`)",
            ),
        ];
        for (captured, restored) in cases {
            assert_eq!(nested_joins(captured), restored);
            assert_eq!(nested_joins(restored), restored);
        }
        for same in [
            "select 1 from ((`a` join `b`) left join `c` on(1)) where 1",
            "select 1 from `a` left join `b` on(1)",
            "select 1 from `a` join `b`)",
            "select (1 from `a` join `b`",
            "select '1 from `a` join `b`",
        ] {
            assert_eq!(nested_joins(same), same);
        }
    }
}
