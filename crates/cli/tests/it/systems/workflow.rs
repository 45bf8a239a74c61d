//! The workflows of CI that are shipped with examples: what linters say of them, and their steps on a machine
//! that has never run one.

use super::{Host, System, root};
use lifeboat_testkit::s3::tool;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// A workflow.
pub struct Workflow {
    /// What stands in it.
    pub text: String,
    document: Value,
}

impl Workflow {
    /// Reads one, of which no linter has anything to say.
    pub fn read(name: &str) -> Workflow {
        let path = root().join(format!("examples/workflows/{name}.yml"));
        let lint = |program: &str, arguments: &[&str]| lint(&path, program, arguments);
        let pedantic = ["--offline", "--no-progress", "--pedantic"];
        lint("venv/bin/zizmor", &pedantic);
        let schema = ["--builtin-schema", "vendor.github-workflows"];
        lint("venv/bin/check-jsonschema", &schema);
        let print = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
        let document = lint("venv/bin/python", &["-c", print]);
        Workflow {
            text: std::fs::read_to_string(&path).unwrap(),
            document: serde_json::from_slice(&document).unwrap(),
        }
    }

    /// When it runs by itself. YAML takes its key `on` for a truth.
    pub fn cron(&self) -> &str {
        self.document["true"]["schedule"][0]["cron"]
            .as_str()
            .unwrap()
    }

    /// Its one job.
    pub fn job(&self) -> &Value {
        &self.document["jobs"]["backup"]
    }

    /// Runs each step on a host that has the repository, with the system's configuration and these files beside
    /// it, and nothing else of the system.
    pub fn passes(&self, system: &System, host: &Host, files: &[&str]) {
        let example = system.here(&system.example());
        host.write("/w/backup/lifeboat.toml", example);
        for file in files {
            let text = system.host.read(&format!("/etc/lifeboat/{file}"));
            host.write(&format!("/w/backup/{file}"), text);
        }
        host.sh("rm -rf /etc/lifeboat");
        let steps = self.job()["steps"].as_array().unwrap();
        let scripts: Vec<&str> = steps
            .iter()
            .filter_map(|step| step["run"].as_str())
            .collect();
        assert_eq!(scripts.len(), steps.len() - 1, "one step fetches the files");
        for script in scripts {
            host.write("/w/step", format!("{script}\n"));
            host.sh("shellcheck --shell=sh /w/step && cd /w && sh -e step");
        }
    }
}

fn lint(path: &PathBuf, program: &str, arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new(tool(program));
    let ended = command.args(arguments).arg(path).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    ended.stdout
}
