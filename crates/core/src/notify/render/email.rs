//! Mail: plain text, with the identity of the message as its `Message-ID`, and the messages of one
//! alarm in one thread. A report comes as HTML beside the text, or with its document attached.

use super::text::{self, Measure};
use super::token;
use crate::config::EmailConfig;
use crate::notify::{Body, Message};
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart, header::ContentType};

/// Longest subject and text, in characters.
const SUBJECT_MAX: usize = 200;
const BODY_MAX: usize = 30_000;

/// The mail. The error says what of the configuration does not fit.
pub fn mail(email: &EmailConfig, message: &Message) -> Result<lettre::Message, String> {
    let mailbox = |text: &str| {
        let parsed = text.parse::<Mailbox>();
        parsed.map_err(|_| format!("{text:?} is no mail address"))
    };
    let from = mailbox(&email.from)?;
    let domain = from.email.domain().to_owned();
    let named = |id: &str| format!("<{}@{domain}>", token(id, 150).replace(['/', ':'], "."));
    let mut builder = lettre::Message::builder()
        .from(from)
        .message_id(Some(named(&message.id)))
        .references(named(&format!("alarm.{}", message.alarm)))
        .date(message.at.into())
        .subject(Measure::Utf16.fit(&text::headline(message), SUBJECT_MAX));
    for to in &email.to {
        builder = builder.to(mailbox(to)?);
    }
    let mail = match &message.report {
        Some(report) => builder.multipart(parts(report)?),
        None => {
            let body = text::body(message, Measure::Utf16, BODY_MAX, str::to_owned);
            let body = format!("{}\n\n{body}\n", text::headline(message));
            builder.header(ContentType::TEXT_PLAIN).body(body)
        }
    };
    let mut mail = mail.map_err(|error| error.to_string())?;
    // Nobody's holiday answers it.
    let name = HeaderName::new_from_ascii_str("Auto-Submitted");
    let value = HeaderValue::new(name, "auto-generated".into());
    mail.headers_mut().insert_raw(value);
    Ok(mail)
}

/// A report as the parts of a mail.
fn parts(report: &Body) -> Result<MultiPart, String> {
    let plain = SinglePart::plain(report.md.clone());
    let shown = MultiPart::alternative().singlepart(plain);
    let shown = match &report.html {
        Some(html) => shown.singlepart(SinglePart::html(html.clone())),
        None => shown,
    };
    let Some(document) = &report.document else {
        return Ok(shown);
    };
    let json = serde_json::to_string_pretty(document).map_err(|error| error.to_string())?;
    let kind = ContentType::parse("application/json").map_err(|error| error.to_string())?;
    let attached = Attachment::new("report.json".to_owned()).body(json, kind);
    Ok(MultiPart::mixed().multipart(shown).singlepart(attached))
}
