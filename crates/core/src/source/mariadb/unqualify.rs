//! Removes a database's own name from text that the server writes.

/// Removes the database before its tables, sequences and functions from a definition, except in
/// quoted text: a restore may have another name. An alias or a table may have the name of the
/// database, and stays: `` `shop`.`id` `` is a column, unless it stands in the place of a table.
pub fn unqualify(text: &str, database: &str) -> String {
    let own = format!("`{}`", database.replace('`', "``"));
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // The word before, skipping parentheses and blanks.
    let mut word = String::new();
    while let Some(next) = rest.chars().next() {
        let length = match next {
            '`' => {
                let length = chain_length(rest);
                let (chain, after) = rest.split_at(length);
                out.push_str(without_database(chain, &own, &word, after));
                word.clear();
                rest = after;
                continue;
            }
            '\'' => quoted_length(rest),
            letter if letter.is_alphanumeric() || letter == '_' => {
                let end = |c: char| !(c.is_alphanumeric() || c == '_');
                let length = rest.find(end).unwrap_or(rest.len());
                word = rest.get(..length).unwrap_or_default().to_lowercase();
                length
            }
            '(' | ' ' => 1,
            other => {
                word.clear();
                other.len_utf8()
            }
        };
        let (taken, after) = rest.split_at(length);
        out.push_str(taken);
        rest = after;
    }
    out
}

/// Names joined by dots, without the first if it is the database.
fn without_database<'a>(chain: &'a str, own: &str, word: &str, after: &str) -> &'a str {
    let (first, others) = chain.split_at(name_length(chain));
    let Some(others) = others.strip_prefix('.').filter(|_| first == own) else {
        return chain;
    };
    let of_three = name_length(others) < others.len();
    let of_table = word == "from" || word.ends_with("join");
    let is_called = after.starts_with('(') || ["nextval", "lastval", "setval"].contains(&word);
    match of_three || of_table || is_called {
        true => others,
        false => chain,
    }
}

/// Length of the names in backticks, joined by dots, that begin here.
fn chain_length(text: &str) -> usize {
    let mut length = name_length(text);
    while let Some(rest) = text.get(length..)
        && rest.starts_with(".`")
    {
        length += 1 + name_length(rest.get(1..).unwrap_or_default());
    }
    length
}

/// Length of the name in backticks that begins here.
fn name_length(text: &str) -> usize {
    let mut inside = text.char_indices().skip(1).peekable();
    while let Some((at, next)) = inside.next() {
        if next == '`' && inside.next_if(|(_, after)| *after == '`').is_none() {
            return at + 1;
        }
    }
    text.len()
}

/// Length of the quoted text that begins here.
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
                "'it''s `zoo`.`t` \\' `zoo`.' , `zoo`.`x`.`y`",
                "'it''s `zoo`.`t` \\' `zoo`.' , `x`.`y`",
            ),
            // A table and an alias with the name of the database.
            (
                "select `zoo`.`zoo`.`id` AS `id` from ((`zoo`.`zoo` left join `zoo`.`t` `a` on(`a`.`id` = `zoo`.`zoo`.`id`)) straight_join `zoo`.`b`)",
                "select `zoo`.`id` AS `id` from ((`zoo` left join `t` `a` on(`a`.`id` = `zoo`.`id`)) straight_join `b`)",
            ),
            (
                "select `zoo`.`id` AS `id`,`zoo`.`f`(`zoo`.`id`) from `zoo`.`t` `zoo`",
                "select `zoo`.`id` AS `id`,`f`(`zoo`.`id`) from `t` `zoo`",
            ),
            (
                "with zoo as (select `zoo`.`t`.`id` AS `id` from `zoo`.`t`)select `zoo`.`id` AS `id` from `zoo`",
                "with zoo as (select `t`.`id` AS `id` from `t`)select `zoo`.`id` AS `id` from `zoo`",
            ),
            ("`a``zoo`.`b`", "`a``zoo`.`b`"),
            ("nextval(`zoo`.`sq`) ä", "nextval(`sq`) ä"),
            ("`unfinished", "`unfinished"),
            ("'unfinished `zoo`.", "'unfinished `zoo`."),
        ];
        for (text, expected) in cases {
            assert_eq!(unqualify(text, "zoo"), expected);
        }
        assert_eq!(unqualify("from `a``b`.`t`", "a`b"), "from `t`");
    }
}
