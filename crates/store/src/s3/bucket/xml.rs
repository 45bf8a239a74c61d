//! Reads the few XML documents that a server sends. An incomplete document is an error.

use quick_xml::Reader;
use quick_xml::events::Event;

/// Calls `leaf` for each element that holds text, with its path and the text. For an element that
/// holds other elements, calls it with an empty text when that element ends.
pub(super) fn read(
    text: &str,
    mut leaf: impl FnMut(&[String], Option<&str>),
) -> Result<(), String> {
    let mut reader = Reader::from_str(text);
    let mut path: Vec<String> = Vec::new();
    let (mut content, mut has_children) = (String::new(), false);
    loop {
        match reader.read_event().map_err(|e| e.to_string())? {
            Event::Start(element) => {
                path.push(AsRef::<str>::as_ref(&element.local_name()).to_owned());
                content.clear();
                has_children = false;
            }
            Event::Text(piece) => content.push_str(&piece),
            Event::CData(piece) => content.push_str(&piece),
            Event::GeneralRef(name) => content.push(entity(&name)?),
            Event::End(_) => {
                leaf(&path, (!has_children).then_some(content.as_str()));
                path.pop();
                content.clear();
                has_children = true;
            }
            Event::Empty(element) => {
                path.push(AsRef::<str>::as_ref(&element.local_name()).to_owned());
                leaf(&path, Some(""));
                path.pop();
                has_children = true;
            }
            Event::Eof if path.is_empty() => return Ok(()),
            Event::Eof => return Err("the document ends early".into()),
            _ => {}
        }
    }
}

fn entity(name: &quick_xml::events::BytesRef<'_>) -> Result<char, String> {
    if let Some(character) = name.resolve_char_ref().map_err(|e| e.to_string())? {
        return Ok(character);
    }
    match AsRef::<str>::as_ref(name) {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        other => Err(format!("an unknown entity &{other};")),
    }
}

/// Escapes text for use in an element.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_with_their_paths_and_a_cut_document_is_an_error() {
        let text = "<?xml version=\"1.0\"?><A xmlns=\"u\"><B><K>a &amp; &#98;</K><E/></B>\n</A>";
        let mut seen = Vec::new();
        read(text, |path, text| {
            seen.push((path.join("/"), text.map(str::to_owned)));
        })
        .unwrap();
        assert_eq!(
            seen,
            [
                ("A/B/K".to_owned(), Some("a & b".to_owned())),
                ("A/B/E".to_owned(), Some(String::new())),
                ("A/B".to_owned(), None),
                ("A".to_owned(), None),
            ]
        );
        for end in 30..text.len() {
            assert!(read(&text[..end], |_, _| ()).is_err(), "{end}");
        }
    }
}
