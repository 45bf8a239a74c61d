//! The five systems, as far as what happens by itself goes: their plans, what they keep and what they
//! prove, over stores and sources that are simulated.

use super::real::Servers;
use super::world::World;
use crate::config::Config;
use std::rc::Rc;

/// A system.
#[derive(Debug, Clone, Copy)]
pub(super) struct System {
    pub(super) name: &'static str,
    /// Days that it lives in a long life, and in a short one.
    pub(super) days: i64,
    pub(super) few_days: i64,
    /// Hosts that run the same configuration.
    pub(super) hosts: usize,
    pub(super) sources: &'static [&'static str],
    /// The bytes of each row of a source, at least.
    pub(super) row_bytes: usize,
    pub(super) stores: &'static [&'static str],
    /// Everything but sources, stores and the application's own section.
    body: &'static str,
    /// The same after its operator changed it.
    changed: &'static [(&'static str, &'static str)],
    rpo: &'static str,
}

pub(super) const SYSTEMS: [System; 5] = [
    System {
        name: "helpdesk",
        days: 400,
        few_days: 40,
        hosts: 1,
        sources: &["db"],
        // It is large enough for what it loses to be told.
        row_bytes: 8192,
        stores: &["s3"],
        rpo: "25h",
        body: r#"
[plan.daily]
sources = ["db"]
stores = ["s3"]
schedule = "0 6 * * *"
keep = { daily = 30 }

[drill.weekly]
plans = ["daily"]
schedule = "0 7 * * 0"
max_age = "9d"

[verify.sample]
sample = "10%"
schedule = "0 9 * * 1"
"#,
        changed: &[("keep = { daily = 30 }", "keep = { daily = 8 }")],
    },
    System {
        name: "vault",
        days: 400,
        few_days: 24,
        hosts: 2,
        sources: &["vault", "keys"],
        row_bytes: 0,
        stores: &["near", "far"],
        rpo: "26h",
        body: r#"
[plan.nightly]
sources = ["vault", "keys"]
stores = ["near", "far"]
schedule = "15 3 * * *"
spread = "10m"
keep = { daily = "14d", weekly = "60d", monthly = "1y" }
keep_in.near = { last = 3 }
keep_minimum = 5

[drill.monthly]
plans = ["nightly"]
schedule = "0 5 1 * *"
max_age = "35d"

[verify.weekly]
sample = "20%"
schedule = "0 8 * * 6"
"#,
        changed: &[("15 3 * * *", "45 1 * * *")],
    },
    System {
        name: "crm",
        days: 400,
        few_days: 3,
        hosts: 1,
        sources: &["db", "settings"],
        row_bytes: 0,
        stores: &["offsite", "vault"],
        rpo: "90m",
        body: r#"
[plan.database]
sources = ["db"]
stores = ["offsite"]
schedule = "7 * * * *"
keep = { hourly = 48, daily = 30 }

[plan.settings]
sources = ["settings"]
stores = ["offsite", "vault"]
schedule = "12 * * * *"
keep = { last = 20, weekly = "8w" }
skip_unchanged = true

[drill.weekly]
plans = ["database"]
schedule = "0 3 * * 0"
max_age = "9d"

[verify.daily]
sample = "5%"
schedule = "30 4 * * *"
"#,
        changed: &[("hourly = 48", "hourly = 24")],
    },
    System {
        name: "bot",
        days: 400,
        few_days: 24,
        hosts: 1,
        sources: &["database", "files", "secrets"],
        row_bytes: 0,
        stores: &["disk", "offsite", "vault"],
        rpo: "25h",
        body: r#"
[plan.daily]
sources = ["database", "files"]
stores = ["disk", "offsite"]
schedule = "0 2 * * *"
keep = { daily = 30, weekly = 13, monthly = 12, yearly = 7, of_period = "first" }
keep_in.disk = { last = 7, weekly = 4 }

[plan.secrets]
sources = ["secrets"]
stores = ["vault"]
schedule = "30 2 * * *"
keep = "forever"
skip_unchanged = true

[drill.weekly]
plans = ["daily"]
schedule = "0 4 * * 0"
max_age = "9d"

[verify.sample]
sample = "5%"
schedule = "0 5 * * *"
"#,
        changed: &[
            (
                "keep_in.disk = { last = 7, weekly = 4 }",
                "keep_in.disk = { last = 5 }",
            ),
            ("0 2 * * *", "0 1 * * *"),
        ],
    },
    System {
        name: "finance",
        days: 400,
        few_days: 24,
        hosts: 2,
        sources: &["db", "uploads"],
        row_bytes: 0,
        stores: &["s3", "second"],
        rpo: "25h",
        body: r#"
[plan.daily]
sources = ["db", "uploads"]
stores = ["s3", "second"]
schedule = "30 1 * * *"
keep = { daily = "30d", monthly = "2y" }
keep_minimum = 3
not_during = ["Mon-Fri 08:00-18:00"]

[drill.monthly]
plans = ["daily"]
schedule = "0 4 1 * *"
max_age = "35d"

[verify.sample]
sample = "10%"
schedule = "0 6 * * 0"
"#,
        changed: &[("daily = \"30d\"", "daily = \"20d\"")],
    },
];

/// What a world is made of.
#[derive(Clone)]
pub(super) enum Ground {
    /// Stores in memory, and sources that are simulated.
    Memory,
    /// Directories, and a SQLite database, a tree of files and the output of a command.
    Real,
    /// Directories, and a database of each server and the output of a command.
    Servers(Rc<Servers>),
}

/// The root of the paths of simulated stores.
pub(super) const ROOT: &str = "/simulated";

impl System {
    /// The configuration of a host of this system. `world` tells worlds of one process apart.
    pub(super) fn config(&self, world: &World, host: usize) -> Config {
        let (home, name) = (world.home.path(), &world.name);
        let mut text = format!(
            r#"version = 1
[app]
name = "{}"
environment = "production"
rpo = "{}"
state = "{}"
trusted_signers = "{}"

[run]
heal = true

[notify.ops]
kind = "command"
command = ["true"]
repeat = "24h"

[notify.pager]
kind = "command"
command = ["true"]
on = ["error", "recovered"]
wait = "1h"
repeat = "never"
"#,
            self.name,
            self.rpo,
            home.join(format!("host{host}")).display(),
            home.join("signers").display(),
        );
        for (number, source) in self.sources.iter().enumerate() {
            let data = home.join("data").join(source);
            let kind = match world.real(number) {
                Some(real) => real.config(&data),
                None => format!(
                    "kind = \"command\"\ncommand = [\"simulated\", \"{name}/{host}/{source}\"]\nextension = \"json\""
                ),
            };
            text += &format!("\n[source.{source}]\n{kind}\n");
        }
        for store in self.stores {
            text += &format!(
                "\n[store.{store}]\nkind = \"local\"\npath = \"{ROOT}/{name}/{host}/{store}\"\n"
            );
        }
        text += self.body;
        if world.changed.get() {
            for (from, to) in self.changed {
                assert!(text.contains(from), "{from}");
                text = text.replacen(from, to, 1);
            }
        }
        let origin = home.join("lifeboat.toml");
        Config::parse(&text, &origin).unwrap_or_else(|error| panic!("{error:?}\n{text}"))
    }
}
