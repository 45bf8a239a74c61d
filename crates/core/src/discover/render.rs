//! The proposed configuration: commented, made from what was found, and without any secret.

use super::database::{Database, Kind};
use super::{Found, name_of};
use crate::config::{Config, schema};
use crate::error::{Code, Error, Result};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// A valid configuration, and the secrets that must be supplied before it works.
#[derive(Debug, Clone, Serialize)]
pub struct Proposal {
    /// The text of the file.
    #[serde(skip)]
    pub text: String,
    /// Secrets that it refers to and that do not exist yet.
    pub missing: Vec<Missing>,
    /// The file for those that come from the environment.
    #[serde(skip)]
    pub secrets: PathBuf,
}

/// A secret to be supplied.
#[derive(Debug, Clone, Serialize)]
pub struct Missing {
    /// Reference in the configuration: `env:CRM_DB_PASSWORD`.
    pub reference: String,
    /// Present place of its value.
    pub now: String,
    /// The command that makes it, if it is not there yet.
    pub make: Option<String>,
}

/// Writes a configuration that suits what was found, and parses it to check that it is valid.
pub fn render(found: &Found, host: &str) -> Result<Proposal> {
    let mut writer = Writer::new(found, host);
    // Writing to a string does not fail.
    let _ = writer.all();
    let secrets = found.root.join(SECRETS);
    let (text, missing) = (writer.out, writer.missing);
    Config::parse(&text, Path::new("/etc/lifeboat/lifeboat.toml")).map_err(|error| {
        Error::new(
            Code::Configuration,
            "what was found makes no valid configuration",
        )
        .cause(error)
        .hint("write the configuration by hand, beginning with docs/configuration.md")
    })?;
    Ok(Proposal {
        text,
        missing,
        secrets,
    })
}

/// Files below the root: public keys that the proposed stores encrypt to, and the private keys to
/// decrypt with.
const RECIPIENTS: &str = "etc/lifeboat/recipients.txt";
const IDENTITY: &str = "etc/lifeboat/identity.txt";
/// File below the root: the environment that `env:` refers to.
const SECRETS: &str = "etc/lifeboat/secrets.env";

struct Writer<'a> {
    found: &'a Found,
    host: &'a str,
    out: String,
    missing: Vec<Missing>,
    /// Sources that need no encryption, in the order in which they are captured.
    sources: Vec<String>,
    /// Databases among them.
    databases: Vec<String>,
    kinds: Kinds,
}

/// Kinds of source that this version can protect.
struct Kinds(serde_json::Value);

impl Kinds {
    fn choice(&self, kind: &str) -> Option<&serde_json::Value> {
        let choices = self.0.pointer("/$defs/SourceConfig/oneOf")?.as_array()?;
        choices
            .iter()
            .find(|c| c.get("title").and_then(|title| title.as_str()) == Some(kind))
    }

    /// Returns whether this kind is supported, and inside a container if it runs in one.
    fn has(&self, database: &Database) -> bool {
        let choice = self.choice(database.kind.name());
        choice
            .is_some_and(|c| database.container.is_none() || c.pointer("/properties/via").is_some())
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<_> = items.into_iter().collect();
    match items.len() {
        0..=2 => format!("[{}]", items.join(", ")),
        _ => format!("[\n  {},\n]", items.join(",\n  ")),
    }
}

fn variable(text: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric();
    let name: String = text
        .chars()
        .map(|c| if fits(c) { c.to_ascii_uppercase() } else { '_' })
        .collect();
    let name = name.trim_start_matches(|c: char| c.is_ascii_digit() || c == '_');
    name.to_owned()
}

impl<'a> Writer<'a> {
    fn new(found: &'a Found, host: &'a str) -> Self {
        Writer {
            found,
            host,
            out: String::new(),
            missing: Vec::new(),
            sources: Vec::new(),
            databases: Vec::new(),
            kinds: Kinds(schema()),
        }
    }

    fn all(&mut self) -> std::fmt::Result {
        self.head()?;
        for database in &self.found.databases {
            self.database(database)?;
        }
        self.servers()?;
        self.files()?;
        self.secrets()?;
        self.stores()?;
        self.plan()?;
        self.restore()
    }

