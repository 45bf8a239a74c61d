//! `lifeboat demo`: a small real application, protected, drilled, destroyed and restored.
//!
//! Every step is the program itself, run as a user would run it, with a configuration that the
//! demonstration writes and leaves to be read (`--keep`).

use super::Run;
use crate::args;
use crate::output::{self, Printer};
use lifeboat_core::archive::Identities;
use lifeboat_core::place;
use lifeboat_core::scratch;
use lifeboat_core::secret::Scrubber;
use lifeboat_core::source::postgres;
use lifeboat_core::source::postgres::ScratchPostgres;
use lifeboat_core::staging;
use lifeboat_core::transport::{Command, Transport};
use lifeboat_core::{Code, Error, Exit, Result};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub fn run(run: &Run<'_>, args: &args::Demo) -> Result<Exit> {
    run.results();
    if run.out.is_json() {
        return Err(
            Error::new(Code::Usage, "the demonstration has no JSON form")
                .hint("run it without --json"),
        );
    }
    let begun = Instant::now();
    let temporary = std::env::temp_dir();
    if args.keep {
        let root = temporary.join(format!("lifeboat-demo-{}", std::process::id()));
        staging::create_directory(&root)?;
        Demo::build(run.out, &root)?.show()?;
        run.out
            .line(format!("\neverything is kept in {}", root.display()));
    } else {
        let base = scratch::Directory::create(&temporary, "demo")?;
        Demo::build(run.out, base.path())?.show()?;
    }
    run.out.line(format!(
        "\nthe whole demonstration took {}",
        output::seconds(begun.elapsed().as_secs_f64())
    ));
    Ok(Exit::Done)
}

/// The application under demonstration.
struct Demo<'a> {
    out: &'a Printer,
    root: PathBuf,
    app: PathBuf,
    config: PathBuf,
    writer: Option<Writer>,
    postgres: Option<ScratchPostgres>,
    steps: u32,
}

/// A thread that keeps placing orders, as customers would.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<rusqlite::Result<i64>>,
}

fn sqlite(error: &rusqlite::Error) -> Error {
    Error::new(Code::Io, "the demonstration's database failed").cause(error)
}

impl Writer {
    fn start(database: PathBuf) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = lifeboat_core::thread::start(move || {
            let connection = Connection::open(database)?;
            connection.busy_timeout(Duration::from_secs(10))?;
            let mut orders: i64 = 0;
            while !stopped.load(Ordering::Relaxed) {
                connection.execute(
                    "INSERT INTO orders (customer, cents) VALUES (?1, ?2)",
                    (orders % 40 + 1, 100 + orders * 7 % 9000),
                )?;
                orders += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(orders)
        })?;
        Ok(Writer { stop, thread })
    }

    fn stop(self) -> Result<i64> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(orders) => orders.map_err(|e| sqlite(&e)),
            Err(_) => Err(Error::new(Code::Io, "the demonstration's writer failed")),
        }
    }
}

impl<'a> Demo<'a> {
    fn build(out: &'a Printer, root: &Path) -> Result<Self> {
        let app = root.join("shop");
        let identity = Identities::generate();
        write(&root.join("keys/identity.txt"), &identity.secret)?;
        build_files(&app)?;
        build_sqlite(&app.join("data/shop.db"))?;
        let postgres = match ScratchPostgres::start(root, None) {
            Ok(server) => Some(server),
            Err(error) if error.code == Code::ToolMissing => None,
            Err(error) => return Err(error),
        };
        let url = match &postgres {
            Some(server) => {
                build_postgres(server)?;
                Some(server.connection("crm").url_without_password())
            }
            None => None,
        };
        let config = root.join("lifeboat.toml");
        write(
            &config,
            configuration(root, &app, &identity.recipient, url.is_some()).as_bytes(),
        )?;
        if let Some(url) = url {
            write(&root.join("keys/crm.url"), url.as_bytes())?;
        }
        let writer = Some(Writer::start(app.join("data/shop.db"))?);
        Ok(Demo {
            out,
            root: root.to_owned(),
            app,
            config,
            writer,
            postgres,
            steps: 0,
        })
    }

