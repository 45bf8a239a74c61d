//! Takes a database's own name out of what the server writes.

/// Drops every `` `database`. `` from a definition, but for those in quoted text: a restore may
/// have another name.
pub fn unqualify(text: &str, database: &str) -> String {
    let own = format!("`{}`.", database.replace('`', "``"));
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let length = match next {
            '`' => match rest.strip_prefix(&own) {
                Some(after) => {
                    rest = after;
                    continue;
                }
                None => name_length(rest),
            },
            '\'' => quoted_length(rest),
            other => other.len_utf8(),
        };
        let (taken, after) = rest.split_at(length);
        out.push_str(taken);
        rest = after;
    }
    out
}

/// How long the name in backticks is that begins here.
fn name_length(text: &str) -> usize {
    let mut inside = text.char_indices().skip(1).peekable();
    while let Some((at, next)) = inside.next() {
        if next == '`' && inside.next_if(|(_, after)| *after == '`').is_none() {
            return at + 1;
        }
    }
    text.len()
}

/// How long the text in quotes is that begins here.
fn quoted_length(text: &str) -> usize {
    let mut inside = text.char_indices().skip(1).peekable();
    while let Some((at, next)) = inside.next() {
        match next {
            '\\' => {
                inside.next();
            }
            '\'' if inside.next_if(|(_, after)| *after == '\'').is_none() => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_name_goes_and_nothing_else() {
        let cases = [
            (
                "select `zoo`.`t`.`id` AS `id` from `zoo`.`t`",
                "select `t`.`id` AS `id` from `t`",
            ),
            ("`other`.`t`, `zoo`", "`other`.`t`, `zoo`"),
            (
                "'it''s `zoo`.`t` \\' `zoo`.' , `zoo`.`x`",
                "'it''s `zoo`.`t` \\' `zoo`.' , `x`",
            ),
            ("`a``zoo`.`b`", "`a``zoo`.`b`"),
            ("nextval(`zoo`.`sq`) ä", "nextval(`sq`) ä"),
            ("`unfinished", "`unfinished"),
            ("'unfinished `zoo`.", "'unfinished `zoo`."),
        ];
        for (text, expected) in cases {
            assert_eq!(unqualify(text, "zoo"), expected);
        }
        assert_eq!(unqualify("`a``b`.`t`", "a`b"), "`t`");
    }
}
