//! Texts of the configuration that have a grammar: the name of each in the schema, the pattern for
//! editors, and the exact check when loading.
//!
//! The markers are never values. A field names one with `#[schemars(with = "…")]`, so that its
//! schema refers to it by name and [`check`] finds the grammar.

use super::notify::Repeat;
use crate::archive;
use crate::compress::Compress;
use crate::expect::{Expect, Percent};
use crate::name;
use crate::schedule::Schedule;
use crate::secret::{NotAReference, Reference};
use crate::span::Span;
use crate::transport::Via;
use crate::window::Window;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::path::Path;

macro_rules! markers {
    ($($name:ident: $pattern:literal, $description:literal;)*) => {
        $(
            #[doc = $description]
            pub(super) struct $name;

            impl JsonSchema for $name {
                fn schema_name() -> Cow<'static, str> {
                    stringify!($name).into()
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    json_schema!({
                        "type": "string",
                        "pattern": $pattern,
                        "description": $description,
                    })
                }
            }
        )*
    };
}

markers! {
    Name: "^[A-Za-z0-9][A-Za-z0-9._-]*$", "Letters, digits, `-`, `_` and `.`; begins with a letter or digit";
    AbsolutePath: "^/", "An absolute path";
    RemotePath: "^/", "An absolute path on another host";
    Pattern: "^[^!]", "A glob pattern";
    Extension: "^[A-Za-z0-9]+(\\.[A-Za-z0-9]+)*$", "A file name extension without its dot: `json`, `tar.xz`";
    Url: "^https?://", "An http or https URL without credentials";
    ServerUrl: "^https?://", "An http or https URL without credentials";
    MailAddress: "@", "A mail address, alone or as `NAME <ADDRESS>`";
    AgeRecipient: "^(age1|ssh-ed25519 |ssh-rsa |/)", "An age recipient, or the absolute path of a file of them";
    Cron: "^\\s*\\S+(\\s+\\S+){4}\\s*$", "Minute, hour, day of month, month, day of week; in UTC";
    Expectation: "^\\s*(same\\s*$|[<>=]|!=)", "`> N`, `>= N`, `< N`, `<= N`, `= TEXT`, `!= TEXT` or `same`";
    Tolerance: "^[0-9]+(\\.[0-9]{1,3})?\\s*%$", "A share from `0%` to `100%`";
}

/// The schema of the names of sources, stores, plans and drills.
pub(super) fn names() -> Value {
    json!({ "$ref": "#/$defs/Name" })
}

