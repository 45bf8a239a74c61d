//! Text as Go writes it: `strconv.Quote`, and JSON strings.

/// Returns what `strconv.Quote` puts between the quotes: bytes that are not UTF-8, control
/// characters and unprintable characters are escaped.
pub(super) fn quote(name: &[u8]) -> String {
    let mut out = String::with_capacity(name.len());
    for part in name.utf8_chunks() {
        part.valid().chars().for_each(|c| quote_char(c, &mut out));
        for byte in part.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

fn quote_char(c: char, out: &mut String) {
    let short = match c {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\x07' => "\\a",
        '\x08' => "\\b",
        '\x0c' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\x0b' => "\\v",
        c if prints(c) => return out.push(c),
        c if c < ' ' || c == '\x7f' => return out.push_str(&format!("\\x{:02x}", u32::from(c))),
        c if c <= '\u{ffff}' => return out.push_str(&format!("\\u{:04x}", u32::from(c))),
        c => return out.push_str(&format!("\\U{:08x}", u32::from(c))),
    };
    out.push_str(short);
}

/// Returns whether a character is a letter, mark, number, punctuation, symbol or the ASCII space,
/// as `unicode.IsPrint` defines it. The standard library's `escape_debug` uses the same table, if
/// another character comes first; otherwise it treats a combining mark specially.
fn prints(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    let mut bytes = [0; 5];
    let (first, rest) = bytes.split_at_mut(1);
    first.fill(b'a');
    let length = 1 + c.encode_utf8(rest).len();
    std::str::from_utf8(bytes.get(..length).unwrap_or_default())
        .is_ok_and(|pair| pair.escape_debug().nth(1) == Some(c))
}

/// Reverses [`quote`]. Text that is not quoted in this way is returned as it is.
pub(super) fn unquote(text: &str) -> Vec<u8> {
    if !text.contains('\\') {
        return text.as_bytes().to_vec();
    }
    try_unquote(text).unwrap_or_else(|| text.as_bytes().to_vec())
}

fn try_unquote(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend_from_slice(before.as_bytes());
        let mut chars = after.chars();
        let escaped = chars.next()?;
        rest = chars.as_str();
        let digits = match escaped {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        if digits > 0 {
            let number = u32::from_str_radix(rest.get(..digits)?, 16).ok()?;
            rest = rest.get(digits..)?;
            match escaped {
                'x' => out.push(u8::try_from(number).ok()?),
                _ => push_char(char::from_u32(number)?, &mut out),
            }
            continue;
        }
        out.push(match escaped {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' | '"' | '\'' => u8::try_from(escaped).ok()?,
            _ => return None,
        });
    }
    out.extend_from_slice(rest.as_bytes());
    Some(out)
}

fn push_char(c: char, out: &mut Vec<u8>) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Appends `text` as a JSON string, escaped as Go's encoder does by default: also `<`, `>`, `&`,
/// U+2028 and U+2029, and each byte that is not UTF-8 as U+FFFD.
pub(super) fn json_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for part in text.utf8_chunks() {
        json_chars(part.valid(), out);
        for _ in part.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.push(b'"');
}

fn json_chars(text: &str, out: &mut Vec<u8>) {
    for c in text.chars() {
        let short: &[u8] = match c {
            '"' => b"\\\"",
            '\\' => b"\\\\",
            '\x08' => b"\\b",
            '\x0c' => b"\\f",
            '\n' => b"\\n",
            '\r' => b"\\r",
            '\t' => b"\\t",
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\x1f' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
                continue;
            }
            c => {
                push_char(c, out);
                continue;
            }
        };
        out.extend_from_slice(short);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_strconv_quotes_them() {
        // The text that restic stored for these names.
        let cases: [(&[u8], &str); 9] = [
            (b"plain name", "plain name"),
            (b"n\xfe\n\"q\\<&>", r#"n\xfe\n\"q\\<&>"#),
            ("\u{a0}x".as_bytes(), r"\u00a0x"),
            ("\u{200b}".as_bytes(), r"\u200b"),
            ("grün e\u{301} 漢字 🦀".as_bytes(), "grün e\u{301} 漢字 🦀"),
            ("\u{e000}\u{f0000}".as_bytes(), r"\ue000\U000f0000"),
            (b"\x01\x7f\x07\x08\x0b\x0c\r\t", r"\x01\x7f\a\b\v\f\r\t"),
            ("\u{2028}\u{feff}".as_bytes(), r"\u2028\ufeff"),
            (b"\xf0\x9f", r"\xf0\x9f"),
        ];
        for (name, quoted) in cases {
            assert_eq!(quote(name), quoted);
            assert_eq!(unquote(quoted), name, "{quoted}");
        }
    }

    #[test]
    fn unquoted_text_stays_as_it_is() {
        for text in [r"\q", r"a\", r"\x1", r"\ud800", "é\\x€€"] {
            assert_eq!(unquote(text), text.as_bytes());
        }
    }

    #[test]
    fn json_strings_as_go_writes_them() {
        let mut out = Vec::new();
        json_string("a\"\\<>&\u{2028}\x01\x7fé\n".as_bytes(), &mut out);
        let expected = "\"a\\\"\\\\\\u003c\\u003e\\u0026\\u2028\\u0001\x7fé\\n\"";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let mut out = Vec::new();
        json_string(b"x\xff\xf0\x9f\xef\xbf\xbd", &mut out);
        let expected = "\"x\\ufffd\\ufffd\\ufffd\u{fffd}\"";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
