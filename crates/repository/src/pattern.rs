//! Patterns that select paths, with the meaning they have in restic: `*`, `?` and `[…]` match
//! within a component, `**` matches any number of components, and a leading `!` reverts what an
//! earlier pattern selected.
//!
//! A pattern that begins with `/` matches from the root on, any other pattern at every depth.
//! Whatever a pattern matches is selected with everything below it. Names are bytes; a byte that is
//! not UTF-8 is one character that equals no letter.

mod expand;

pub use expand::expand;

/// The error for a pattern that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the pattern {pattern:?} is wrong: {reason}")]
pub struct BadPattern {
    /// The pattern.
    pub pattern: String,
    /// The reason.
    pub reason: &'static str,
}

/// The verdict of patterns on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlook {
    /// The path itself is selected.
    pub here: bool,
    /// Something below the path may be selected.
    pub below: bool,
}

/// Two lists of patterns, one case-sensitive and one not. A path is selected if either list selects
/// it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns {
    sensitive: Vec<Pattern>,
    insensitive: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    negated: bool,
    /// True if the pattern begins at the root.
    rooted: bool,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// `**`
    Components,
    Literal(Vec<u8>),
    Glob(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// `*`
    Bytes,
    /// `?`
    Character,
    Byte(u8),
    /// `[…]`, `[^…]`
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Patterns {
    /// Parses two lists. Empty patterns are left out.
    pub fn new<T: AsRef<[u8]>>(sensitive: &[T], insensitive: &[T]) -> Result<Self, BadPattern> {
        let read = |patterns: &[T], insensitive: bool| {
            let patterns = patterns.iter().map(AsRef::as_ref);
            let patterns = patterns.filter(|pattern| !pattern.is_empty());
            patterns
                .map(|pattern| match insensitive {
                    true => Pattern::parse(&lower(pattern)),
                    false => Pattern::parse(pattern),
                })
                .collect::<Result<Vec<Pattern>, BadPattern>>()
        };
        Ok(Patterns {
            sensitive: read(sensitive, false)?,
            insensitive: read(insensitive, true)?,
        })
    }

    /// Returns whether there are no patterns, which select nothing.
    pub fn is_empty(&self) -> bool {
        self.sensitive.is_empty() && self.insensitive.is_empty()
    }

    /// Returns whether an absolute path is selected.
    pub fn matches(&self, path: &[u8]) -> bool {
        self.outlook(path).here
    }

    /// Tells whether an absolute path is selected, and whether something below it may be.
    pub fn outlook(&self, path: &[u8]) -> Outlook {
        let sensitive = outlook(&self.sensitive, path);
        if self.insensitive.is_empty() {
            return sensitive;
        }
        let insensitive = outlook(&self.insensitive, &lower(path));
        Outlook {
            here: sensitive.here || insensitive.here,
            below: sensitive.below || insensitive.below,
        }
    }
}

fn outlook(patterns: &[Pattern], path: &[u8]) -> Outlook {
    let names: Vec<&[u8]> = components(path).collect();
    let nothing = Outlook {
        here: false,
        below: false,
    };
    patterns.iter().fold(nothing, |so_far, pattern| {
        let here = pattern.matches(&names);
        match pattern.negated {
            true => Outlook {
                here: so_far.here && !here,
                below: so_far.below && !here,
            },
            false => Outlook {
                here: so_far.here || here,
                below: so_far.below || pattern.may_match_below(&names),
            },
        }
    })
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
}

impl Pattern {
    fn parse(text: &[u8]) -> Result<Self, BadPattern> {
        let (negated, path) = match text.strip_prefix(b"!") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let rooted = path.starts_with(b"/");
        let mut names: Vec<&[u8]> = Vec::new();
        for name in components(path).filter(|name| *name != b".") {
            match (name, names.last()) {
                (b"..", Some(last)) if *last != b".." => {
                    names.pop();
                }
                (b"..", None) if rooted => {}
                _ => names.push(name),
            }
        }
        let bad = |reason| BadPattern {
            pattern: String::from_utf8_lossy(text).into_owned(),
            reason,
        };
        let mut parts = Vec::with_capacity(names.len());
        for name in names {
            let part = Part::parse(name).map_err(bad)?;
            // Two in a row mean the same as one.
            if part != Part::Components || parts.last() != Some(&Part::Components) {
                parts.push(part);
            }
        }
        Ok(Pattern {
            negated,
            rooted,
            parts,
        })
    }

    /// Returns whether the pattern matches the path or a directory above it.
    fn matches(&self, names: &[&[u8]]) -> bool {
        if self.rooted {
            return begins(&self.parts, names);
        }
        let tails = (0..names.len()).filter_map(|from| names.get(from..));
        !self.parts.is_empty() && tails.into_iter().any(|tail| begins(&self.parts, tail))
    }

    fn may_match_below(&self, names: &[&[u8]]) -> bool {
        if !self.rooted {
            return true;
        }
        let fixed = self
            .parts
            .iter()
            .take_while(|part| **part != Part::Components);
        fixed.zip(names).all(|(part, name)| part.matches(name))
    }
}

/// Returns whether the parts match some first names of the path.
fn begins(parts: &[Part], names: &[&[u8]]) -> bool {
    let Some((first, rest)) = parts.split_first() else {
        return true;
    };
    if *first == Part::Components {
        let mut tails = (0..=names.len()).filter_map(|from| names.get(from..));
        return tails.any(|tail| begins(rest, tail));
    }
    match names.split_first() {
        Some((name, after)) => first.matches(name) && begins(rest, after),
        None => false,
    }
}

impl Part {
    fn parse(text: &[u8]) -> Result<Self, &'static str> {
        if text == b"**" {
            return Ok(Part::Components);
        }
        if !text.iter().any(|byte| br"\[]*?".contains(byte)) {
            return Ok(Part::Literal(text.to_vec()));
        }
        let (mut tokens, mut rest) = (Vec::new(), text);
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            let token = match byte {
                // Two in a row mean the same as one.
                b'*' if tokens.last() == Some(&Token::Bytes) => continue,
                b'*' => Token::Bytes,
                b'?' => Token::Character,
                b'[' => class(&mut rest)?,
                b'\\' => {
                    let (&byte, after) = rest.split_first().ok_or("it ends in a backslash")?;
                    rest = after;
                    Token::Byte(byte)
                }
                byte => Token::Byte(byte),
            };
            tokens.push(token);
        }
        Ok(Part::Glob(tokens))
    }

    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Part::Components => true,
            Part::Literal(text) => text == name,
            Part::Glob(tokens) => glob(tokens, name),
        }
    }
}

