//! Links between the documents.

/// The targets of inline links, but not those that stand in code.
pub fn links(markdown: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(markdown) {
        let mut rest = line.as_str();
        while let Some((_, after)) = rest.split_once("](") {
            let Some((target, after)) = after.split_once(')') else {
                break;
            };
            found.push(target.split(' ').next().unwrap_or_default().to_owned());
            rest = after;
        }
    }
    found
}

/// The lines outside code blocks, without what stands between backticks.
fn prose(markdown: &str) -> Vec<String> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            lines.push(line.split('`').step_by(2).collect());
        }
    }
    lines
}

/// What GitHub and most others make of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>()
        .trim()
        .to_lowercase()
        .replace(' ', "-")
}

fn has_anchor(markdown: &str, wanted: &str) -> bool {
    let mut fenced = false;
    markdown.lines().any(|line| {
        fenced ^= line.trim_start().starts_with("```");
        !fenced && line.starts_with('#') && anchor(line.trim_start_matches('#').trim()) == wanted
    })
}

/// Why a link from the document at `from` leads nowhere, if it does.
pub fn broken(
    from: &str,
    link: &str,
    files: &[String],
    read: &dyn Fn(&str) -> String,
) -> Option<String> {
    if link.starts_with("https://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, heading) = link.split_once('#').unwrap_or((link, ""));
    let target = match path {
        "" => from.to_owned(),
        path => resolve(from, path),
    };
    let below = format!("{}/", target.trim_end_matches('/'));
    if !files.contains(&target) && !files.iter().any(|file| file.starts_with(&below)) {
        return Some(format!("there is no {target}"));
    }
    let lost = !heading.is_empty() && !has_anchor(&read(&target), heading);
    lost.then(|| format!("{target} has no heading #{heading}"))
}

/// A path relative to a document, from the root.
fn resolve(from: &str, path: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[test]
fn broken_links_are_seen() {
    let text =
        "# A b: `c`\nsee [x](docs/x.md#y-z) and [y](#a-b-c)\n```\n[no](no.md)\n```\n`[no](no)`";
    assert_eq!(links(text), ["docs/x.md#y-z", "#a-b-c"]);
    let files = ["README.md".to_owned(), "docs/x.md".to_owned()];
    let read = |path: &str| match path {
        "docs/x.md" => "## Y Z\n".to_owned(),
        _ => text.to_owned(),
    };
    let check = |from: &str, link: &str| broken(from, link, &files, &read).is_some();
    assert!(!check("README.md", "docs/x.md#y-z"));
    assert!(!check("README.md", "#a-b-c"));
    assert!(!check("docs/x.md", "../README.md"));
    assert!(!check("README.md", "docs"));
    assert!(!check("README.md", "https://example.org"));
    assert!(check("README.md", "docs/x.md#z"));
    assert!(check("README.md", "docs/y.md"));
    assert!(check("docs/x.md", "README.md"));
}
