//! A message as plain text, cut to what a channel takes.
//!
//! Every text of a message may come from elsewhere. It is on one line here, and what would hide or
//! turn round in it is written out.

use crate::notify::{Event, Item, Message};
use crate::visible::{cut, visible};
use jiff::Timestamp;

/// Longest text of an item, and longest hint, in characters.
const ITEM_CHARS_MAX: usize = 600;
/// Room that is kept for the line that counts what was left out.
const MORE_CHARS: usize = 20;

/// How a channel measures text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// In units of UTF-16: one for most characters, two for the others. Never less than the number
    /// of characters.
    Utf16,
    /// In bytes of UTF-8.
    Bytes,
}

impl Measure {
    /// The length of a text.
    pub fn of(self, text: &str) -> usize {
        match self {
            Measure::Utf16 => text.encode_utf16().count(),
            Measure::Bytes => text.len(),
        }
    }

    /// The text, or its beginning and an ellipsis if it is longer than `most`.
    pub fn fit(self, text: &str, most: usize) -> String {
        if self.of(text) <= most {
            return text.to_owned();
        }
        let room = most.saturating_sub(self.of("…"));
        let mut kept = String::new();
        let mut length = 0;
        for c in text.chars() {
            length += match self {
                Measure::Utf16 => c.len_utf16(),
                Measure::Bytes => c.len_utf8(),
            };
            if length > room {
                break;
            }
            kept.push(c);
        }
        kept.push('…');
        kept
    }

    /// The text, or its beginning, so that it is not longer than `most` once each line is escaped:
    /// an escape is never cut.
    pub fn fit_escaped(self, text: &str, most: usize, escape: &impl Fn(&str) -> String) -> String {
        let mut room = most;
        loop {
            let lines = self.fit(text, room);
            let escaped: Vec<String> = lines.split('\n').map(escape).collect();
            let escaped = escaped.join("\n");
            if self.of(&escaped) <= most || room == 0 {
                return escaped;
            }
            room = room * 3 / 4;
        }
    }
}

/// The first line: the application, and what happened to it.
pub fn title(message: &Message) -> String {
    let title = visible(&message.title);
    format!("{}/{}: {title}", message.app, message.environment)
}

/// The title with a word for what happened to the alarm, for channels that show nothing else of
/// it.
pub fn headline(message: &Message) -> String {
    match message.event {
        Event::New | Event::Test | Event::Report => title(message),
        Event::Repeated => format!("[still] {}", title(message)),
        Event::Escalated => format!("[escalated] {}", title(message)),
        Event::Recovered => format!("[recovered] {}", title(message)),
    }
}

/// Everything below the title, at most `most` long in `measure` after `escape`, which makes a line
/// safe for the markup of the channel. Items that do not fit are left out and counted; the contacts
/// and the host follow if there is room.
pub fn body(
    message: &Message,
    measure: Measure,
    most: usize,
    escape: impl Fn(&str) -> String,
) -> String {
    if let Some(report) = &message.report {
        return beginning(&report.md, measure, most, escape);
    }
    let mut text = String::new();
    let mut left = message.items.len();
    for item in &message.items {
        let lines = lines(message, item).join("\n");
        let escaped = measure.fit_escaped(&lines, usize::MAX, &escape);
        let gap = if text.is_empty() { 0 } else { 2 };
        let kept = if left > 1 { MORE_CHARS } else { 0 };
        let room = most.saturating_sub(measure.of(&text) + gap + kept);
        let whole = measure.of(&escaped) <= room;
        // The first item is told in part rather than not at all.
        if !whole && !text.is_empty() {
            break;
        }
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str(&measure.fit_escaped(&lines, room, &escape));
        left -= 1;
        if !whole {
            break;
        }
    }
    if left > 0 {
        text.push_str(&format!("\n\n… and {left} more"));
    }
    for end in [asked(message), told_by(message)].into_iter().flatten() {
        let end = escape(&end);
        let gap = if text.is_empty() { "" } else { "\n\n" };
        if measure.of(&text) + gap.len() + measure.of(&end) <= most {
            text.push_str(gap);
            text.push_str(&end);
        }
    }
    text
}

/// The first lines of a report, as many as fit, without its title.
fn beginning(md: &str, measure: Measure, most: usize, escape: impl Fn(&str) -> String) -> String {
    const REST: &str = "…";
    let mut lines = md
        .lines()
        .skip_while(|l| l.is_empty() || l.starts_with("# "));
    let mut text = String::new();
    for line in lines.by_ref() {
        let line = escape(&visible(line));
        if measure.of(&text) + measure.of(&line) + measure.of(REST) + 2 > most {
            text.push_str(REST);
            return text;
        }
        text.push_str(&line);
        text.push('\n');
    }
    text.trim_end().to_owned()
}

/// An item: what is wrong, since when, and what to do.
fn lines(message: &Message, item: &Item) -> Vec<String> {
    let text = cut(&visible(&item.text), ITEM_CHARS_MAX);
    let since = minute(item.since);
    let mut lines = vec![match message.event {
        Event::Recovered => format!("{text} (from {since} to {})", minute(message.at)),
        _ => format!("{text} (since {since})"),
    }];
    if let Some(hint) = &item.hint
        && message.event != Event::Recovered
    {
        lines.push(format!("→ {}", cut(&visible(hint), ITEM_CHARS_MAX)));
    }
    lines
}

/// Whom to ask, in a line.
fn asked(message: &Message) -> Option<String> {
    let contacts: Vec<String> = message.contacts.iter().map(|c| visible(c)).collect();
    (!contacts.is_empty()).then(|| format!("Ask {}", contacts.join("; ")))
}

/// Who tells it, in a line.
fn told_by(message: &Message) -> Option<String> {
    let host = visible(&message.host);
    Some(format!(
        "Told by lifeboat on {host}, {}",
        minute(message.at)
    ))
}

/// A time to the minute, for people.
pub fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// The host that tells it, for fields that must not be empty.
pub fn source(message: &Message) -> String {
    match visible(&message.host) {
        host if host.is_empty() => "lifeboat".into(),
        host => Measure::Utf16.fit(&host, 255),
    }
}