/// Parses what stands between `[` and `]`.
fn class(rest: &mut &[u8]) -> Result<Token, &'static str> {
    let mut negated = false;
    if let Some(after) = rest.strip_prefix(b"^") {
        (negated, *rest) = (true, after);
    }
    let mut ranges = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix(b"]")
            && !ranges.is_empty()
        {
            *rest = after;
            return Ok(Token::Class { negated, ranges });
        }
        let low = class_character(rest)?;
        let mut high = low;
        if let Some(after) = rest.strip_prefix(b"-") {
            *rest = after;
            high = class_character(rest)?;
        }
        ranges.push((low, high));
    }
}

fn class_character(rest: &mut &[u8]) -> Result<char, &'static str> {
    let unclosed = "a [ is not closed";
    let mut text = *rest;
    match text.first() {
        None => return Err(unclosed),
        Some(b'-' | b']') => return Err("a - or ] stands where a character must, between [ and ]"),
        Some(b'\\') => text = text.get(1..).unwrap_or_default(),
        _ => {}
    }
    let (character, length) = first_character(text).ok_or(unclosed)?;
    *rest = text.get(length..).unwrap_or_default();
    match character {
        None => Err("what stands between [ and ] is not UTF-8"),
        Some(_) if rest.is_empty() => Err(unclosed),
        Some(character) => Ok(character),
    }
}

/// The first character and its length in bytes; the character is `None` if it is not UTF-8.
fn first_character(text: &[u8]) -> Option<(Option<char>, usize)> {
    text.first()?;
    let head = text.get(..4).unwrap_or(text);
    let valid = head.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    Some(match valid.chars().next() {
        Some(character) => (Some(character), character.len_utf8()),
        None => (None, 1),
    })
}

/// Returns whether the tokens match the whole name. Once a later `*` is reached, no earlier one
/// needs to be tried again.
fn glob(tokens: &[Token], name: &[u8]) -> bool {
    let (mut tokens, mut name) = (tokens, name);
    let mut again: Option<(&[Token], &[u8])> = None;
    loop {
        let step = match tokens.split_first() {
            Some((Token::Bytes, after)) => {
                again = Some((after, name));
                tokens = after;
                continue;
            }
            Some((token, after)) => token.eat(name).map(|rest| (after, rest)),
            None if name.is_empty() => return true,
            None => None,
        };
        (tokens, name) = match (step, again) {
            (Some(step), _) => step,
            (None, Some((after, [_, shorter @ ..]))) => {
                again = Some((after, shorter));
                (after, shorter)
            }
            (None, _) => return false,
        };
    }
}