    fn show(&mut self) -> Result<()> {
        self.out
            .line(format!("A shop was set up in {}:", self.app.display()));
        self.out.line(
            "  a SQLite database that orders are being written to, right now; uploaded pictures; secrets.",
        );
        match &self.postgres {
            Some(server) => self.out.line(format!(
                "  and a PostgreSQL {} database with its customers.",
                server.major()
            )),
            None => self.out.line(
                "  (no PostgreSQL server was found; with `apt-get install postgresql` it would have one, too.)",
            ),
        }
        self.title("Protect it: one restore point over everything, compressed, encrypted, signed");
        self.lifeboat(&["backup", "--reason", "before the accident"], Exit::Done)?;
        self.lifeboat(&["points"], Exit::Done)?;
        self.title("Prove it: restore into throwaway targets and compare with what was captured");
        self.lifeboat(&["drill"], Exit::Done)?;
        let captured = self.destroy()?;
        self.title("Bring it back: what would be done, then do it");
        self.lifeboat(&["restore", "latest"], Exit::NeedsConfirmation)?;
        let reason = "the demonstration destroyed it";
        self.lifeboat(
            &[
                "restore",
                "latest",
                "--live",
                "--confirm",
                "shop/demo",
                "--reason",
                reason,
            ],
            Exit::Done,
        )?;
        self.prove(captured)?;
        self.title("And a drill that must fail: one byte of the stored copy is flipped");
        self.damage()?;
        self.lifeboat(&["verify"], Exit::NotProved)?;
        self.lifeboat(&["drill"], Exit::NotProved)?;
        self.title("The evidence: signed, chained, checked offline");
        self.lifeboat(&["evidence", "list"], Exit::Done)?;
        self.lifeboat(&["evidence", "verify"], Exit::Done)?;
        self.next()
    }

    fn title(&mut self, text: &str) {
        self.steps += 1;
        self.out
            .line(format!("\n\x1b[1m{}. {text}\x1b[0m", self.steps));
    }

    /// Runs this program as a user would, shows what it says, and requires the exit code.
    fn lifeboat(&self, arguments: &[&str], expected: Exit) -> Result<()> {
        let words: Vec<_> = arguments
            .iter()
            .map(|a| {
                if a.contains(' ') {
                    format!("'{a}'")
                } else {
                    (*a).to_owned()
                }
            })
            .collect();
        self.out.line(format!("\n$ lifeboat {}", words.join(" ")));
        let program = std::env::current_exe()
            .map_err(|e| Error::io("this program cannot find itself", &e))?;
        let command = Command::new(program)
            .arg("--config")
            .arg(&self.config)
            .args(arguments);
        let output = Transport::Local.output(&command)?;
        self.out
            .line(String::from_utf8_lossy(&output.stdout).trim_end());
        if !output.stderr.is_empty() {
            self.out.line(&output.stderr);
        }
        if output.status.code() == Some(expected.code().into()) {
            return Ok(());
        }
        Err(Error::new(
            Code::NotProved,
            format!(
                "lifeboat {} ended with {}, {} was expected",
                words.join(" "),
                output.status,
                expected.code()
            ),
        ))
    }

    /// Destroys the application; how many orders it had at the moment of the capture at least.
    fn destroy(&mut self) -> Result<Counts> {
        self.title("The accident: everything is gone");
        let counts = self.counts()?;
        if let Some(writer) = self.writer.take() {
            let orders = writer.stop()?;
            self.out
                .line(format!("the shop took {orders} orders until now"));
        }
        std::fs::remove_dir_all(&self.app)
            .map_err(|e| Error::io("the application cannot be removed", &e))?;
        self.out.line(format!("removed {}", self.app.display()));
        if let Some(server) = &self.postgres {
            postgres::drop_database(&server.connection("postgres"), "crm", &Scrubber::default())?;
            self.out.line("dropped the PostgreSQL database crm");
        }
        Ok(counts)
    }