    fn at(&self, path: &str) -> String {
        self.found.root.join(path).to_string_lossy().into_owned()
    }

    fn comment(&mut self, text: &str) -> std::fmt::Result {
        for line in text.lines() {
            writeln!(self.out, "{}", format!("# {line}").trim_end())?;
        }
        Ok(())
    }

    fn head(&mut self) -> std::fmt::Result {
        let name = match self.found.applications.as_slice() {
            [only] => only.name.clone(),
            _ => name_of(self.host, &mut BTreeSet::new()),
        };
        let (recipients, identity) = (self.at(RECIPIENTS), self.at(IDENTITY));
        let (directory, secrets) = (self.at("etc/lifeboat"), self.at(SECRETS));
        self.comment(&format!(
            "A proposal by `lifeboat init`: what it found on this host, and where its secrets are now. No secret is in\n\
             this file. Read it from top to bottom, correct it, then\n\n\
             \x20 1. make a key pair, and keep a copy of the private key where you find it when this host is gone:\n\
             \x20      install -d -m 700 {directory}\n\
             \x20      age-keygen -o {identity}\n\
             \x20      age-keygen -y {identity} > {recipients}\n\
             \x20 2. put the secrets, every env: below, as NAME='value' into {secrets} (mode 0600; it is\n\
             \x20    empty where there are none); each has a note where its value is now. Then: set -a; . {secrets}; set +a\n\
             \x20 3. lifeboat doctor; lifeboat backup; lifeboat drill: each says what comes next\n\
             \x20 4. let it run by itself: lifeboat init --systemd; or by cron, which mails what fails. /etc/cron.d/lifeboat:\n\
             \x20      PATH=/usr/local/bin:/usr/bin:/bin\n\
             \x20      */10 * * * *  root  set -a; . {secrets}; exec flock -n /run/lifeboat-run.lock lifeboat -q run\n\
             \x20 5. export a recovery kit: lifeboat kit export -o kit.age --passphrase file:PATH"
        ))?;
        let applications = self.found.applications.len();
        if applications > 1 {
            self.comment(&format!(
                "\n{applications} application directories were found and are protected as one: they are captured and restored together.\n\
                 An application that is to be restored by itself gets a file of its own: lifeboat --config FILE."
            ))?;
        }
        for unread in &self.found.unread {
            self.comment(&format!(
                "\nNot looked at: {}",
                unread.replace(char::is_control, "?")
            ))?;
        }
        writeln!(self.out, "\nversion = 1\n\n[app]\nname = {}", quoted(&name))?;
        writeln!(
            self.out,
            "environment = \"production\"        # a live restore must be confirmed with {name}/production"
        )?;
        writeln!(
            self.out,
            "# owner = \"ops@example.org\"        # who answers for it; kept with evidence"
        )?;
        writeln!(
            self.out,
            "rpo = \"25h\"                        # how much work may be lost: the plan below runs daily; run it hourly for less"
        )?;
        writeln!(
            self.out,
            "rto = \"2h\"                         # how long a restore may take; drills measure it"
        )?;
        if self.found.root != Path::new("/") {
            let state = self.at("var/lib/lifeboat");
            writeln!(self.out, "state = {}", quoted(&state))?;
        }
        writeln!(self.out)
    }

    fn needs(&mut self, reference: &str, now: String, make: Option<String>) {
        if !self
            .missing
            .iter()
            .any(|known| known.reference == reference)
        {
            self.missing.push(Missing {
                reference: reference.to_owned(),
                now,
                make,
            });
        }
    }

