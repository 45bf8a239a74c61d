//! The systems that are shipped as examples, each run as its page says: the very file in
//! `examples/`, on a host of its own, with the commands of `docs/systems/` and what they print.
//!
//! Only what a test cannot have is put in its place, by exact words that must be there: the
//! addresses of servers. With `LIFEBOAT_UPDATE_DOCS` set, the pages are rewritten with what came out.

mod bot;
mod host;
mod page;

use host::Host;
use page::Page;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A system on a host of its own.
struct System {
    host: Host,
    name: &'static str,
    /// What stands in the example and on its page, and what stands for it here.
    stands_for: Vec<(String, String)>,
}

impl System {
    /// A clean host of that name, with no part of the system yet.
    fn new(name: &'static str) -> System {
        System {
            host: Host::new(name),
            name,
            stands_for: Vec::new(),
        }
    }

    /// Puts `real` in the place of `shown`, which must be in the example.
    fn stand_in(&mut self, shown: &str, real: &str) {
        let example = self.example();
        assert!(example.contains(shown), "the example has no {shown:?}");
        self.stands_for.push((shown.into(), real.into()));
    }

    fn example(&self) -> String {
        let path = root().join("examples").join(format!("{}.toml", self.name));
        std::fs::read_to_string(path).unwrap()
    }

    /// Text of the example or of its page, as it is here.
    fn here(&self, text: &str) -> String {
        let stands = self.stands_for.iter();
        stands.fold(text.to_owned(), |text, (shown, real)| {
            text.replace(shown, real)
        })
    }

    /// What came out here, as the page shows it.
    fn shown(&self, text: &str) -> String {
        let stands = self.stands_for.iter();
        stands.fold(text.to_owned(), |text, (shown, real)| {
            text.replace(real, shown)
        })
    }

    /// Puts the example where the program finds it.
    fn install(&self) {
        self.host
            .write("/etc/lifeboat/lifeboat.toml", self.here(&self.example()));
    }

    /// Runs every command of the system's page, in order, and holds what each prints against what
    /// the page says. Those of another host run on `elsewhere`. `between` is asked before each.
    fn follow(&self, elsewhere: &Host, mut between: impl FnMut(&str)) {
        let path = root()
            .join("docs/systems")
            .join(format!("{}.md", self.name));
        Page::read(&path).follow(|on, command| {
            between(command);
            let host = match on {
                "" => &self.host,
                "elsewhere" => elsewhere,
                other => panic!("there is no host {other:?}"),
            };
            let output = host.run(&format!("exec 2>&1\n{}", self.here(command)));
            let mut text = self.shown(&output.stdout);
            if output.code != 0 {
                text.push_str(&format!("# exit code {}\n", output.code));
            }
            text
        });
    }

    /// Runs the program there with `--json`, which must exit with `code`; its document.
    fn json(&self, code: i32, args: &str) -> serde_json::Value {
        let text = self.host.exits(code, &format!("lifeboat --json {args}"));
        serde_json::from_str(&text).unwrap()
    }
}

/// Every example is valid as it stands, and says what to change.
#[test]
fn examples_pass_the_check_as_they_stand() {
    let host = Host::new("check");
    let mut count = 0;
    for entry in std::fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        host.write("/etc/lifeboat/lifeboat.toml", &text);
        let output = host.run("lifeboat config check");
        assert_eq!(output.code, 0, "{}\n{output}", path.display());
        assert!(
            !output.stdout.contains("warning"),
            "{}\n{output}",
            path.display()
        );
        let introduction: Vec<&str> = text.lines().take_while(|l| l.starts_with('#')).collect();
        let introduction = introduction.join("\n");
        assert!(
            introduction.contains("# Change: "),
            "{} does not say what to change",
            path.display()
        );
        assert!(
            introduction.contains("docs/systems/"),
            "{} does not name its page",
            path.display()
        );
        count += 1;
    }
    assert!(count > 0);
}
