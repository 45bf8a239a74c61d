use super::*;
use crate::error::Code;

mod apart;
mod contradictions;
mod warnings;

const HEAD: &str = "version = 1\n[app]\nname = \"crm\"\n";
const AGE: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

/// Two sources, two stores, one plan; a case is added after it.
fn base() -> String {
    format!(
        "{HEAD}\
         [source.db]\nkind = \"sqlite\"\npath = \"/srv/app.db\"\n\
         [source.files]\nkind = \"files\"\npaths = [\"/srv/app\"]\n\
         [store.disk]\nkind = \"local\"\npath = \"/var/backups\"\n\
         [store.safe]\nkind = \"local\"\npath = \"/mnt/safe\"\nencrypt = {{ age = [\"{AGE}\"] }}\n\
         [plan.p]\nsources = [\"db\", \"files\"]\nstores = [\"disk\"]\n"
    )
}

fn parse(text: &str) -> crate::Result<Config> {
    Config::parse(text, Path::new("/etc/lifeboat/lifeboat.toml"))
}

/// Message, without its position, and hint of the only refusal of a configuration.
fn refused(text: &str) -> (String, String) {
    let error = parse(text).unwrap_err();
    assert_eq!(error.code, Code::Configuration);
    assert_eq!(error.cause, None, "{error:?}");
    let (_, message) = error.message.split_once(": ").unwrap();
    (message.to_owned(), error.hint.unwrap_or_default())
}

/// Subject, severity, message and hint of each finding that [`base`] itself does not have.
fn findings(text: &str) -> Vec<(String, Severity, String, String)> {
    let config = parse(text).unwrap();
    let all = config.check().into_iter();
    all.filter(|finding| !finding.message.starts_with("no drill restores it"))
        .map(|f| (f.subject, f.severity, f.message, f.hint.unwrap_or_default()))
        .collect()
}

#[test]
fn a_plain_configuration_is_not_refused() {
    parse(&base()).unwrap();
}
