//! Sends mail to an SMTP server.
//!
//! Each step of the dialogue is bounded; [`super::send`] bounds the whole. Errors hold what the
//! server said, but for the encoded credentials, which some servers repeat.

use super::render::email;
use super::send::{Again, Delivered, SendError, Sending};
use crate::config::{EmailConfig, MailTls};
use crate::error::{Code, Error};
use crate::secret::Secret;
use crate::visible::{cut, visible};
use base64ct::{Base64, Encoding};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{SmtpTransport, Transport};
use std::io;
use std::time::Duration;

/// Longest time for each step.
const STEP_MAX: Duration = Duration::from_secs(10);
/// Longest reason in an error.
const WHY_CHARS_MAX: usize = 300;

/// Sends the message.
pub(super) fn send(sending: &Sending<'_>, config: &EmailConfig) -> Result<Delivered, SendError> {
    let to = format!("{}:{}", config.server, config.port());
    let mail = email::mail(config, sending.message).map_err(|why| {
        let error = Error::new(Code::Configuration, "the mail cannot be written").cause(why);
        SendError::once_corrected(error.hint("correct from and to of this channel"))
    })?;
    let host = config.server.trim_start_matches('[').trim_end_matches(']');
    let mut smtp = SmtpTransport::builder_dangerous(host)
        .port(config.port())
        .timeout(Some(STEP_MAX));
    if config.tls != MailTls::None {
        let parameters = TlsParameters::new(host.to_owned()).map_err(|error| told(&to, &error))?;
        smtp = smtp.tls(match config.tls {
            MailTls::Implicit => Tls::Wrapper(parameters),
            MailTls::Starttls | MailTls::None => Tls::Required(parameters),
        });
    }
    if let (Some(user), Some(password)) = (&config.user, &config.password) {
        let password = sending.secret(password)?;
        let text = password.expose_str().map_err(SendError::once_corrected)?;
        let plain = format!("\0{user}\0{text}");
        for repeated in [text.as_bytes(), plain.as_bytes()] {
            let encoded = Base64::encode_string(repeated).into_bytes();
            sending.scrubber.learn(&Secret::new(encoded));
        }
        smtp = smtp.credentials(Credentials::new(user.clone(), text.to_owned()));
    }
    match smtp.build().send(&mail) {
        Ok(_) => Ok(Delivered { to }),
        Err(error) => Err(told(&to, &error)),
    }
}

/// The error in our words, with those of the server as the cause.
fn told(to: &str, error: &lettre::transport::smtp::Error) -> SendError {
    let cause = cut(&visible(&innermost(error)), WHY_CHARS_MAX);
    let failed =
        |message: String, hint: &str| Error::new(Code::Channel, message).cause(&cause).hint(hint);
    if let Some(code) = error.status() {
        let code = u16::from(code);
        let (message, hint) = match code {
            530 => (
                format!("the mail server {to} wants a login"),
                "add user and password to this channel",
            ),
            535 | 534 | 538 => (
                format!("the mail server {to} refused the login"),
                "check user and password of this channel; some services want a password for applications",
            ),
            400..=499 => (
                format!("the mail server {to} did not take the mail now"),
                "try again later; if it lasts, ask who runs that server",
            ),
            _ => (
                format!("the mail server {to} refused the mail"),
                "check from and to of this channel, and what that server lets this host send",
            ),
        };
        let told = Error::new(Code::Channel, message)
            .cause(format!("{code}: {cause}"))
            .hint(hint);
        return match code {
            400..=499 => SendError::later(told),
            _ => SendError::once_corrected(told),
        };
    }
    if let Some(tls) = of_tls(error) {
        return SendError::later(match tls {
            rustls::Error::InvalidCertificate(_) => failed(
                format!("the mail server {to} shows a certificate that is not believed"),
                "check server; install the authority of a private certificate in this system, or name its file in SSL_CERT_FILE",
            ),
            _ => failed(
                format!("the mail server {to} does not speak TLS as it should"),
                "check port and tls: 587 goes with \"starttls\", 465 with \"implicit\"",
            ),
        });
    }
    if error.is_timeout() || kind(error) == Some(io::ErrorKind::WouldBlock) {
        let hint = "check server and port, the network, and whether this host may send mail";
        return SendError::later(failed(
            format!("the mail server {to} did not answer in time"),
            hint,
        ));
    }
    if error.is_client() {
        let message = format!("the mail server {to} does not offer what this channel needs");
        let hint = "check port and tls, and remove user where the server asks for no login";
        return SendError::once_corrected(failed(message, hint));
    }
    if error.is_response() {
        let message = format!("what answers at {to} is no mail server");
        return SendError::later(failed(message, "check server, port and tls"));
    }
    let message = format!("the mail server {to} cannot be reached");
    SendError {
        error: failed(
            message,
            "check server and port, the network and the firewall",
        ),
        again: Again::Later(None),
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

fn kind(error: &dyn std::error::Error) -> Option<io::ErrorKind> {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        source = inner.source();
    }
    None
}

/// The error of TLS in this one.
fn of_tls<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut source = Some(error);
    while let Some(inner) = source {
        if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        let wrapped = inner
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        if let Some(tls) = wrapped.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Some(tls);
        }
        source = inner.source();
    }
    None
}