    fn counts(&self) -> Result<Counts> {
        let connection = Connection::open(self.app.join("data/shop.db")).map_err(|e| sqlite(&e))?;
        let one = |sql: &str| {
            connection
                .query_row(sql, [], |r| r.get::<_, i64>(0))
                .map_err(|e| sqlite(&e))
        };
        Ok(Counts {
            products: one("SELECT count(*) FROM products")?,
            orders: one("SELECT count(*) FROM orders")?,
        })
    }

    /// Looks at the restored application with its own eyes, not Lifeboat's.
    fn prove(&mut self, before: Counts) -> Result<()> {
        self.title("Is it really back? Ask the application, not Lifeboat");
        let after = self.counts()?;
        self.out.line(format!(
            "products: {} before, {} now",
            before.products, after.products
        ));
        self.out.line(format!(
            "orders: {} now; the capture saw the first of the {} there were",
            after.orders, before.orders
        ));
        let picture = std::fs::read(self.app.join("uploads/2026/café menu.png"))
            .map_err(|e| Error::io("an upload did not come back", &e))?;
        let secret = std::fs::read_to_string(self.app.join("secrets/.env"))
            .map_err(|e| Error::io("the secrets did not come back", &e))?;
        self.out.line(format!(
            "uploads/2026/café menu.png: {} bytes; secrets/.env: {} lines",
            picture.len(),
            secret.lines().count()
        ));
        let mut sound = after.products == before.products
            && after.orders > 0
            && picture == picture_bytes()
            && secret == SECRETS;
        if let Some(server) = &self.postgres {
            let customers = postgres::query(
                &server.connection("crm"),
                "SELECT count(*) FROM customers",
                &Scrubber::default(),
            )?;
            self.out
                .line(format!("customers in PostgreSQL: {customers}"));
            sound &= customers == CUSTOMERS.to_string();
        }
        if sound {
            return Ok(());
        }
        Err(Error::new(
            Code::NotProved,
            "the application is not what it was",
        ))
    }

    /// Flips one byte in the middle of the stored database.
    fn damage(&self) -> Result<()> {
        let directory = self.root.join("backups/shop/data/database");
        let file = first_file(&directory)
            .ok_or_else(|| Error::new(Code::Io, "no stored database was found"))?;
        let mut bytes = std::fs::read(&file)
            .map_err(|e| Error::io("the stored database cannot be read", &e))?;
        let middle = bytes.len() / 2;
        if let Some(byte) = bytes.get_mut(middle) {
            *byte ^= 1;
        }
        place::replace_file(&mut bytes.as_slice(), &file, 0o600)?;
        self.out.line(format!(
            "flipped a bit of byte {middle} of {}",
            file.display()
        ));
        Ok(())
    }

    fn next(&mut self) -> Result<()> {
        self.title("What to try next");
        let shown = std::fs::read_to_string(&self.config)
            .map_err(|e| Error::io("the configuration is gone", &e))?;
        self.out.line("the configuration of this demonstration:\n");
        shown
            .lines()
            .for_each(|l| self.out.line(format!("    {l}")));
        self.out.line(
            "\nlifeboat demo --keep      keeps it all; for a day without Lifeboat, see\n                          backups/lifeboat/restore/shop/demo.md",
        );
        self.out
            .line("lifeboat doctor           on a configuration of your own (see README.md)");
        Ok(())
    }
}

struct Counts {
    products: i64,
    orders: i64,
}

const CUSTOMERS: u32 = 2000;
const SECRETS: &str = "STRIPE_KEY=sk_demo_4eC39HqLyjWD\nSESSION_SECRET=demo-6f1d2b7a\n";

fn first_file(directory: &Path) -> Option<PathBuf> {
    for entry in std::fs::read_dir(directory).ok()?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if let Some(found) = first_file(&path) {
                return Some(found);
            }
        } else {
            return Some(path);
        }
    }
    None
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        staging::create_directory(parent)?;
    }
    place::write_file(&mut &*bytes, path, 0o600).map(|_| ())
}

/// Bytes that compress about as a picture does.
fn picture_bytes() -> Vec<u8> {
    let mut state: u32 = 1;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(200_000)
    .collect()
}

