//! Sends a message through one channel, within bounds.
//!
//! Secrets are resolved here and live as long as the call. An error names the channel and the
//! host, never a secret, and says whether another try may help. Sending takes 40 seconds at most,
//! whatever a server, a name server or a command does; it ends early with the job of this thread.

use super::render::{self, Verdict};
use super::{Event, Message, mail, program};
use crate::cancel::{self, Cancel};
use crate::clock::Clock;
use crate::config::{ChannelKind, NotifyConfig, NtfyConfig, SlackConfig};
use crate::error::{Code, Error};
use crate::http::{self, Answer, HttpError, Limits, Request, Url};
use crate::name::Name;
use crate::resolve::resolve;
use crate::secret::{Reference, Scrubber, Secret};
use crate::thread;
use crossbeam_channel::{RecvTimeoutError, bounded};
use std::time::{Duration, Instant};

/// Longest time that a call of [`send`] takes.
const SENDING_MAX: Duration = Duration::from_secs(40);
/// Longest time for all requests of a message together.
const REQUESTS_MAX: Duration = Duration::from_secs(30);
/// Interval at which the end of the job is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// A message that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// What took it: scheme and host, a mail server, or a program.
    pub to: String,
}

/// A message that did not arrive.
#[derive(Debug, Clone)]
pub struct SendError {
    /// Why not.
    pub error: Error,
    /// Whether another try may help.
    pub again: Again,
}

/// Whether another try may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It may, and not before this time has passed if the channel says one.
    Later(Option<Duration>),
    /// Not until somebody corrects the configuration or the channel.
    OnceCorrected,
}

impl SendError {
    pub(super) fn later(error: Error) -> Self {
        SendError {
            error,
            again: Again::Later(None),
        }
    }

    pub(super) fn once_corrected(error: Error) -> Self {
        SendError {
            error,
            again: Again::OnceCorrected,
        }
    }
}

/// Sends `message` through the channel. The scrubber learns the channel's secrets.
pub fn send(
    name: &Name,
    channel: &NotifyConfig,
    message: &Message,
    clock: &Clock,
    scrubber: &Scrubber,
) -> Result<Delivered, SendError> {
    let (say, said) = bounded(1);
    let work = {
        let (kind, message) = (channel.kind.clone(), message.clone());
        let (clock, scrubber) = (clock.clone(), scrubber.clone());
        move || {
            let sending = Sending {
                message: &message,
                clock: &clock,
                scrubber: &scrubber,
            };
            // Nobody receives it if it took too long.
            let _ = say.send(sending.through(&kind));
        }
    };
    // A job of its own, so that what hangs can be ended without the job that sends.
    let job = Cancel::default();
    let sent = job
        .run(|| thread::start(work))
        .map_err(SendError::later)
        .and_then(|_| {
            let sent = await_end(&said);
            job.request();
            sent
        });
    sent.map_err(|SendError { error, again }| SendError {
        error: named(name, scrubber, error),
        again,
    })
}

