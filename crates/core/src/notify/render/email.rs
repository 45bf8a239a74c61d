//! Mail: plain text, with the identity of the message as its `Message-ID`, and the messages of one
//! alarm in one thread.

use super::text::{self, Measure};
use super::token;
use crate::config::EmailConfig;
use crate::notify::Message;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, header::ContentType};

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
        .subject(Measure::Utf16.fit(&text::headline(message), SUBJECT_MAX))
        .header(ContentType::TEXT_PLAIN);
    for to in &email.to {
        builder = builder.to(mailbox(to)?);
    }
    let body = text::body(message, Measure::Utf16, BODY_MAX, str::to_owned);
    let mut mail = builder
        .body(format!("{}\n\n{body}\n", text::headline(message)))
        .map_err(|error| error.to_string())?;
    // Nobody's holiday answers it.
    let name = HeaderName::new_from_ascii_str("Auto-Submitted");
    let value = HeaderValue::new(name, "auto-generated".into());
    mail.headers_mut().insert_raw(value);
    Ok(mail)
}