/// The schema of the names of environment variables.
pub(super) fn variables() -> Value {
    json!({ "title": "VariableName", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" })
}

/// The reason why a text does not fit, which completes a sentence that names its place, and a hint.
/// Neither shows a text that may be a secret.
pub(super) struct Unfit {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Unfit {
    fn new(message: impl Into<String>) -> Self {
        Unfit {
            message: message.into(),
            hint: None,
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<String> for Unfit {
    fn from(message: String) -> Self {
        Unfit::new(message)
    }
}

/// Position of a text.
pub(super) struct Place<'a> {
    /// The names that lead to it: `["store", "offsite", "secret_key"]`.
    pub(super) keys: &'a [String],
    /// The directory of the configuration file, for suggestions.
    pub(super) base: &'a Path,
}

/// Checks `text` against the grammar that the schema calls `name`; without a grammar, every text
/// fits.
pub(super) fn check(name: &str, text: &str, place: &Place<'_>) -> Result<(), Unfit> {
    match name {
        "SecretReference" => reference(text, place),
        "AbsolutePath" => absolute(text, text, place),
        "RemotePath" if text.starts_with('/') => Ok(()),
        "RemotePath" => Err(Unfit::new(format!("{text:?} is a relative path")).hint(
            "write the whole path on that host; `ssh HOST pwd` prints where a relative one begins",
        )),
        "AgeRecipient" => recipient(text, place),
        "Name" => name_of_thing(text),
        "VariableName" => variable(text),
        "Pattern" => pattern(text),
        "Extension" => extension(text),
        "Url" => url(text, "access_key and secret_key refer to them"),
        "ServerUrl" => url(text, "the keys for secrets refer to them"),
        "MailAddress" => mail_address(text),
        "Span" => Ok(text.parse::<Span>().map(drop)?),
        "Repeat" => Ok(text.parse::<Repeat>().map(drop)?),
        "Compress" => Ok(text.parse::<Compress>().map(drop)?),
        "Via" => Ok(text.parse::<Via>().map(drop)?),
        "Expectation" => Ok(Expect::parse(text).map(drop)?),
        "Tolerance" => Ok(text.parse::<Percent>().map(drop)?),
        "Window" => Ok(text.parse::<Window>().map(drop)?),
        "Cron" => Schedule::parse(text).map(drop).map_err(|error| Unfit {
            message: error.to_string(),
            hint: error.hint,
        }),
        _ => Ok(()),
    }
}

/// Returns whether the message of [`check`] for such a text does not quote it.
pub(super) fn is_discreet(name: &str, text: &str) -> bool {
    match name {
        "SecretReference" => Reference::parse(text).is_err(),
        "Url" | "ServerUrl" => text.contains(['@', '?', '#']),
        "Via" => text.contains('@') && text.parse::<Via>().is_err(),
        _ => false,
    }
}

/// Description of a value of this grammar, for a message about another value.
pub(super) fn described(name: &str) -> &'static str {
    match name {
        "SecretReference" => "a reference to a secret, as in \"env:NAME\"",
        "Span" => "a length of time in quotes, as in \"36h\"",
        "Repeat" => "a length of time in quotes, as in \"24h\", or \"never\"",
        "Cron" => "a schedule in quotes, as in \"7 * * * *\"",
        "Window" => "days and hours in quotes, as in \"Mon-Fri 08:00-18:00\"",
        "Tolerance" => "a share in quotes, as in \"5%\"",
        "Via" => "a way to the source in quotes, as in \"ssh:USER@HOST\"",
        "Expectation" => "an expectation in quotes, as in \"> 0\"",
        _ => "text in quotes",
    }
}

fn reference(text: &str, place: &Place<'_>) -> Result<(), Unfit> {
    match Reference::parse(text) {
        Ok(Reference::File(path)) => absolute(&path, text, place),
        Ok(_) => Ok(()),
        Err(NotAReference::VaultKey) => Err(Unfit::new(
            "this names no secret in Vault: a path and the field of it that is meant",
        )
        .hint("write vault:PATH#KEY, as in \"vault:secret/crm/backup#password\"")),
        Err(NotAReference::Other) => Err(Unfit::new(
            "a secret stands here itself, not a reference to it",
        )
        .hint(format!("write {}", suggested_reference(place)))),
    }
}

/// Suggests a line that refers to a secret instead of holding it.
fn suggested_reference(place: &Place<'_>) -> String {
    let key = place.keys.last().map_or("password", String::as_str);
    let owner = place.keys.get(1).map_or("", String::as_str);
    let within = place.keys.iter().rev().nth(1);
    let within = within.map_or("", String::as_str);
    match (key, within) {
        ("signing_key", _) => "signing_key = \"file:/etc/lifeboat/signing.key\"".into(),
        ("age", "decrypt") => format!("age = \"file:/etc/lifeboat/{owner}.key\""),
        ("openpgp", "decrypt") => format!("openpgp = \"file:/etc/lifeboat/{owner}-secret.asc\""),
        ("passphrase", "decrypt") => format!("passphrase = \"file:/etc/lifeboat/{owner}.pass\""),
        ("openpgp", "sign") => format!("openpgp = \"file:/etc/lifeboat/{owner}-sign.asc\""),
        ("passphrase", "sign") => format!("passphrase = \"file:/etc/lifeboat/{owner}-sign.pass\""),
        (_, "env") => format!("{key} = \"env:{key}\""),
        _ => {
            let variable = format!("{owner}_{key}").to_uppercase();
            let variable = variable.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
            let variable = variable.trim_start_matches(|c: char| c.is_ascii_digit() || c == '_');
            format!("{key} = \"env:{variable}\"")
        }
    }
}

/// Checks that `path`, which is a part of `text`, is absolute.
fn absolute(path: &str, text: &str, place: &Place<'_>) -> Result<(), Unfit> {
    if path.starts_with('/') {
        return Ok(());
    }
    let whole = match path.strip_prefix("~/") {
        Some(rest) => std::env::home_dir().map(|home| home.join(rest)),
        None => Some(place.base.join(path.trim_start_matches("./"))),
    };
    let scheme = text.strip_suffix(path).unwrap_or_default();
    let unfit = Unfit::new(format!("{text:?} is a relative path"));
    Err(match whole {
        Some(whole) => unfit.hint(format!("write \"{scheme}{}\"", whole.display())),
        None => unfit.hint("write the whole path"),
    })
}

fn recipient(text: &str, place: &Place<'_>) -> Result<(), Unfit> {
    if text.starts_with('/') {
        return Ok(());
    }
    if archive::is_recipient(text) {
        return Ok(());
    }
    // Only something that looks like a public key or a path is shown: anything else may be a
    // private key.
    if let Some(why) = archive::unsupported(text) {
        return Err(Unfit::new(format!("{why}: {text:?}"))
            .hint("use an age1… key of age-keygen, or an ssh-ed25519 or ssh-rsa public key"));
    }
    if text.starts_with("age1") || text.starts_with("ssh-") {
        let why = match text.starts_with("age1") {
            true => ": an age1… key ends in a checksum, and this one does not fit",
            false => "",
        };
        let kind = match text.starts_with("age1pq1") {
            true => "post-quantum age recipient",
            false => "age recipient",
        };
        return Err(Unfit::new(format!("{text:?} is no {kind}{why}"))
            .hint("copy the public key again, whole: `age-keygen -y KEYFILE` prints it"));
    }
    if text.contains('/') {
        return absolute(text, text, place);
    }
    Err(Unfit::new("this is no age recipient").hint(
        "write a public key, \"age1…\" or \"ssh-ed25519 …\", or the absolute path of a file of them",
    ))
}

fn name_of_thing(text: &str) -> Result<(), Unfit> {
    if name::Name::parse(text).is_some() {
        return Ok(());
    }
    Err(Unfit::new(format!("{text:?} is no name"))
        .hint("use letters, digits, -, _ and ., beginning with a letter or a digit"))
}

fn variable(text: &str) -> Result<(), Unfit> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.chars().all(fits) && !text.starts_with(|c: char| c.is_ascii_digit()) && !text.is_empty()
    {
        return Ok(());
    }
    Err(Unfit::new(format!(
        "{text:?} is no name of an environment variable"
    )))
}

fn pattern(text: &str) -> Result<(), Unfit> {
    if text.starts_with('!') {
        return Err(
            Unfit::new(format!("{text:?} is a negation, which is not supported"))
                .hint("exclude less instead"),
        );
    }
    if text.is_empty() {
        return Err(Unfit::new("the pattern is empty"));
    }
    match globset::Glob::new(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(Unfit::new(format!(
            "{text:?} is no pattern: {}",
            error.kind()
        ))),
    }
}

fn extension(text: &str) -> Result<(), Unfit> {
    if name::Extension::parse(text).is_some() {
        return Ok(());
    }
    let bare = text.trim_start_matches('.');
    let unfit = Unfit::new(format!("{text:?} is no file name extension"));
    Err(match name::Extension::parse(bare) {
        Some(_) => unfit.hint(format!("write {bare:?}, without the dot")),
        None => unfit.hint("use letters and digits: \"json\", \"tar.xz\""),
    })
}

/// Checks a URL; `instead` says where its credentials belong.
fn url(text: &str, instead: &str) -> Result<(), Unfit> {
    let hint = format!("write it without them; {instead}");
    // A URL with a user name or a query is not shown: either may contain a key.
    if text.contains('@') {
        return Err(Unfit::new("the URL holds credentials").hint(hint));
    }
    if text.contains(['?', '#']) {
        let message = "the URL goes on after its path, where credentials may be";
        return Err(Unfit::new(message).hint(hint));
    }
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') => Ok(()),
        _ => Err(Unfit::new(format!("{text:?} is no http or https URL"))
            .hint("write it whole, as in \"https://s3.example.org\"")),
    }
}

fn mail_address(text: &str) -> Result<(), Unfit> {
    // A line break would begin another header.
    let whole = !text.contains(char::is_control);
    match text.parse::<lettre::message::Mailbox>() {
        Ok(_) if whole => Ok(()),
        _ => Err(Unfit::new(format!("{text:?} is no mail address"))
            .hint("write ADDRESS@HOST, or NAME <ADDRESS@HOST>")),
    }
}

/// Returns whether a text that is no reference holds a secret: a private key, or a URL with a
/// password.
pub(super) fn holds_secret(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    if upper.contains("AGE-SECRET-KEY-1") {
        return true;
    }
    if upper.contains("-----BEGIN") && upper.contains("PRIVATE KEY") {
        return true;
    }
    text.split("://").skip(1).any(|rest| {
        let authority = rest
            .split(|c: char| c.is_whitespace() || "/?#\"'".contains(c))
            .next()
            .unwrap_or_default();
        let user = authority.rsplit_once('@').map(|(user, _)| user);
        let password = user.and_then(|user| Some(user.split_once(':')?.1));
        // `$PASSWORD` and `{password}` are placeholders.
        password.is_some_and(|p| !p.is_empty() && !p.starts_with('$') && !p.starts_with('{'))
    })
}