fn await_end(
    said: &crossbeam_channel::Receiver<Result<Delivered, SendError>>,
) -> Result<Delivered, SendError> {
    let begun = Instant::now();
    loop {
        match said.recv_timeout(LOOK) {
            Ok(sent) => return sent,
            Err(RecvTimeoutError::Disconnected) => {
                let error = Error::new(Code::Channel, "sending ended by a fault of lifeboat");
                return Err(SendError::later(error));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        cancel::check().map_err(SendError::later)?;
        if begun.elapsed() > SENDING_MAX {
            let error = Error::new(Code::Channel, "sending did not end within 40 seconds")
                .hint("check that service, the name servers of this host, and the commands that its secrets come from");
            return Err(SendError::later(error));
        }
    }
}

/// The error with the channel's name, and without secrets.
fn named(name: &Name, scrubber: &Scrubber, error: Error) -> Error {
    Error {
        message: scrubber.scrub(&format!("channel {name}: {}", error.message)),
        cause: error.cause.map(|cause| scrubber.scrub(&cause)),
        hint: error.hint.map(|hint| scrubber.scrub(&hint)),
        ..error
    }
}

/// One message on its way.
pub(super) struct Sending<'a> {
    pub(super) message: &'a Message,
    clock: &'a Clock,
    pub(super) scrubber: &'a Scrubber,
}

impl Sending<'_> {
    fn through(&self, kind: &ChannelKind) -> Result<Delivered, SendError> {
        let message = self.message;
        if message.event == Event::Report && !kind.takes_reports() {
            let text = format!("{} calls people, and takes no reports", kind.name());
            let error = Error::new(Code::Configuration, text);
            let hint = "name another channel in to of that report";
            return Err(SendError::once_corrected(error.hint(hint)));
        }
        match kind {
            ChannelKind::Slack(c) => self.slack(c),
            ChannelKind::Discord(c) => {
                let url = self.secret_url(&c.webhook)?;
                let request = fits(render::discord::request(&url, message))?;
                self.post(&[request], c.allow_http, render::discord::judge)
            }
            ChannelKind::Teams(c) => {
                let request = render::teams::request(self.secret_url(&c.webhook)?, message);
                self.post(&[request], c.allow_http, render::teams::judge)
            }
            ChannelKind::Telegram(c) => {
                let (api, token) = (server(&c.api)?, self.secret(&c.token)?);
                let request = render::telegram::request(&api, &token, &c.chat, message);
                self.post(&[fits(request)?], c.allow_http, render::telegram::judge)
            }
            ChannelKind::Ntfy(c) => self.ntfy(c),
            ChannelKind::Gotify(c) => {
                let (url, token) = (server(&c.url)?, self.secret(&c.token)?);
                let request = fits(render::gotify::request(&url, &token, message))?;
                self.post(&[request], c.allow_http, render::gotify::judge)
            }
            ChannelKind::Pushover(c) => {
                let (token, user) = (self.secret(&c.token)?, self.secret(&c.user)?);
                let request = render::pushover::request(&server(&c.api)?, &token, &user, message);
                self.post(&[fits(request)?], c.allow_http, render::pushover::judge)
            }
            ChannelKind::Email(c) => mail::send(self, c),
            ChannelKind::Pagerduty(c) => {
                let (api, key) = (server(&c.api)?, self.secret(&c.routing_key)?);
                let requests = fits(render::pagerduty::requests(&api, &key, message))?;
                self.post(&requests, c.allow_http, render::pagerduty::judge)
            }
            ChannelKind::Opsgenie(c) => {
                let (api, key) = (server(c.api())?, self.secret(&c.key)?);
                let requests = fits(render::opsgenie::requests(&api, &key, message))?;
                self.post(&requests, c.allow_http, render::opsgenie::judge)
            }
            ChannelKind::Webhook(c) => {
                let url = self.secret_url(&c.url)?;
                let key = c.secret.as_ref().map(|key| self.secret(key)).transpose()?;
                let now = self.clock.now();
                let request = render::webhook::request(url, key.as_ref(), message, now);
                self.post(&[request], c.allow_http, render::webhook::judge)
            }
            ChannelKind::Command(c) => program::send(self, c),
        }
    }

    fn slack(&self, slack: &SlackConfig) -> Result<Delivered, SendError> {
        let message = self.message;
        if let Some(webhook) = &slack.webhook {
            let request = render::slack::webhook(self.secret_url(webhook)?, message);
            return self.post(&[request], slack.allow_http, render::slack::judge_webhook);
        }
        let (Some(token), Some(channel)) = (&slack.token, &slack.channel) else {
            let error = Error::new(Code::Configuration, "it has neither a webhook nor a token");
            return Err(SendError::once_corrected(error));
        };
        let (api, token) = (server(&slack.api)?, self.secret(token)?);
        let request = fits(render::slack::post(&api, &token, channel, message))?;
        self.post(&[request], slack.allow_http, render::slack::judge_post)
    }

    fn ntfy(&self, ntfy: &NtfyConfig) -> Result<Delivered, SendError> {
        let topic = self.secret(&ntfy.topic)?;
        let topic = topic
            .expose_str()
            .ok()
            .filter(|topic| render::ntfy::is_topic(topic));
        let topic = topic.ok_or_else(|| {
            let message = format!("the secret at {} is no topic", ntfy.topic);
            let hint = "use 64 letters, digits, - and _ at most";
            SendError::once_corrected(Error::new(Code::Secret, message).hint(hint))
        })?;
        let token = ntfy
            .token
            .as_ref()
            .map(|token| self.secret(token))
            .transpose()?;
        let url = server(&ntfy.url)?;
        let request = render::ntfy::request(url, topic, token.as_ref(), self.message);
        self.post(&[request], ntfy.allow_http, render::ntfy::judge)
    }

    /// Resolves a secret.
    pub(super) fn secret(&self, reference: &Reference) -> Result<Secret, SendError> {
        let secret = resolve(reference).map_err(SendError::once_corrected)?;
        self.scrubber.learn(&secret);
        Ok(secret)
    }

    /// Resolves a secret that is a URL.
    fn secret_url(&self, reference: &Reference) -> Result<Url, SendError> {
        let secret = self.secret(reference)?;
        let url = secret
            .expose_str()
            .ok()
            .and_then(|text| Url::parse(text.trim()));
        let url = url.ok_or_else(|| {
            let message = format!("the secret at {reference} is no http or https URL");
            let error = Error::new(Code::Secret, message);
            SendError::once_corrected(error.hint("put the whole URL there, and nothing else"))
        })?;
        url.teach(self.scrubber);
        Ok(url)
    }

    /// Sends requests in order, until one is not delivered.
    fn post(
        &self,
        requests: &[Request],
        allow_http: bool,
        judge: impl Fn(&Answer) -> Verdict,
    ) -> Result<Delivered, SendError> {
        let begun = Instant::now();
        let mut site = String::new();
        for request in requests {
            site = request.url.site();
            if request.url.is_readable_by_others() && !allow_http {
                return Err(SendError::once_corrected(
                    Error::new(
                        Code::Configuration,
                        format!("its secret would reach {site} in clear"),
                    )
                    .hint("use an https URL, or set allow_http = true where nobody else is on the way"),
                ));
            }
            let limits = Limits {
                total: REQUESTS_MAX.saturating_sub(begun.elapsed()),
                ..Limits::default()
            };
            let answer = http::send(request, limits, self.clock.now()).map_err(unanswered)?;
            refused(&site, judge(&answer))?;
        }
        Ok(Delivered { to: site })
    }
}