    fn database(&mut self, database: &Database) -> std::fmt::Result {
        let name = &database.name;
        let kind = database.kind.name();
        let complete = database.kind == Kind::Sqlite || database.database.is_some();
        let known = self.kinds.has(database);
        self.comment(&format!("Found through {}.", database.seen))?;
        if !known {
            self.comment("This version cannot reach it: take the # away when it can, or dump it with kind = \"command\".")?;
        } else if !complete {
            self.comment(
                "Which database is in it could not be seen: fill that in, and take the # away.",
            )?;
        }
        let mark = if known && complete { "" } else { "# " };
        writeln!(self.out, "{mark}[source.{name}]\n{mark}kind = \"{kind}\"")?;
        if let Some(container) = &database.container {
            writeln!(
                self.out,
                "{mark}via = {}   # the container's name, as `docker ps` shows it",
                quoted(&format!("docker:{container}"))
            )?;
        }
        if let (Kind::Sqlite, Some(file)) = (database.kind, &database.path) {
            writeln!(self.out, "{mark}path = {}", path(file))?;
        } else {
            self.server_of(database, mark)?;
            let shown = database.database.as_deref().unwrap_or("NAME");
            writeln!(self.out, "{mark}database = {}", quoted(shown))?;
        }
        if let Some(now) = &database.password {
            let reference = format!("env:{}_PASSWORD", variable(name));
            writeln!(self.out, "{mark}password = \"{reference}\"   # now {now}")?;
            if known && complete {
                self.needs(&reference, now.to_string(), None);
            }
        }
        writeln!(self.out)?;
        if known && complete {
            self.sources.push(name.clone());
            self.databases.push(name.clone());
        }
        Ok(())
    }

    fn server_of(&mut self, database: &Database, mark: &str) -> std::fmt::Result {
        match database.host.as_deref() {
            Some(host) if host.starts_with('/') && database.kind == Kind::Postgres => {
                writeln!(self.out, "{mark}socket = {}", quoted(host))?;
            }
            Some(host) => writeln!(self.out, "{mark}host = {}", quoted(host))?,
            None if database.container.is_some() => {}
            None => {
                let servers = self.found.servers.iter();
                let mut servers = servers.filter(|s| s.kind == database.kind);
                let usual = servers.clone().find(|s| s.port == database.port);
                let server = usual.or_else(|| servers.next());
                if let Some(socket) = server.and_then(|s| s.socket.as_ref()) {
                    writeln!(self.out, "{mark}socket = {}", path(socket))?;
                }
                let port = server.and_then(|s| s.port);
                if let (Some(port), None) = (port, database.port) {
                    writeln!(self.out, "{mark}port = {port}")?;
                }
            }
        }
        if let Some(port) = database.port {
            writeln!(self.out, "{mark}port = {port}")?;
        }
        if let Some(user) = &database.user {
            writeln!(
                self.out,
                "{mark}user = {}   # must be able to read every row: a role for backups is better",
                quoted(user)
            )?;
        }
        Ok(())
    }

    /// Adds servers that nothing refers to: they hold data all the same.
    fn servers(&mut self) -> std::fmt::Result {
        for server in &self.found.servers {
            if self.found.databases.iter().any(|d| d.kind == server.kind) {
                continue;
            }
            let kind = server.kind.name();
            self.comment(&format!(
                "A {kind} server is here ({}), and no file that was found says which databases matter. For each:\n\
                 [source.NAME]\nkind = \"{kind}\"\ndatabase = \"NAME\"\nuser = \"backup\"\npassword = \"env:NAME_PASSWORD\"",
                server.seen
            ))?;
            if let Some(socket) = &server.socket {
                self.comment(&format!("socket = {}", path(socket)))?;
            }
            if let Some(port) = server.port {
                self.comment(&format!("port = {port}"))?;
            }
            writeln!(self.out)?;
        }
        Ok(())
    }

