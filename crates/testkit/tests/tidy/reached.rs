//! Which files are used: of Rust, what Cargo builds by itself and what `mod` leads to from there;
//! of all others, what another file names.

use super::text::Source;
use std::collections::BTreeSet;

/// Every file that a root of a crate leads to, itself as well.
///
/// `files` is what there is, by path from the root of the project.
pub fn from(
    roots: &[String],
    files: &BTreeSet<String>,
    read: &dyn Fn(&str) -> String,
) -> BTreeSet<String> {
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut waiting: Vec<(String, bool)> = roots.iter().map(|root| (root.clone(), true)).collect();
    while let Some((path, is_root)) = waiting.pop() {
        if !reached.insert(path.clone()) {
            continue;
        }
        for candidates in modules(&path, is_root, &Source::parse(&read(&path))) {
            let found = candidates.into_iter().find(|file| files.contains(file));
            waiting.extend(found.map(|file| (file, false)));
        }
    }
    reached
}

/// What Cargo takes for a target without being told, or is told by a `path` of the manifest.
pub fn roots(crate_folder: &str, manifest: &str, files: &BTreeSet<String>) -> Vec<String> {
    let told: Vec<String> = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("path = \"")?.strip_suffix('"'))
        .map(|path| format!("{crate_folder}/{path}"))
        .collect();
    let is_root = |below: &str| match below.split('/').collect::<Vec<_>>()[..] {
        ["build.rs"] | ["src", "lib.rs" | "main.rs"] => true,
        ["tests" | "benches" | "examples", file] => file.ends_with(".rs"),
        ["src", "bin", file] => file.ends_with(".rs"),
        ["tests" | "benches" | "examples", _, "main.rs"] | ["src", "bin", _, "main.rs"] => true,
        _ => false,
    };
    let below = |file: &str| {
        let below = file.strip_prefix(crate_folder)?.strip_prefix('/')?;
        Some(is_root(below))
    };
    files
        .iter()
        .filter(|file| told.contains(file) || below(file) == Some(true))
        .cloned()
        .collect()
}

/// The modules that a file declares, each as the paths where it may be.
fn modules(path: &str, is_root: bool, source: &Source) -> Vec<Vec<String>> {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let own = match file.strip_suffix(".rs") {
        Some(stem) if !is_root && stem != "mod" => format!("{folder}/{stem}"),
        _ => folder.to_owned(),
    };
    let mut found = Vec::new();
    // Modules written out in the file, each with how far its closing brace is indented.
    let mut inline: Vec<(String, usize)> = Vec::new();
    let mut told: Option<String> = None;
    for (code, text) in source.all_code.iter().zip(source.text.lines()) {
        let indent = code.len() - code.trim_start().len();
        let words = code.trim();
        if words.starts_with('}') {
            inline.retain(|(_, open)| *open < indent);
        }
        if words.starts_with("#[path") {
            told = text.split('"').nth(1).map(str::to_owned);
        } else if let Some(name) = declared(words, ';') {
            let below: String = inline.iter().map(|(name, _)| format!("/{name}")).collect();
            found.push(match told.take() {
                // Beside the file itself, but below a module that is written out in it.
                Some(path) if inline.is_empty() => vec![format!("{folder}/{path}")],
                Some(path) => vec![format!("{own}{below}/{path}")],
                None => vec![
                    format!("{own}{below}/{name}.rs"),
                    format!("{own}{below}/{name}/mod.rs"),
                ],
            });
        } else if let Some(name) = declared(words, '{') {
            inline.push((name.to_owned(), indent));
        }
    }
    found
}

/// The name in `pub(crate) mod name` with this behind it.
fn declared(words: &str, end: char) -> Option<&str> {
    let words = words.strip_suffix(end)?.trim_end();
    let (before, name) = words.rsplit_once(' ')?;
    let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_');
    (is_name && before.split(' ').next_back() == Some("mod")).then_some(name)
}

/// The files that nothing else names. A file is named by as much of the end of its path as no other
/// file has: `tools`, but `archive/run` where there is a `backup/run` as well.
pub fn unnamed<'a>(files: &'a [&str], texts: &[(String, String)]) -> Vec<&'a str> {
    let is_named = |path: &&&str| {
        let name = shortest_name(path, files);
        texts
            .iter()
            .any(|(other, text)| other != *path && text.contains(name))
    };
    files
        .iter()
        .filter(|path| !is_named(path))
        .copied()
        .collect()
}

/// The shortest end of a path, in whole parts, that is the end of no other.
fn shortest_name<'a>(path: &'a str, files: &[&str]) -> &'a str {
    let starts = path.rmatch_indices('/').map(|(at, _)| at + 1);
    let names = starts.filter_map(|at| path.get(at..));
    let is_unique = |name: &&str| {
        let ends = |file: &&&str| {
            file.strip_suffix(name)
                .is_some_and(|rest| rest.ends_with('/'))
        };
        files.iter().filter(ends).count() == 1
    };
    names.into_iter().find(is_unique).unwrap_or(path)
}

#[test]
fn what_nothing_names_is_seen() {
    let files = [
        "a/run",
        "b/run",
        "scripts/tools",
        "data/x.sql",
        "data/self.sql",
    ];
    let texts = [
        (
            "README.md".to_owned(),
            "see a/run, scripts/tools".to_owned(),
        ),
        ("data/self.sql".to_owned(), "self.sql".to_owned()),
        (
            "src/lib.rs".to_owned(),
            "include_str!(\"../data/x.sql\")".to_owned(),
        ),
    ];
    assert_eq!(unnamed(&files, &texts), ["b/run", "data/self.sql"]);
}

#[test]
fn what_no_module_declares_is_not_reached() {
    let tree = [
        (
            "c/src/lib.rs",
            "pub mod a;\nmod c {\n    mod d;\n}\n// mod lost;\n#[cfg(test)]\nmod tests;\n",
        ),
        (
            "c/src/a.rs",
            "pub(crate) mod b;\n#[path = \"odd/place.rs\"]\nmod e;\n",
        ),
        ("c/src/a/b/mod.rs", "mod deep;\n"),
        ("c/src/a/b/deep.rs", ""),
        ("c/src/c/d.rs", ""),
        ("c/src/tests.rs", ""),
        ("c/src/odd/place.rs", ""),
        ("c/tests/it/main.rs", "mod x;\n"),
        ("c/tests/it/x.rs", ""),
        ("c/tests/alone.rs", ""),
        ("c/elsewhere/t.rs", ""),
    ];
    let lost = [
        "c/src/lost.rs",
        "c/src/b.rs",
        "c/tests/it/y.rs",
        "c/tests/common/mod.rs",
    ];
    let files: BTreeSet<String> = tree
        .iter()
        .map(|(path, _)| *path)
        .chain(lost)
        .map(str::to_owned)
        .collect();
    let read = |path: &str| {
        tree.iter()
            .find(|(known, _)| *known == path)
            .map_or("", |(_, text)| text)
            .to_owned()
    };
    let roots = roots("c", "[[test]]\npath = \"elsewhere/t.rs\"\n", &files);
    let reached = from(&roots, &files, &read);
    let unreached: Vec<_> = files.difference(&reached).map(String::as_str).collect();
    let mut expected = lost.to_vec();
    expected.sort();
    assert_eq!(unreached, expected);
}