/// The URL of a server in the configuration, which was checked when that was loaded.
fn server(url: &str) -> Result<Url, SendError> {
    Url::parse(url).ok_or_else(|| {
        let error = Error::new(Code::Configuration, format!("{url:?} is no URL"));
        SendError::once_corrected(error)
    })
}

/// The request, unless a secret does not fit into it.
fn fits<T>(request: Option<T>) -> Result<T, SendError> {
    request.ok_or_else(|| {
        let error = Error::new(Code::Secret, "its secret is not what this service issues");
        SendError::once_corrected(error.hint("put the secret there alone, on one line"))
    })
}

fn unanswered(error: HttpError) -> SendError {
    let told = Error::new(Code::Channel, error.to_string())
        .cause(error.reason().unwrap_or_default())
        .hint(error.hint());
    match error {
        HttpError::Unwritable { .. } => SendError::once_corrected(told),
        _ => SendError::later(told),
    }
}

fn refused(site: &str, verdict: Verdict) -> Result<(), SendError> {
    match verdict {
        Verdict::Delivered => Ok(()),
        Verdict::Later { why, retry_after } => {
            let error = Error::new(
                Code::Channel,
                format!("{site} did not take the message now"),
            );
            let hint = match retry_after {
                Some(wait) => format!("it asks to wait {} s", wait.as_secs()),
                None => {
                    "try again later; if it lasts, look at the status page of that service".into()
                }
            };
            Err(SendError {
                error: error.cause(why).hint(hint),
                again: Again::Later(retry_after),
            })
        }
        Verdict::Refused { why } => {
            let error = Error::new(Code::Channel, format!("{site} refused the message"));
            Err(SendError::once_corrected(error.cause(why).hint(
                "check the secret and the other keys of this channel; docs/channels.md says where they come from",
            )))
        }
    }
}