impl Token {
    /// Matches this token at the start of a name, and returns the rest of the name.
    fn eat<'n>(&self, name: &'n [u8]) -> Option<&'n [u8]> {
        let (character, length) = first_character(name)?;
        let taken = match self {
            Token::Bytes => 0,
            Token::Character => length,
            Token::Byte(byte) => {
                return name
                    .split_first()
                    .filter(|(first, _)| *first == byte)
                    .map(|(_, rest)| rest);
            }
            Token::Class { negated, ranges } => {
                let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
                let within = ranges
                    .iter()
                    .any(|(low, high)| (*low..=*high).contains(&character));
                if within == *negated {
                    return None;
                }
                length
            }
        };
        name.get(taken..)
    }
}

/// Converts each character to lower case, if that is one character.
fn lower(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            let small = character.to_lowercase().next().unwrap_or(character);
            out.extend_from_slice(small.encode_utf8(&mut [0; 4]).as_bytes());
        }
        out.extend_from_slice(chunk.invalid());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(pattern: &str) -> Patterns {
        Patterns::new(&[pattern], &[]).unwrap()
    }

    #[test]
    fn a_pattern_matches_a_path_and_all_below() {
        let cases = [
            ("foo", "/foo", true),
            ("foo", "/a/foo/b", true),
            ("foo", "/food", false),
            ("foo/bar", "/a/foo/bar/x", true),
            ("foo/bar", "/foo/x/bar", false),
            ("/foo", "/foo/x", true),
            ("/foo", "/a/foo", false),
            ("/", "/a", true),
            ("*.c", "/src/x.c", true),
            ("*.c", "/src/x.cc", false),
            ("/*/x", "/a/x", true),
            ("/*/x", "/a/b/x", false),
            ("**", "/a", true),
            ("/a/**/x", "/a/x", true),
            ("/a/**/x", "/a/b/c/x", true),
            ("/a/**/x", "/b/x", false),
            ("/a/**", "/a", true),
            ("a/**/**/b", "/z/a/q/r/b/s", true),
            ("foo/", "/foo", true),
            ("./foo//bar/../baz", "/foo/baz", true),
            ("/../foo", "/foo", true),
            ("../foo", "/foo", false),
            (".", "/foo", false),
            ("?", "/é", true),
            ("?", "/ab", false),
            ("[a-c]x", "/bx", true),
            ("[^a-c]x", "/bx", false),
            ("[^a-c]x", "/dx", true),
            (r"[\]]", "/]", true),
            (r"\*", "/*", true),
            (r"\*", "/x", false),
            ("a*b*c", "/aXbXbXc", true),
            ("a*b*c", "/aXbXbX", false),
            ("*", "/anything", true),
        ];
        for (pattern, path, expected) in cases {
            let found = one(pattern).matches(path.as_bytes());
            assert_eq!(found, expected, "{pattern} on {path}");
        }
        assert!(one("?").matches(b"/\xff"));
        assert!(
            Patterns::new(&[b"a\xff*"], &[])
                .unwrap()
                .matches(b"/a\xffb")
        );
        assert!(!Patterns::default().matches(b"/a"));
    }

    #[test]
    fn below_is_looked_at_only_where_something_may_match() {
        let cases = [
            ("/a/b/c", "/a", true),
            ("/a/b/c", "/a/x", false),
            ("/a/b/c", "/a/b/c/d", true),
            ("/a/**/c", "/a/x/y", true),
            ("/a/**/c", "/b", false),
            ("c", "/x", true),
            ("/*/c", "/x", true),
        ];
        for (pattern, path, below) in cases {
            assert_eq!(
                one(pattern).outlook(path.as_bytes()).below,
                below,
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn a_later_pattern_reverts_an_earlier_one() {
        let patterns = Patterns::new(&["*.txt", "!keep.txt", "/x/keep.txt"], &[]).unwrap();
        assert!(patterns.matches(b"/a.txt"));
        assert!(!patterns.matches(b"/keep.txt"));
        assert!(patterns.matches(b"/x/keep.txt"));
    }

    #[test]
    fn case_matters_in_one_list_only() {
        let patterns = Patterns::new(&["Foo"], &["BÄR*"]).unwrap();
        assert!(patterns.matches(b"/Foo"));
        assert!(!patterns.matches(b"/foo"));
        assert!(patterns.matches("/a/bärchen".as_bytes()));
        assert!(patterns.matches("/a/Bär".as_bytes()));
    }

    #[test]
    fn a_malformed_pattern_is_refused() {
        for bad in [
            "[", "[a", "[]", "[a-]", "[-a]", "a\\", "x/[", "[a\\", "![z", "[^]",
        ] {
            let error = Patterns::new(&[bad], &[]).unwrap_err();
            assert_eq!(error.pattern, bad);
        }
        assert!(Patterns::new(&[b"[\xff]"], &[]).is_err());
        assert!(Patterns::new(&["", "a"], &[]).is_ok());
    }
}