    fn files(&mut self) -> std::fmt::Result {
        let mut taken: BTreeSet<String> = self
            .found
            .databases
            .iter()
            .map(|d| d.name.clone())
            .collect();
        taken.extend(["secrets", "certificates", "system"].map(String::from));
        for application in &self.found.applications {
            let name = name_of(&format!("{}-files", application.name), &mut taken);
            self.comment(&format!(
                "The application ({}) with what its users put there. What is made again from other things is left out;\n\
                 its databases and secrets are sources of their own.",
                application.framework
            ))?;
            writeln!(
                self.out,
                "[source.{name}]\nkind = \"files\"\npaths = [{}]",
                path(&application.path)
            )?;
            let mut exclude: Vec<String> = excluded(&application.framework)
                .iter()
                .map(|e| quoted(e))
                .collect();
            let inside = |p: &&std::path::PathBuf| p.starts_with(&application.path);
            for file in self
                .found
                .databases
                .iter()
                .filter_map(|d| d.path.as_ref())
                .filter(inside)
            {
                for end in ["", "-wal", "-shm", "-journal"] {
                    exclude.push(quoted(&format!("{}{end}", glob(file))));
                }
            }
            exclude.extend(
                self.found
                    .secrets
                    .iter()
                    .filter(inside)
                    .map(|p| quoted(&glob(p))),
            );
            writeln!(self.out, "exclude = {}\n", list(exclude))?;
            self.sources.push(name);
        }
        let mut system: Vec<String> = self.found.units.iter().map(|u| path(&u.path)).collect();
        let own = |p: &&std::path::PathBuf| {
            !self
                .found
                .applications
                .iter()
                .any(|a| p.starts_with(&a.path))
        };
        system.extend(self.found.system.iter().filter(own).map(|p| path(p)));
        if !system.is_empty() {
            self.comment("How this host runs it: units, web sites, cron tables.")?;
            writeln!(
                self.out,
                "[source.system]\nkind = \"files\"\npaths = {}\n",
                list(system)
            )?;
            self.sources.push("system".into());
        }
        Ok(())
    }

    fn secrets(&mut self) -> std::fmt::Result {
        if !self.found.secrets.is_empty() {
            self.comment(
                "Files with secrets. `sensitive`: refused by a store that does not encrypt. Add `separate = true`, with a plan and a\n\
                 store of its own, to keep them out of every bucket and disk that also receives data: then who can read the\n\
                 backups of the data still lacks the keys.",
            )?;
            let paths = self.found.secrets.iter().map(|p| path(p));
            let paths = list(paths);
            writeln!(
                self.out,
                "[source.secrets]\nkind = \"files\"\npaths = {paths}\nsensitive = true\n"
            )?;
            self.sources.push("secrets".into());
        }
        if !self.found.certificates.is_empty() {
            self.comment("Certificates with their private keys and the account that renews them.")?;
            let paths = list(self.found.certificates.iter().map(|p| path(p)));
            writeln!(
                self.out,
                "[source.certificates]\nkind = \"files\"\npaths = {paths}\nsensitive = true\n"
            )?;
            self.sources.push("certificates".into());
        }
        if self.sources.is_empty() {
            self.comment(
                "Nothing was found that looks like an application. This stands for it: name what must not be lost.",
            )?;
            let etc = self.at("etc/hostname");
            writeln!(
                self.out,
                "[source.files]\nkind = \"files\"\npaths = [{}]\n",
                quoted(&etc)
            )?;
            self.sources.push("files".into());
        }
        Ok(())
    }

    fn stores(&mut self) -> std::fmt::Result {
        let directory = self.at("etc/lifeboat");
        let (disk, recipients, identity) = (
            self.at("var/backups/lifeboat"),
            self.at(RECIPIENTS),
            self.at(IDENTITY),
        );
        self.comment(
            "Quick to restore from, and lost with this host: the second store below is what a fire, a thief or a mistake as root asks for.\n\
             `encrypt` names public keys; `decrypt` the private one, which is needed only where drills and restores run: keep it\n\
             off this host when drills run elsewhere.",
        )?;
        writeln!(
            self.out,
            "[store.disk]\nkind = \"local\"\npath = {}\nencrypt = {{ age = [{}] }}\ndecrypt = {{ age = {} }}\n",
            quoted(&disk),
            quoted(&recipients),
            quoted(&format!("file:{identity}"))
        )?;
        self.needs(
            &format!("file:{identity}"),
            "not there yet".to_owned(),
            Some(format!(
                "install -d -m 700 {directory} && age-keygen -o {identity}"
            )),
        );
        self.needs(
            &recipients,
            "not there yet".to_owned(),
            Some(format!("age-keygen -y {identity} > {recipients}")),
        );
        self.comment(&format!(
            "Off site. Give these credentials put, get and list only, and turn on versioning or object lock; then add \"offsite\" to the stores\n\
             of the plan.\n\
             [store.offsite]\nkind = \"s3\"\nbucket = \"BUCKET\"\nregion = \"eu-central-1\"\n\
             # endpoint = \"https://s3.example.org\"      # a provider that is not Amazon\n\
             access_key = \"env:BACKUP_S3_ACCESS_KEY\"\nsecret_key = \"env:BACKUP_S3_SECRET_KEY\"\n\
             encrypt = {{ age = [{}] }}\ndecrypt = {{ age = {} }}",
            quoted(&recipients),
            quoted(&format!("file:{identity}"))
        ))?;
        writeln!(self.out)
    }

