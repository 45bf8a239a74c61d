//! Text from elsewhere, made visible: what would break a line, reverse it or hide in it is written
//! as its escape.

/// A text on one line. Line breaks and other control characters become `\n` and the like;
/// characters that are not seen, or that turn the direction of the text, become `\u{202e}` and the
/// like.
pub fn visible(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() || is_hidden(c) {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    line
}

/// Characters that are not seen where they stand. Those that join emoji and letters of some scripts
/// (zero-width joiner and non-joiner, variation selectors) are not among them.
fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}'
        // Line and paragraph separator, embeddings and overrides.
        | '\u{2028}'..='\u{202e}'
        // Word joiner, invisible operators, isolates, deprecated formats.
        | '\u{2060}'..='\u{206f}'
        // Interlinear annotation.
        | '\u{fff9}'..='\u{fffb}'
        // Tags.
        | '\u{e0000}'..='\u{e007f}')
}

/// The beginning of a text, if it is longer than `chars_max`, with an ellipsis for the rest.
pub fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some(_) => {
            let kept = text.chars().take(chars_max.saturating_sub(1));
            kept.chain(['…']).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_not_be_seen_is_written_out() {
        assert_eq!(visible("a\nb\r\tc\0"), "a\\nb\\r\\tc\\u{0}");
        assert_eq!(visible("\u{202e}gpj.exe"), "\\u{202e}gpj.exe");
        assert_eq!(visible("a\u{2066}b\u{e0041}"), "a\\u{2066}b\\u{e0041}");
        assert_eq!(visible("Zürich 東京 👩‍🚒"), "Zürich 東京 👩‍🚒");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
    }
}
