//! Texts that others wrote, made safe to show: names of tables and files, and what programs say.

/// A text on one line: line breaks, other control characters and those that turn the direction of
/// writing are written as in Rust, `\n` and `\u{202e}`.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() || turns(c) {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    line
}

/// Returns whether a character breaks the line or changes the order in which others are shown.
fn turns(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_a_line_or_turns_it() {
        assert_eq!(one_line("name of a täble"), "name of a täble");
        assert_eq!(one_line("a\nb\x1b[2Jc\td"), "a\\nb\\u{1b}[2Jc\\td");
        assert_eq!(one_line("a\u{202e}gpj.exe"), "a\\u{202e}gpj.exe");
        assert_eq!(one_line("a\u{2028}b\u{2067}c"), "a\\u{2028}b\\u{2067}c");
        // Letters that are written from the right are letters.
        assert_eq!(one_line("שלום"), "שלום");
    }
}
