//! The rules of the house, as ordinary tests that read the tree and name the way out.
//!
//! They guard what must be absent (see ARCHITECTURE.md) by looking at words, so they catch a slip
//! and not ill will. Each rule is a function from text to findings, and is itself tested on a few
//! lines that must fail.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests fail by panicking"
)]

#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/floors.rs"]
mod floors;
#[path = "tidy/functions.rs"]
mod functions;
#[path = "tidy/ratchet.rs"]
mod ratchet;
#[path = "tidy/reached.rs"]
mod reached;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/text.rs"]
mod text;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use text::Source;

/// Room for a page of text with a table in it, and for no recording, dump or picture.
const FILE_BYTES_MAX: u64 = 500_000;
/// Longer than a house of one idea needs.
const FILE_LINES_MAX: usize = 700;
/// Files that are longer today, each with its lines. An entry can be lowered or struck, never added.
const LONG_FILES: &[(&str, usize)] = &[];
/// Longer than what a screen shows at once.
const FUNCTION_LINES_MAX: usize = 80;
/// What an editor shows of a line.
const COMMENT_COLUMNS_MAX: usize = 120;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// Every file of the project, by its path from the root: what `.gitignore` names is none of it.
fn files() -> Vec<String> {
    let ignored = std::fs::read_to_string(root().join(".gitignore")).unwrap();
    let ignored: Vec<&str> = ignored
        .lines()
        .map(|l| l.trim().trim_matches('/'))
        .collect();
    let mut found = Vec::new();
    let mut directories = vec![String::new()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(root().join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = match directory.as_str() {
                "" => name.clone(),
                above => format!("{above}/{name}"),
            };
            if path == ".git" || ignored.contains(&path.as_str()) {
                continue;
            }
            match entry.file_type().unwrap().is_dir() {
                true => directories.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    assert!(
        found.len() > 100,
        "the walk found {} files only",
        found.len()
    );
    found
}

fn read(path: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(root().join(path)).unwrap()).into_owned()
}

/// Rust files below one of these directories.
fn rust_files(below: &[&str]) -> Vec<(String, Source)> {
    let wanted = |path: &String| {
        path.ends_with(".rs") && below.iter().any(|directory| path.starts_with(directory))
    };
    let parse = |path: String| {
        let source = Source::parse(&read(&path));
        (path, source)
    };
    files().into_iter().filter(wanted).map(parse).collect()
}

/// The program itself: what is neither a test nor made for tests.
fn program() -> Vec<(String, Source)> {
    let all = rust_files(&[
        "crates/store/src/",
        "crates/repository/src/",
        "crates/core/src/",
        "crates/cli/src/",
    ]);
    let program: Vec<_> = all.into_iter().filter(|(path, _)| !is_test(path)).collect();
    assert!(program.len() > 50, "found {} modules only", program.len());
    program
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// Fails with every finding, each with its place.
fn none(findings: Vec<(String, rules::Finding)>) {
    let lines: Vec<String> = findings
        .iter()
        .map(|(path, found)| format!("{path}:{}: {}", found.line, found.message))
        .collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

/// Applies a rule to each of these files.
fn each(
    files: Vec<(String, Source)>,
    exempt: impl Fn(&str) -> bool,
    rule: impl Fn(&Source) -> Vec<rules::Finding>,
) {
    let checked = files.into_iter().filter(|(path, _)| !exempt(path));
    let found = checked.flat_map(|(path, source)| {
        rule(&source)
            .into_iter()
            .map(move |finding| (path.clone(), finding))
            .collect::<Vec<_>>()
    });
    none(found.collect());
}

#[test]
fn core_and_store_never_print_and_never_exit() {
    let exempt = |path: &str| path.starts_with("crates/cli/");
    each(program(), exempt, rules::printing);
}

#[test]
fn no_document_is_written_by_hand() {
    let command_line = |path: &str| path.starts_with("crates/cli/");
    each(
        program(),
        |path| !command_line(path),
        rules::handwritten_json,
    );
}

#[test]
fn only_durable_places_move_cut_and_sync_files() {
    let durable = |path: &str| {
        path.starts_with("crates/store/src/local/")
            || path.starts_with("crates/core/src/place/")
            || path == "crates/core/src/staging.rs"
            // Opens, and moves, what is about to be removed.
            || path == "crates/core/src/removal.rs"
            || path.starts_with("crates/repository/src/restore/")
            // Makes a restored file readable to its owner for the moment of opening it.
            || path == "crates/core/src/source/files/walk.rs"
            // Copies a database that nobody may write beside into the private scratch directory.
            || path == "crates/core/src/sqlite/copy.rs"
    };
    each(program(), durable, rules::durable_writes);
}

#[test]
fn only_transport_starts_processes() {
    let transport = |path: &str| path.starts_with("crates/core/src/transport");
    each(program(), transport, rules::processes);
}

#[test]
fn a_thread_that_cannot_be_had_is_an_error() {
    each(program(), |_| false, rules::threads);
}

#[test]
fn the_drill_restores_and_compares_nothing_itself() {
    let not_drill = |path: &str| !path.starts_with("crates/core/src/drill");
    each(program(), not_drill, rules::drill);
    let drill = read("crates/core/src/drill.rs");
    assert!(
        drill.contains("bring_back("),
        "the drill must restore through restore::bring_back"
    );
}

#[test]
fn nothing_outside_tests_panics_or_allows_it() {
    each(program(), |_| false, rules::panics);
    each(program(), |_| false, rules::allowances);
}

#[test]
fn every_module_opens_with_what_it_is() {
    let all = rust_files(&["crates/"]);
    // A module's own unit tests need no introduction beside it.
    let unit_tests = |path: &str| path.contains("/src/") && is_test(path);
    each(all, unit_tests, rules::introduction);
}

#[test]
fn files_are_short() {
    let mut long = Vec::new();
    for (path, source) in rust_files(&["crates/"]) {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            long.push((path, lines));
        }
    }
    let wrong = ratchet::differences(FILE_LINES_MAX, LONG_FILES, &long);
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn functions_are_short() {
    let mut long: Vec<(String, usize)> = Vec::new();
    for (path, source) in rust_files(&["crates/"]) {
        let functions = functions::all(&source);
        for function in functions.iter().filter(|f| f.lines > FUNCTION_LINES_MAX) {
            let name = format!("{path} {}", function.name);
            // Functions of one name in a file are told apart by their order.
            let earlier = long.iter().filter(|(known, _)| {
                known
                    .strip_prefix(&name)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
            });
            let name = match earlier.count() {
                0 => name,
                count => format!("{name}#{}", count + 1),
            };
            long.push((name, function.lines));
        }
    }
    let wrong = ratchet::differences(FUNCTION_LINES_MAX, functions::LONG, &long);
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn comments_are_narrow() {
    let rule = |source: &Source| rules::wide_comments(&source.text, COMMENT_COLUMNS_MAX);
    each(rust_files(&["crates/", "fuzz/"]), |_| false, rule);
}

#[test]
fn every_rust_file_belongs_to_a_target() {
    let files: BTreeSet<String> = files().into_iter().collect();
    let crates =
        ["store", "repository", "core", "cli", "testkit"].map(|name| format!("crates/{name}"));
    for folder in crates.iter().map(String::as_str).chain(["fuzz"]) {
        let roots = reached::roots(folder, &read(&format!("{folder}/Cargo.toml")), &files);
        assert!(!roots.is_empty(), "{folder} has no target");
        let reached = reached::from(&roots, &files, &read);
        let below =
            |path: &&String| path.starts_with(&format!("{folder}/")) && path.ends_with(".rs");
        let dead: Vec<_> = files.difference(&reached).filter(below).collect();
        assert!(
            dead.is_empty(),
            "no `mod` and no target leads to these: declare or delete them: {dead:?}"
        );
    }
}

#[test]
fn every_other_file_is_named_somewhere() {
    // Found by their places: by Cargo, by continuous integration, by nextest, by those who look.
    let by_place = |path: &str| {
        !path.contains('/')
            || path.starts_with('.')
            || path
                .rsplit('/')
                .next()
                .is_some_and(|name| name.starts_with("Cargo."))
    };
    let texts: Vec<_> = files()
        .into_iter()
        .map(|path| {
            let text = read(&path);
            (path, text)
        })
        .collect();
    let paths = texts.iter().map(|(path, _)| path.as_str());
    let checked: Vec<&str> = paths
        .filter(|path| !path.ends_with(".rs") && !by_place(path))
        .collect();
    let unnamed = reached::unnamed(&checked, &texts);
    assert!(
        unnamed.is_empty(),
        "nothing names these: name or delete them: {unnamed:?}"
    );
}

#[test]
fn nothing_is_left_half_done() {
    let found = files()
        .into_iter()
        .filter(|path| path != "Cargo.lock")
        .flat_map(|path| {
            let found = rules::unfinished(&read(&path));
            found
                .into_iter()
                .map(move |finding| (path.clone(), finding))
                .collect::<Vec<_>>()
        });
    none(found.collect());
}

#[test]
fn nothing_names_the_machine_it_was_built_on() {
    let found = files().into_iter().flat_map(|path| {
        let found = rules::machine(&read(&path));
        found
            .into_iter()
            .map(move |finding| (path.clone(), finding))
            .collect::<Vec<_>>()
    });
    none(found.collect());
    none(in_file("Cargo.lock", rules::registries));
}

fn in_file(path: &str, rule: fn(&str) -> Vec<rules::Finding>) -> Vec<(String, rules::Finding)> {
    rule(&read(path))
        .into_iter()
        .map(|finding| (path.to_owned(), finding))
        .collect()
}

#[test]
fn files_are_small() {
    let large: Vec<String> = files()
        .into_iter()
        .filter(|path| std::fs::symlink_metadata(root().join(path)).unwrap().len() > FILE_BYTES_MAX)
        .collect();
    assert!(
        large.is_empty(),
        "over {FILE_BYTES_MAX} bytes, make them when they are needed: {large:?}"
    );
}

#[test]
fn imports_in_core_go_down_only() {
    let mut modules = BTreeSet::new();
    let mut found = Vec::new();
    for (path, source) in program() {
        if let Some(module) = floors::module(&path) {
            let upwards = floors::upwards(&path, &source);
            found.extend(upwards.into_iter().map(|finding| (path.clone(), finding)));
            modules.insert(module.to_owned());
        }
    }
    none(found);
    let named = floors::FLOORS.iter().flat_map(|(_, modules)| *modules);
    let gone: Vec<_> = named.filter(|name| !modules.contains(**name)).collect();
    assert!(gone.is_empty(), "no modules any more: strike {gone:?}");
    let architecture = read("ARCHITECTURE.md");
    for (floor, modules) in floors::FLOORS {
        let modules: Vec<_> = modules.iter().map(|name| format!("`{name}`")).collect();
        let row = format!("| {floor} | {} |", modules.join(" "));
        assert!(
            architecture.contains(&row),
            "ARCHITECTURE.md has another floor than: {row}"
        );
    }
}

#[test]
fn crates_depend_downwards_only() {
    let manifest = |name: &str| format!("crates/{name}/Cargo.toml");
    for (name, forbidden) in rules::FORBIDDEN_DEPENDENCIES {
        let path = manifest(name);
        let found = rules::dependencies(&read(&path), forbidden);
        none(
            found
                .into_iter()
                .map(|finding| (path.clone(), finding))
                .collect(),
        );
    }
    for name in ["store", "repository", "core", "cli", "testkit"] {
        let text = read(&manifest(name));
        let inherits = text.contains("[lints]\nworkspace = true");
        assert!(
            inherits,
            "{}: inherit the lints: [lints] workspace = true",
            manifest(name)
        );
        let found = rules::dependencies(&text, &["lifeboat-testkit"]);
        none(
            found
                .into_iter()
                .map(|finding| (manifest(name), finding))
                .collect(),
        );
    }
}

#[test]
fn links_in_documents_lead_somewhere() {
    let files = files();
    let mut broken = Vec::new();
    for path in files.iter().filter(|path| path.ends_with(".md")) {
        for link in documents::links(&read(path)) {
            if let Some(why) = documents::broken(path, &link, &files, &read) {
                broken.push(format!("{path}: [{link}]: {why}"));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}
