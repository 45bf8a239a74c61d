//! The floors of `core`, from the ground up, and what a module imports.

use super::rules::Finding;
use super::text::Source;

/// Each floor with its modules, in order: a module imports from the floors below its own, and from
/// what stands before it on its own. So an import neither goes up nor in a circle.
pub const FLOORS: &[(&str, &[&str])] = &[
    (
        "words",
        &[
            "exit",
            "error",
            "cancel",
            "thread",
            "amount",
            "clock",
            "compress",
            "digest",
            "document",
            "expect",
            "host",
            "explain",
            "condition",
            "finding",
            "short",
            "name",
            "observe",
            "percent",
            "plain",
            "pool",
            "process",
            "shell",
            "visible",
            "span",
            "schedule",
            "window",
            "kind",
        ],
    ),
    (
        "means",
        &[
            "fingerprint",
            "ownership",
            "removal",
            "scratch",
            "secret",
            "sign",
            "transport",
            "http",
            "aws",
            "resolve",
            "archive",
            "servers",
            "sqlite",
            "tree",
        ],
    ),
    (
        "configuration",
        &[
            "config",
            "credentials",
            "policy",
            "units",
            "discover",
            "given",
            "probe",
            "sftp",
        ],
    ),
    (
        "points",
        &[
            "point",
            "retention",
            "objective",
            "anomaly",
            "wrong_clock",
            "place",
            "snapshot",
            "object_lock",
            "staging",
            "history",
            "notify",
        ],
    ),
    ("sources", &["source"]),
    (
        "stores",
        &["stores", "copies", "catalog", "state", "context"],
    ),
    (
        "records",
        &[
            "restoring",
            "evidence",
            "marks",
            "exposure",
            "lease",
            "runbook",
            "survey",
            "past",
            "kept",
            "posture",
            "machines",
            "measures",
            "status",
            "alarm",
            "report",
            "cost",
            "fetch",
            "deliver",
        ],
    ),
    (
        "verbs",
        &[
            "kit", "repo", "backup", "points", "diff", "pin", "verify", "copy", "prune", "restore",
            "drill", "cold", "recovery", "doctor",
        ],
    ),
    ("jobs", &["job"]),
];

/// Where a module stands, the lowest first.
fn height(module: &str) -> Option<usize> {
    let modules = FLOORS.iter().flat_map(|(_, modules)| modules.iter());
    modules.copied().position(|known| known == module)
}

/// The module of `core` that a file is in: `config` for `crates/core/src/config/load.rs`.
pub fn module(path: &str) -> Option<&str> {
    let below = path.strip_prefix("crates/core/src/")?;
    let first = below.split('/').next()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (name != "lib").then_some(name)
}

/// How many modules a file is below the root of the crate: 1 for `drill.rs` and `config/mod.rs`.
fn depth(path: &str) -> usize {
    let below = path.strip_prefix("crates/core/src/").unwrap_or(path);
    let parts = below.split('/').count();
    parts - usize::from(below.ends_with("/mod.rs"))
}

/// Imports of a module that go up, or to one that has no place, and those that leave their module
/// without saying so.
pub fn upwards(path: &str, source: &Source) -> Vec<Finding> {
    let Some(module) = module(path) else {
        return Vec::new();
    };
    let Some(own) = height(module) else {
        return vec![Finding {
            line: 1,
            message: format!("the module {module} is on no floor: give it a place in FLOORS"),
        }];
    };
    let mut found = Vec::new();
    let out = "super::".repeat(depth(path));
    let mut is_inner = false;
    for (number, line) in source.code.iter().enumerate() {
        // From a module that is written in the file, `super` is the file.
        let begins = !line.starts_with(' ') && line.contains("mod ") && line.ends_with('{');
        is_inner = (is_inner || begins) && line != "}";
        if !is_inner && line.contains(&out) {
            found.push(Finding {
                line: number + 1,
                message: format!("write crate:: for {out}, which leaves the module {module}"),
            });
        }
        for (at, _) in line.match_indices("crate::") {
            let rest = line.get(at + "crate::".len()..).unwrap_or_default();
            if rest.starts_with('{') {
                found.push(Finding {
                    line: number + 1,
                    message: "import from each module of core in a line of its own".into(),
                });
            }
            let word: String = rest
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            // What `lib.rs` itself has is the error, and a macro's `$crate` is no module's.
            if word != module && height(&word).is_some_and(|other| other > own) {
                found.push(Finding {
                    line: number + 1,
                    message: format!(
                        "{module} imports from {word}, which stands above it: move what both need to a lower floor"
                    ),
                });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(module: &str, text: &str) -> Vec<usize> {
        let path = format!("crates/core/src/{module}.rs");
        let found = upwards(&path, &Source::parse(text));
        found.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn what_goes_up_is_found_and_what_goes_down_is_not() {
        let text =
            "use crate::error::Result;\nuse crate::restore;\nfn f() { crate::drill::run() }\n";
        assert_eq!(lines("config", text), [2, 3]);
        assert_eq!(lines("doctor", text), []);
        assert_eq!(
            lines("config", "use crate::config::Span; // crate::drill\n"),
            []
        );
        assert_eq!(lines("config", "use crate::{drill, error};\n"), [1]);
        assert_eq!(lines("nowhere", ""), [1]);
        assert_eq!(lines("config", "use super::drill;\n"), [1]);
        let inner = "pub mod inner {\n    use super::Name;\n}\nuse super::drill;\n";
        assert_eq!(lines("name", inner), [4]);
        assert_eq!(lines("config/load", "use super::Span;\n"), []);
        assert_eq!(lines("config/load", "use super::super::drill;\n"), [1]);
        assert_eq!(lines("config/mod", "use super::drill;\n"), [1]);
        let tests = "#[cfg(test)]\nmod tests {\n    use crate::drill;\n}\n";
        assert_eq!(lines("config", tests), []);
    }

    #[test]
    fn the_module_of_a_file_is_the_first_part_of_its_path() {
        assert_eq!(module("crates/core/src/config/load.rs"), Some("config"));
        assert_eq!(module("crates/core/src/drill.rs"), Some("drill"));
        assert_eq!(module("crates/core/src/lib.rs"), None);
        assert_eq!(module("crates/cli/src/main.rs"), None);
    }
}
