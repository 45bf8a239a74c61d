//! The address of a PostgreSQL database, and how a client program receives it.
//!
//! Guarantees: the password is passed in the child's environment only, never in an argument and
//! never in [`Connection::display`]. `PG*` variables of this process are ignored, so that a stray
//! `PGHOST` cannot direct a restore at another server. `~/.pgpass` and `~/.postgresql` are
//! honoured.

use crate::config::ServerConfig;
use crate::error::{Code, Error, Result};
use crate::http::is_loopback;
use crate::percent;
use crate::resolve::resolve;
use crate::secret::{Scrubber, Secret};
use crate::transport::{Command, Transport};
use std::collections::BTreeMap;
use std::path::Path;

/// How long a client may take to connect, in seconds.
const CONNECT_SECONDS: &str = "15";

/// libpq parameters of a URL, and the environment variable that carries each.
const PARAMETERS: &[(&str, &str)] = &[
    ("application_name", "PGAPPNAME"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("gssencmode", "PGGSSENCMODE"),
    ("gsslib", "PGGSSLIB"),
    ("hostaddr", "PGHOSTADDR"),
    ("krbsrvname", "PGKRBSRVNAME"),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS"),
    ("options", "PGOPTIONS"),
    ("passfile", "PGPASSFILE"),
    ("require_auth", "PGREQUIREAUTH"),
    ("requirepeer", "PGREQUIREPEER"),
    ("requiressl", "PGREQUIRESSL"),
    ("service", "PGSERVICE"),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    ("sslcert", "PGSSLCERT"),
    ("sslcertmode", "PGSSLCERTMODE"),
    ("sslcompression", "PGSSLCOMPRESSION"),
    ("sslcrl", "PGSSLCRL"),
    ("sslcrldir", "PGSSLCRLDIR"),
    ("sslkey", "PGSSLKEY"),
    ("sslmode", "PGSSLMODE"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslsni", "PGSSLSNI"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
];

/// A database of a server, and the credentials for it.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    host: Option<String>,
    port: Option<String>,
    user: Option<String>,
    database: Option<String>,
    password: Option<Secret>,
    /// Environment variable → value.
    parameters: BTreeMap<&'static str, String>,
    /// The place where the client programs run.
    transport: Transport,
}

impl Connection {
    /// A connection from the configuration, with its references resolved. Parts given beside a URL
    /// override it.
    pub fn from_config(config: &ServerConfig) -> Result<Self> {
        let mut connection = match &config.url {
            Some(url) => Connection::from_url(&resolve(url)?)?,
            None => Connection::default(),
        };
        if let Some(host) = &config.host {
            connection.host = Some(host.clone());
        }
        if let Some(socket) = &config.socket {
            connection.host = Some(socket.to_string_lossy().into_owned());
        }
        if let Some(port) = config.port {
            connection.port = Some(port.to_string());
        }
        if let Some(user) = &config.user {
            connection.user = Some(user.clone());
        }
        if let Some(database) = &config.database {
            connection.database = Some(database.clone());
        }
        if let Some(password) = &config.password {
            connection.password = Some(resolve(password)?);
        }
        connection.transport = config.place.transport();
        Ok(connection)
    }

    /// Returns true if a text is a URL that [`Connection::from_url`] reads.
    pub fn is_url(text: &str) -> bool {
        text.starts_with("postgres://") || text.starts_with("postgresql://")
    }

    /// Parses `postgres://user:password@host:port/database?name=value`, as libpq does: percent
    /// encoding, `[IPv6]`, several hosts, `postgresql://`. Errors never show the URL.
    pub fn from_url(url: &Secret) -> Result<Self> {
        let text = url.expose_str()?;
        let rest = text
            .strip_prefix("postgres://")
            .or_else(|| text.strip_prefix("postgresql://"))
            .ok_or_else(|| malformed("it does not begin with postgres:// or postgresql://"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // The last `@`: an unencoded one in a password is a common mistake that libpq forgives.
        let (credentials, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let mut connection = Connection::default();
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        connection.user = some(decode(user)?);
        connection.password = some(decode(password)?).map(|p| Secret::new(p.into_bytes()));
        connection.take_hosts(hosts)?;
        connection.database = some(decode(path)?);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| malformed("a parameter has no value"))?;
            connection.take_parameter(&decode(name)?, decode(value)?)?;
        }
        Ok(connection)
    }

    fn take_hosts(&mut self, hosts: &str) -> Result<()> {
        let (mut names, mut ports) = (Vec::new(), Vec::new());
        for host in hosts.split(',') {
            let (name, port) = match host.strip_prefix('[') {
                Some(rest) => {
                    let (address, after) = rest
                        .split_once(']')
                        .ok_or_else(|| malformed("an IPv6 address has no closing bracket"))?;
                    (address, after.strip_prefix(':').unwrap_or(after))
                }
                None => host.split_once(':').unwrap_or((host, "")),
            };
            if !port.is_empty() && port.parse::<u16>().is_err() {
                return Err(malformed("a port is not a number from 0 to 65535"));
            }
            names.push(decode(name)?);
            ports.push(port.to_owned());
        }
        if names.iter().any(|name| !name.is_empty()) {
            self.host = Some(names.join(","));
        }
        if ports.iter().any(|port| !port.is_empty()) {
            self.port = Some(ports.join(","));
        }
        Ok(())
    }

    fn take_parameter(&mut self, name: &str, value: String) -> Result<()> {
        match name {
            "host" => self.host = some(value),
            "port" => self.port = some(value),
            "user" => self.user = some(value),
            "dbname" => self.database = some(value),
            "password" => self.password = some(value).map(|p| Secret::new(p.into_bytes())),
            // Lifeboat chooses the encoding itself.
            "client_encoding" => {}
            "ssl" if value == "true" => {
                self.parameters.insert("PGSSLMODE", "require".into());
            }
            _ => match PARAMETERS.iter().find(|(known, _)| *known == name) {
                Some((_, variable)) => {
                    self.parameters.insert(variable, value);
                }
                None => {
                    return Err(malformed(&format!("parameter {name:?} is not known"))
                        .hint("remove the parameter; those of libpq that have an environment variable are known"));
                }
            },
        }
        Ok(())
    }

    /// A superuser's connection to a server on a private socket, without a password.
    pub fn on_socket(directory: &Path, user: &str, database: &str) -> Self {
        Connection {
            host: Some(directory.to_string_lossy().into_owned()),
            user: Some(user.to_owned()),
            database: Some(database.to_owned()),
            ..Connection::default()
        }
    }

    /// A connection to another database with the same server and role.
    pub fn with_database(&self, name: &str) -> Self {
        Connection {
            database: Some(name.to_owned()),
            ..self.clone()
        }
    }

    /// The database, if one is named; otherwise libpq takes the role's name.
    pub fn database(&self) -> Option<&str> {
        self.database.as_deref().or(self.user.as_deref())
    }

    /// Whether the server is surely on the host where its client programs run.
    pub fn is_at_hand(&self) -> bool {
        let elsewhere = ["PGHOSTADDR", "PGSERVICE"];
        let named = elsewhere
            .iter()
            .any(|name| self.parameters.contains_key(name));
        let host = self.host.as_deref();
        !named && host.is_none_or(|host| host.starts_with('/') || is_loopback(host))
    }

    /// The place where its client programs run.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The role, if one is named; otherwise libpq takes the user's name.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Its description for people: `postgres://user@host:port/database`, and the way it is reached,
    /// but never the password.
    pub fn display(&self) -> String {
        let mut text = String::from("postgres://");
        if let Some(user) = &self.user {
            text.push_str(user);
            text.push('@');
        }
        text.push_str(self.host.as_deref().unwrap_or("localhost-socket"));
        if let Some(port) = &self.port {
            text.push(':');
            text.push_str(port);
        }
        text.push('/');
        text.push_str(self.database.as_deref().unwrap_or_default());
        if let Some(place) = self.transport.place() {
            text.push_str(" through ");
            text.push_str(&place);
        }
        text
    }

    /// A URL without the password that libpq and most drivers read. It is for checks against a
    /// scratch server, which needs no password.
    pub fn url_without_password(&self) -> String {
        let mut url = String::from("postgresql:///");
        url.push_str(&percent::encode(
            self.database.as_deref().unwrap_or_default(),
        ));
        let parts = [
            ("host", &self.host),
            ("port", &self.port),
            ("user", &self.user),
        ];
        let mut separator = '?';
        for (name, value) in parts {
            if let Some(value) = value {
                url.push(separator);
                url.push_str(name);
                url.push('=');
                url.push_str(&percent::encode(value));
                separator = '&';
            }
        }
        url
    }

    /// A client program with the connection set, and with everything fixed that changes how values
    /// are written: time zone, encoding, the form of `bytea`. (`pg_dump` fixes dates, intervals and
    /// floating point itself.)
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>, scrubber: &Scrubber) -> Command {
        let mut command = Command::new(program)
            .clean_env()
            .env("LC_ALL", "C")
            .env("PGAPPNAME", "lifeboat")
            .env("PGCONNECT_TIMEOUT", CONNECT_SECONDS)
            .env("PGTZ", "UTC")
            .env("PGDATESTYLE", "ISO")
            .env("PGCLIENTENCODING", "UTF8");
        // Elsewhere, the home directory there counts.
        if self.transport == Transport::Local
            && let Some(home) = std::env::var_os("HOME")
        {
            command = command.env("HOME", home);
        }
        let parts = [
            ("PGHOST", &self.host),
            ("PGPORT", &self.port),
            ("PGUSER", &self.user),
            ("PGDATABASE", &self.database),
        ];
        for (name, value) in parts {
            if let Some(value) = value {
                command = command.env(name, value);
            }
        }
        let mut options = String::from("-c bytea_output=hex");
        for (name, value) in &self.parameters {
            if *name == "PGOPTIONS" {
                options = format!("{value} {options}");
            } else {
                command = command.env(name, value);
            }
        }
        command = command.env("PGOPTIONS", options);
        if let Some(password) = &self.password {
            command = command.secret_env("PGPASSWORD", password);
        }
        command.scrub_with(scrubber)
    }
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn malformed(why: &str) -> Error {
    Error::new(
        Code::Configuration,
        format!("a PostgreSQL URL is malformed: {why}"),
    )
    .hint("write it as postgres://user:password@host:5432/database?sslmode=require, with special characters percent-encoded")
}

fn decode(text: &str) -> Result<String> {
    percent::decode(text).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Result<Connection> {
        Connection::from_url(&Secret::new(text.as_bytes().to_vec()))
    }

    #[test]
    fn a_url_is_read_as_libpq_reads_it() {
        let c = url("postgresql://al%40ice:p%3Aw@[::1]:6543/my%20db?sslmode=require").unwrap();
        assert_eq!(c.user.as_deref(), Some("al@ice"));
        assert_eq!(c.password.as_ref().unwrap().expose(), b"p:w");
        assert_eq!(c.host.as_deref(), Some("::1"));
        assert_eq!(c.port.as_deref(), Some("6543"));
        assert_eq!(c.database.as_deref(), Some("my db"));
        assert_eq!(c.parameters["PGSSLMODE"], "require");
        let c = url("postgres://a:1,b:2/d").unwrap();
        assert_eq!(
            (c.host.as_deref(), c.port.as_deref()),
            (Some("a,b"), Some("1,2"))
        );
        let c = url("postgres:///d?host=/run/pg&user=u&password=secret").unwrap();
        assert_eq!(c.host.as_deref(), Some("/run/pg"));
        assert!(!c.display().contains("secret"));
        assert!(!format!("{c:?}").contains("secret"));
        assert!(!c.url_without_password().contains("secret"));
    }

    #[test]
    fn errors_do_not_show_the_url() {
        for bad in [
            "mysql://u:hunter2@h/d",
            "postgres://u:hunter2%zz@h/d",
            "postgres://u:hunter2@h:99999/d",
            "postgres://u:hunter2@[::1/d",
            "postgres://u:hunter2@h/d?nonsense=1",
        ] {
            let error = url(bad).unwrap_err();
            assert_eq!(error.code, Code::Configuration);
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
