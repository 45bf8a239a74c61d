//! The address of a MariaDB or MySQL database, and how a client program receives it.
//!
//! Guarantees: the password is passed in the child's environment only, never in an argument and
//! never in [`Connection::display`]. The user's option files and `MYSQL_*` variables are ignored,
//! so that a stray one cannot direct a restore at another server.

use super::flavor::Flavor;
use super::programs::{Program, Programs, Tool};
use super::url::{decode, malformed, some};
use crate::config::ServerConfig;
use crate::error::Result;
use crate::http::is_loopback;
use crate::percent;
use crate::resolve::resolve;
use crate::secret::{Scrubber, Secret};
use crate::transport::{Command, Transport};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How long a client may take to connect, in seconds.
const CONNECT_SECONDS: &str = "15";

/// How far the connection to a server is to be encrypted and checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Encryption {
    /// The client's default.
    #[default]
    Preferred,
    Disabled,
    Required,
    /// The certificate must be from a known authority.
    VerifyAuthority,
    /// The certificate must also be for this host.
    VerifyIdentity,
}

#[derive(Debug, Clone, Default)]
struct Tls {
    encryption: Encryption,
    authority: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

/// A database of a server, and the credentials for it.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    flavor: Flavor,
    transport: Transport,
    host: Option<String>,
    port: Option<u16>,
    socket: Option<PathBuf>,
    user: Option<String>,
    database: Option<String>,
    password: Option<Secret>,
    tls: Tls,
    programs: Arc<Programs>,
}

impl Connection {
    /// A connection from the configuration, with its references resolved. Parts given beside a URL
    /// override it.
    pub fn from_config(config: &ServerConfig, flavor: Flavor) -> Result<Self> {
        let mut connection = match &config.url {
            Some(url) => Connection::from_url(&resolve(url)?, flavor)?,
            None => Connection {
                flavor,
                ..Connection::default()
            },
        };
        if let Some(host) = &config.host {
            connection.host = Some(host.clone());
            connection.socket = None;
        }
        if let Some(socket) = &config.socket {
            connection.socket = Some(socket.clone());
            connection.host = None;
        }
        if let Some(port) = config.port {
            connection.port = Some(port);
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
        Ok(connection.through(config.place.transport()))
    }

    /// Returns true if a text is a URL that [`Connection::from_url`] reads.
    pub fn is_url(text: &str) -> bool {
        scheme(text).is_some()
    }

    /// Parses `mysql://user:password@host:port/database?name=value` (or `mariadb://`, or with a
    /// driver's name as in `mysql+pymysql://`): percent encoding, `[IPv6]`. Parameters that only a
    /// driver needs are ignored. Errors never show the URL.
    pub fn from_url(url: &Secret, flavor: Flavor) -> Result<Self> {
        let text = url.expose_str()?;
        let rest = scheme(text)
            .ok_or_else(|| malformed("it does not begin with mariadb:// or mysql://"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // The last `@`: an unencoded one in a password is a common mistake.
        let (credentials, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let mut connection = Connection {
            flavor,
            user: some(decode(user)?),
            password: some(decode(password)?).map(|p| Secret::new(p.into_bytes())),
            database: some(decode(path)?),
            ..Connection::default()
        };
        connection.take_host(host)?;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| malformed("a parameter has no value"))?;
            connection.take_parameter(&decode(name)?, decode(value)?)?;
        }
        Ok(connection)
    }

    fn take_host(&mut self, host: &str) -> Result<()> {
        let (name, port) = match host.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest
                    .split_once(']')
                    .ok_or_else(|| malformed("an IPv6 address has no closing bracket"))?;
                (address, after.strip_prefix(':').unwrap_or(after))
            }
            None => host.split_once(':').unwrap_or((host, "")),
        };
        if !port.is_empty() {
            let number = port
                .parse()
                .map_err(|_| malformed("the port is not a number from 0 to 65535"))?;
            self.port = Some(number);
        }
        self.host = some(decode(name)?);
        Ok(())
    }

    fn take_parameter(&mut self, name: &str, value: String) -> Result<()> {
        let plain: String = name
            .chars()
            .filter(|c| *c != '-' && *c != '_')
            .flat_map(char::to_lowercase)
            .collect();
        match plain.as_str() {
            "host" => self.host = some(value),
            "socket" | "unixsocket" => self.socket = some(value).map(PathBuf::from),
            "user" => self.user = some(value),
            "password" => self.password = some(value).map(|p| Secret::new(p.into_bytes())),
            "sslmode" => self.tls.encryption = encryption(&value)?,
            "ssl" | "usessl" | "tls" => {
                self.tls.encryption = match value.to_ascii_lowercase().as_str() {
                    "true" | "1" => Encryption::Required,
                    "false" | "0" => Encryption::Disabled,
                    "preferred" => Encryption::Preferred,
                    _ => return Err(malformed(&format!("{name} is neither true nor false"))),
                };
            }
            "sslca" => self.tls.authority = some(value),
            "sslcert" => self.tls.certificate = some(value),
            "sslkey" => self.tls.key = some(value),
            // Frameworks put these there for their drivers; Lifeboat chooses them itself.
            "charset" | "collation" | "serverversion" | "connectionlimit" | "pool"
            | "pooltimeout" | "timezone" | "parsetime" | "encoding" => {}
            _ => {
                return Err(malformed(&format!("parameter {name:?} is not known"))
                    .hint("remove it; socket, ssl-mode, ssl-ca, ssl-cert and ssl-key are known"));
            }
        }
        Ok(())
    }