fn build_files(app: &Path) -> Result<()> {
    write(&app.join("secrets/.env"), SECRETS.as_bytes())?;
    write(&app.join("uploads/2026/café menu.png"), &picture_bytes())?;
    for number in 0..120 {
        let path = app.join(format!(
            "uploads/2026/{:02}/receipt {number}.txt",
            number % 12 + 1
        ));
        write(&path, format!("receipt {number}\n").repeat(40).as_bytes())?;
    }
    std::os::unix::fs::symlink("2026/café menu.png", app.join("uploads/latest"))
        .map_err(|e| Error::io("a link cannot be made", &e))
}

fn build_sqlite(path: &Path) -> Result<()> {
    if let Some(parent) = path.parent() {
        staging::create_directory(parent)?;
    }
    let build = || -> rusqlite::Result<()> {
        let mut connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        let transaction = connection.transaction()?;
        transaction.execute_batch(
            "CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT NOT NULL, cents INTEGER NOT NULL);
             CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER NOT NULL, cents INTEGER NOT NULL,
                 placed TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
             CREATE INDEX orders_by_customer ON orders (customer);
             CREATE VIEW revenue AS SELECT customer, sum(cents) AS cents FROM orders GROUP BY customer;",
        )?;
        for number in 0..5000 {
            transaction.execute(
                "INSERT INTO products (name, cents) VALUES (?1, ?2)",
                (format!("product {number}"), number * 13 % 5000),
            )?;
        }
        transaction.commit()
    };
    build().map_err(|e| sqlite(&e))
}

fn build_postgres(server: &ScratchPostgres) -> Result<()> {
    postgres::create_database(
        &server.connection("postgres"),
        "crm",
        None,
        &Scrubber::default(),
    )?;
    let statements = [
        "CREATE TABLE customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, email text UNIQUE, since timestamptz NOT NULL)".to_owned(),
        format!("INSERT INTO customers (name, email, since) SELECT 'Customer ' || n, 'c' || n || '@example.org', '2024-01-01'::timestamptz + n * interval '1 hour' FROM generate_series(1, {CUSTOMERS}) n"),
        "CREATE INDEX customers_since ON customers (since)".to_owned(),
        "CREATE VIEW newest AS SELECT * FROM customers ORDER BY since DESC LIMIT 10".to_owned(),
    ];
    statements.iter().try_for_each(|s| {
        postgres::query(&server.connection("crm"), s, &Scrubber::default()).map(drop)
    })
}

fn configuration(root: &Path, app: &Path, recipient: &str, postgres: bool) -> String {
    let (root, app) = (root.display(), app.display());
    let (source, name, check) = if postgres {
        (
            format!("\n[source.crm]\nkind = \"postgres\"\nurl = \"file:{root}/keys/crm.url\"\n"),
            ", \"crm\"",
            format!(
                "\n  {{ sql = \"crm\", query = \"select count(*) from customers\", expect = \"= {CUSTOMERS}\" }},"
            ),
        )
    } else {
        (String::new(), "", String::new())
    };
    format!(
        r#"version = 1

[app]
name = "shop"
environment = "demo"
rpo = "24h"
rto = "30m"
state = "{root}/state"

[source.data]
kind = "sqlite"
path = "{app}/data/shop.db"

[source.uploads]
kind = "files"
paths = ["{app}/uploads"]
exclude = ["*.tmp"]

[source.secrets]
kind = "files"
paths = ["{app}/secrets"]
sensitive = true
{source}
[store.disk]
kind = "local"
path = "{root}/backups"
encrypt = {{ age = ["{recipient}"] }}
decrypt = {{ age = "file:{root}/keys/identity.txt" }}

[plan.daily]
schedule = "0 6 * * *"
sources = ["secrets", "data", "uploads"{name}]
stores = ["disk"]

[drill.weekly]
plans = ["daily"]
checks = [
  {{ sql = "data", query = "select count(*) from products", expect = "same" }},
  {{ sql = "data", query = "select count(*) from orders", expect = "> 0" }},
  {{ file = "uploads", path = "uploads/2026/café menu.png" }},{check}
]
"#
    )
}