    fn plan(&mut self) -> std::fmt::Result {
        let sources = list(self.sources.iter().map(|s| quoted(s)));
        self.comment("Databases first: a file that a record names is there by the time the files are captured.")?;
        writeln!(
            self.out,
            "[plan.daily]\nschedule = \"30 2 * * *\"             # UTC\nsources = {sources}\nstores = [\"disk\"]\n\
             keep = {{ daily = 14, weekly = 8, monthly = 12 }}\n"
        )?;
        self.comment(
            "A backup that was never restored is a hope. This restores the newest point into throwaway targets, compares all of it with what was\n\
             captured, and asks these questions; its evidence is signed. Best are questions of yours that only the right data can answer:\n\
             { sql = \"NAME-db\", query = \"select count(*) from clients\", expect = \"> 0\" }",
        )?;
        let mut checks: Vec<String> = self
            .databases
            .iter()
            .map(|name| format!("{{ live = {}, tolerance = \"20%\" }}", quoted(name)))
            .collect();
        for application in &self.found.applications {
            let source = format!("{}-files", application.name);
            if let Some(mark) = &application.landmark
                && self.sources.contains(&source)
                && !self.found.secrets.contains(mark)
            {
                checks.push(format!(
                    "{{ file = {}, path = {} }}",
                    quoted(&source),
                    path(mark)
                ));
            }
        }
        writeln!(
            self.out,
            "[drill.weekly]\nschedule = \"0 4 * * 0\"\nplans = [\"daily\"]\nstore = \"disk\"\nmax_age = \"9d\""
        )?;
        if !checks.is_empty() {
            writeln!(self.out, "checks = {}", list(checks))?;
        }
        writeln!(self.out)
    }

    fn restore(&mut self) -> std::fmt::Result {
        let runs: Vec<String> = self
            .found
            .units
            .iter()
            .filter(|u| u.of_application && u.name.ends_with(".service"))
            .map(|u| u.name.clone())
            .collect();
        self.comment("What surrounds a live restore: stop what writes, start it again, and ask whether it works. It is swapped back when a check fails.")?;
        if runs.is_empty() {
            return self.comment(
                "[restore]\nstop = [[\"systemctl\", \"stop\", \"UNIT\"]]\nstart = [[\"systemctl\", \"start\", \"UNIT\"]]\n\
                 checks = [{ command = [\"curl\", \"--fail\", \"--silent\", \"--output\", \"/dev/null\", \"http://localhost/\"] }]",
            );
        }
        let commands = |verb: &str, names: &mut dyn Iterator<Item = &String>| {
            list(names.map(|name| format!("[\"systemctl\", \"{verb}\", {}]", quoted(name))))
        };
        let stop = commands("stop", &mut runs.iter());
        let start = commands("start", &mut runs.iter().rev());
        writeln!(self.out, "[restore]\nstop = {stop}\nstart = {start}")?;
        self.comment("checks = [{ command = [\"curl\", \"--fail\", \"--silent\", \"--output\", \"/dev/null\", \"http://localhost/\"] }]")
    }
}

/// Patterns for files that the framework can make again.
fn excluded(framework: &str) -> &'static [&'static str] {
    match framework {
        "laravel" => &[
            "node_modules",
            "vendor",
            ".git",
            "*.log",
            "storage/framework/cache/**",
            "storage/framework/views/**",
        ],
        "wordpress" => &["node_modules", ".git", "*.log", "wp-content/cache/**"],
        "django" | "python" => &["__pycache__", ".venv", "venv", ".git", "*.log"],
        "rails" => &[
            "node_modules",
            "vendor/bundle/**",
            ".git",
            "*.log",
            "tmp/cache/**",
        ],
        "node" => &["node_modules", ".git", "*.log"],
        _ => &["node_modules", ".git", "__pycache__", "*.log"],
    }
}

/// Writes a path as a pattern that matches only itself.
fn glob(path: &Path) -> String {
    let text = path.to_string_lossy();
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}