    /// An administrator's connection to a server on a private socket, without a password.
    pub fn on_socket(flavor: Flavor, socket: &Path, user: &str, database: &str) -> Self {
        Connection {
            flavor,
            socket: Some(socket.to_owned()),
            user: Some(user.to_owned()),
            database: some(database.to_owned()),
            ..Connection::default()
        }
    }

    /// A connection to another database with the same server and account; to none if `name` is
    /// empty.
    pub fn with_database(&self, name: &str) -> Self {
        Connection {
            database: some(name.to_owned()),
            ..self.clone()
        }
    }

    /// The same connection with its tools run elsewhere.
    pub fn through(self, transport: Transport) -> Self {
        Connection {
            transport,
            // Other programs may be installed there.
            programs: Arc::default(),
            ..self
        }
    }

    /// The flavor that the configuration says.
    pub fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// The place where its tools run.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Whether the server is surely on the host where its client programs run.
    pub fn is_at_hand(&self) -> bool {
        self.socket.is_some() || self.host.as_deref().is_none_or(is_loopback)
    }

    /// The database, if one is named.
    pub fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// The account, if one is named; otherwise the client takes the user's name.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Its description for people: `mariadb://user@host:port/database`, and the way it is reached,
    /// but never the password.
    pub fn display(&self) -> String {
        let mut text = format!("{}://", self.flavor.name());
        if let Some(user) = &self.user {
            text.push_str(user);
            text.push('@');
        }
        match (&self.socket, &self.host) {
            (Some(socket), _) => text.push_str(&socket.to_string_lossy()),
            (None, host) => text.push_str(host.as_deref().unwrap_or("localhost")),
        }
        if let (None, Some(port)) = (&self.socket, self.port) {
            text.push_str(&format!(":{port}"));
        }
        text.push('/');
        text.push_str(self.database.as_deref().unwrap_or_default());
        if let Some(place) = self.transport.place() {
            text.push_str(" through ");
            text.push_str(&place);
        }
        text
    }

    /// A URL without the password that most drivers read. It is for checks against a scratch
    /// server, which needs no password.
    pub fn url_without_password(&self) -> String {
        let mut url = String::from("mysql://");
        if let Some(user) = &self.user {
            url.push_str(&percent::encode(user));
            url.push('@');
        }
        let host = self.host.as_deref().unwrap_or("localhost");
        match host.contains(':') {
            true => url.push_str(&format!("[{host}]")),
            false => url.push_str(&percent::encode(host)),
        }
        if let Some(port) = self.port {
            url.push_str(&format!(":{port}"));
        }
        url.push('/');
        url.push_str(&percent::encode(
            self.database.as_deref().unwrap_or_default(),
        ));
        if let Some(socket) = &self.socket {
            url.push_str("?socket=");
            url.push_str(&percent::encode(&socket.to_string_lossy()));
        }
        url
    }

    /// The program for this job where the transport runs: the flavor's own if it is there, else the
    /// other flavor's.
    pub fn program(&self, tool: Tool) -> Result<Program> {
        self.programs.find(&self.transport, self.flavor, tool)
    }

    /// A command of the client or the dump program with the connection set, in UTF-8, and with no
    /// option files. The client also receives the database; a dump program takes it as an argument
    /// that the caller adds.
    pub fn client_command(&self, tool: Tool, scrubber: &Scrubber) -> Result<Command> {
        let program = self.program(tool)?;
        let mut command = Command::new(&program.name)
            .clean_env()
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            // It must come first.
            .arg("--no-defaults")
            .arg("--default-character-set=utf8mb4");
        match (&self.socket, &self.host) {
            (Some(socket), _) => {
                let mut option = std::ffi::OsString::from("--socket=");
                option.push(socket);
                command = command.arg("--protocol=socket").arg(option);
            }
            // By custom, a bare `localhost` means the client's default socket.
            (None, Some(host)) if host == "localhost" && self.port.is_none() => {}
            (None, Some(host)) => {
                command = command.arg("--protocol=tcp").arg(format!("--host={host}"));
            }
            (None, None) if self.port.is_some() => command = command.arg("--protocol=tcp"),
            (None, None) => {}
        }
        if let (None, Some(port)) = (&self.socket, self.port) {
            command = command.arg(format!("--port={port}"));
        }
        if let Some(user) = &self.user {
            command = command.arg(format!("--user={user}"));
        }
        command = command.args(self.tls.options(&program));
        if tool == Tool::Client {
            command = command.arg(format!("--connect-timeout={CONNECT_SECONDS}"));
            if let Some(database) = &self.database {
                command = command.arg(format!("--database={database}"));
            }
        }
        if let Some(password) = &self.password {
            command = command.secret_env("MYSQL_PWD", password);
        }
        Ok(command.scrub_with(scrubber))
    }
}

impl Tls {
    /// Options of the connection. The two clients spell them differently.
    fn options(&self, program: &Program) -> Vec<String> {
        let mut options = Vec::new();
        match program.flavor {
            Flavor::Mysql => {
                let mode = match self.encryption {
                    Encryption::Preferred => "PREFERRED",
                    Encryption::Disabled => "DISABLED",
                    Encryption::Required => "REQUIRED",
                    Encryption::VerifyAuthority => "VERIFY_CA",
                    Encryption::VerifyIdentity => "VERIFY_IDENTITY",
                };
                options.push(format!("--ssl-mode={mode}"));
                if self.encryption == Encryption::Disabled {
                    // Without it, a first login by caching_sha2_password is refused.
                    options.push("--get-server-public-key".into());
                }
            }
            // MariaDB's client has no check of the authority alone.
            Flavor::Mariadb => match self.encryption {
                // From 11.4 on the client checks the certificate by means of a password, but not by
                // one from the environment, and then warns of it each time.
                Encryption::Preferred => options.push("--skip-ssl-verify-server-cert".into()),
                Encryption::Disabled => options.push("--skip-ssl".into()),
                Encryption::Required => {
                    options.extend(["--ssl".into(), "--skip-ssl-verify-server-cert".into()]);
                }
                Encryption::VerifyAuthority | Encryption::VerifyIdentity => {
                    options.extend(["--ssl".into(), "--ssl-verify-server-cert".into()]);
                }
            },
        }
        let files = [
            ("ca", &self.authority),
            ("cert", &self.certificate),
            ("key", &self.key),
        ];
        for (name, path) in files {
            options.extend(path.as_ref().map(|path| format!("--ssl-{name}={path}")));
        }
        options
    }
}

fn encryption(value: &str) -> Result<Encryption> {
    let plain = value.to_ascii_lowercase().replace('_', "-");
    Ok(match plain.as_str() {
        "preferred" | "prefer" => Encryption::Preferred,
        "disabled" | "disable" => Encryption::Disabled,
        "required" | "require" => Encryption::Required,
        "verify-ca" => Encryption::VerifyAuthority,
        "verify-identity" | "verify-full" => Encryption::VerifyIdentity,
        _ => {
            return Err(malformed("its ssl-mode is not known")
                .hint("it is one of disabled, preferred, required, verify-ca, verify-identity"));
        }
    })
}

/// The part of a URL after `mariadb://`, `mysql://` or `mysql+driver://`.
fn scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    let known = |name: &str| {
        scheme == name
            || scheme
                .strip_prefix(name)
                .is_some_and(|driver| driver.starts_with('+'))
    };
    (known("mysql") || known("mariadb")).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    fn url(text: &str) -> Result<Connection> {
        Connection::from_url(&Secret::new(text.as_bytes().to_vec()), Flavor::Mariadb)
    }

    #[test]
    fn a_url_is_read_as_drivers_read_it() {
        let c = url("mysql://al%40ice:p%3Aw@[::1]:6543/my%20db?ssl-mode=REQUIRED").unwrap();
        assert_eq!(c.user.as_deref(), Some("al@ice"));
        assert_eq!(c.password.as_ref().unwrap().expose(), b"p:w");
        assert_eq!(c.host.as_deref(), Some("::1"));
        assert_eq!(c.port, Some(6543));
        assert_eq!(c.database(), Some("my db"));
        assert_eq!(c.tls.encryption, Encryption::Required);
        let c = url("mariadb+pymysql://u@/d?unix_socket=/run/m.sock&charset=utf8mb4").unwrap();
        assert_eq!(c.socket.as_deref(), Some(Path::new("/run/m.sock")));
        assert_eq!(c.display(), "mariadb://u@/run/m.sock/d");
        assert_eq!(url(&c.url_without_password()).unwrap().socket, c.socket);
        let c = url("mysql://u:sec%22ret@db.example.org/d").unwrap();
        assert_eq!(c.display(), "mariadb://u@db.example.org/d");
        for text in [format!("{c:?}"), c.display(), c.url_without_password()] {
            assert!(!text.contains("sec"), "{text}");
        }
    }

    #[test]
    fn errors_do_not_show_the_url() {
        for bad in [
            "postgres://u:hunter2@h/d",
            "mysqlx://u:hunter2@h/d",
            "mysql://u:hunter2%zz@h/d",
            "mysql://u:hunter2@h:99999/d",
            "mysql://u:hunter2@[::1/d",
            "mysql://u:hunter2@h/d?nonsense=1",
            "mysql://u:hunter2@h/d?ssl-mode=hunter2",
            "mysql://u:hunter2@h/d?ssl=hunter2",
        ] {
            let error = url(bad).unwrap_err();
            assert_eq!(error.code, Code::Configuration);
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
