//! Sources that are sensitive, or must be kept separate from all others.

use super::super::*;
use super::{HEAD, base, findings, parse, refused};
use crate::error::Code;
use crate::name::Name;

#[test]
fn a_sensitive_source_needs_a_store_that_encrypts() {
    let secret =
        "[source.secrets]\nkind = \"files\"\npaths = [\"/srv/secrets\"]\nsensitive = true\n";
    let plan = |stores: &str| {
        format!(
            "{}{secret}[plan.s]\nsources = [\"secrets\"]\nstores = {stores}\n",
            base()
        )
    };
    parse(&plan("[\"safe\"]")).unwrap();
    let (told, hint) = refused(&plan("[\"safe\", \"disk\"]"));
    assert_eq!(
        told,
        "plan.s.sources: source \"secrets\" is sensitive, and store \"disk\", where this plan puts it, does not encrypt"
    );
    assert_eq!(
        hint,
        "add encrypt = { age = [\"age1…\"] } to [store.disk], or give secrets a plan with stores that encrypt"
    );
}

#[test]
fn a_separate_source_shares_no_bucket_and_no_directory() {
    let s3 = |name: &str, bucket: &str, prefix: &str| {
        format!(
            "[store.{name}]\nkind = \"s3\"\nbucket = \"{bucket}\"\nprefix = \"{prefix}\"\naccess_key = \"env:A\"\nsecret_key = \"env:B\"\n"
        )
    };
    let with = |stores: &str, data: &str, own: &str| {
        format!(
            "{}[source.keys]\nkind = \"files\"\npaths = [\"/srv/keys\"]\nseparate = true\n{stores}\
             [plan.q]\nsources = [\"db\"]\nstores = [\"{data}\"]\n[plan.s]\nsources = [\"keys\"]\nstores = [\"{own}\"]\n",
            base()
        )
    };
    let two = s3("one", "crm", "data") + &s3("two", "crm", "keys") + &s3("three", "other", "data");
    parse(&with(&two, "one", "three")).unwrap();
    let (told, hint) = refused(&with(&two, "one", "two"));
    assert_eq!(
        told,
        "plan.s.stores: source \"keys\" must be kept separate, and the bucket of store \"two\" also receives \"db\" (plan \"q\", store \"one\")"
    );
    assert_eq!(
        hint,
        "give keys a plan of its own, with a store on another bucket or disk"
    );
    let below = "[store.below]\nkind = \"local\"\npath = \"/var/backups/keys\"\n";
    let (told, _) = refused(&with(below, "disk", "below"));
    assert!(
        told.contains("the directory of store \"below\" also receives \"db\""),
        "{told}"
    );
    // Both sources go to the same store through one plan.
    let (told, _) = refused(&with("", "disk", "disk"));
    assert!(
        told.contains("the directory of store \"disk\" also receives"),
        "{told}"
    );
}

/// A bucket is the same under all names of its server.
#[test]
fn a_separate_source_shares_no_bucket_under_another_name_of_its_server() {
    let s3 = |name: &str, bucket: &str, endpoint: &str| {
        let endpoint = match endpoint {
            "" => String::new(),
            endpoint => format!("endpoint = \"{endpoint}\"\n"),
        };
        format!(
            "[store.{name}]\nkind = \"s3\"\nbucket = \"{bucket}\"\n{endpoint}access_key = \"env:A\"\nsecret_key = \"env:B\"\n"
        )
    };
    let with = |one: &str, two: &str| {
        format!(
            "{HEAD}[source.db]\nkind = \"sqlite\"\npath = \"/srv/app.db\"\n\
             [source.keys]\nkind = \"files\"\npaths = [\"/srv/keys\"]\nseparate = true\n{}{}\
             [plan.d]\nsources = [\"db\"]\nstores = [\"data\"]\n[plan.k]\nsources = [\"keys\"]\nstores = [\"keys\"]\n",
            s3("data", "crm", one),
            s3("keys", "crm", two).replace("access_key", "prefix = \"keys\"\naccess_key"),
        )
    };
    for (one, two) in [
        ("", "https://s3.eu-west-1.amazonaws.com"),
        (
            "https://s3.amazonaws.com",
            "https://s3.dualstack.us-east-1.amazonaws.com/",
        ),
        ("http://S3.example.org:9000", "https://s3.example.org./"),
        ("http://localhost:9000", "http://127.0.0.1:9000"),
        ("http://[::1]:9000", "http://127.0.0.1:9000"),
    ] {
        let (told, _) = refused(&with(one, two));
        assert!(
            told.contains(
                "the bucket of store \"keys\" also receives \"db\" (plan \"d\", store \"data\")"
            ),
            "{one} {two}: {told}"
        );
    }
    let told = findings(&with(
        "https://s3.example.org",
        "https://objects.example.net",
    ));
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].1, Severity::Warning);
    assert!(told[0].2.contains("name a bucket alike"), "{told:?}");
}

#[test]
fn a_separate_source_on_the_same_disk_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().display();
    let text = format!(
        "{HEAD}[source.db]\nkind = \"sqlite\"\npath = \"/d\"\n[source.keys]\nkind = \"files\"\npaths = [\"/k\"]\nseparate = true\n\
         [store.a]\nkind = \"local\"\npath = \"{root}/a\"\n[store.b]\nkind = \"local\"\npath = \"{root}/b\"\n\
         [plan.d]\nsources = [\"db\"]\nstores = [\"a\"]\n[plan.k]\nsources = [\"keys\"]\nstores = [\"b\"]\n"
    );
    let told = findings(&text);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].1, Severity::Error);
    assert!(
        told[0]
            .2
            .contains("the disk of store \"b\" also receives \"db\""),
        "{told:?}"
    );
}

/// An error of `config check` also stops the plan that it is about, and no other.
#[test]
fn a_plan_that_would_put_secrets_beside_data_is_not_run() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    std::fs::create_dir(root.join("a")).unwrap();
    std::os::unix::fs::symlink(root.join("a"), root.join("link")).unwrap();
    let text = |own: &str, site: &str| {
        format!(
            "{HEAD}public_dirs = [\"{site}\"]\n[source.db]\nkind = \"sqlite\"\npath = \"/d\"\n[source.keys]\nkind = \"files\"\npaths = [\"/k\"]\nseparate = true\n\
             [store.a]\nkind = \"local\"\npath = \"{}/a\"\n[store.b]\nkind = \"local\"\npath = \"{own}\"\n\
             [plan.d]\nsources = [\"db\"]\nstores = [\"a\"]\n[plan.k]\nsources = [\"keys\"]\nstores = [\"b\"]\n",
            root.display()
        )
    };
    let beside = parse(&text(&root.join("b").display().to_string(), "/nowhere")).unwrap();
    beside.check_plan("d").unwrap();
    let error = beside.check_plan("k").unwrap_err();
    assert_eq!(error.code, Code::Configuration);
    assert!(
        error
            .message
            .starts_with("plan.k.stores: source \"keys\" must be kept separate, and the disk"),
        "{error:?}"
    );
    // Through a link, two directories are one.
    let linked = parse(&text(&root.join("link").display().to_string(), "/nowhere")).unwrap();
    let error = linked.check_plan("k").unwrap_err();
    assert!(
        error.message.contains("the directory of store \"b\""),
        "{error:?}"
    );
    // Another disk is allowed, until somebody copies.
    let apart = parse(&text("/proc/keys", "/nowhere")).unwrap();
    apart.check_plan("k").unwrap();
    let copied = |sources: &[&str], store: &str| {
        let name = |text: &str| Name::parse(text).unwrap();
        let sources: Vec<Name> = sources.iter().map(|s| name(s)).collect();
        apart
            .check_copy(&name("k"), &sources, &name(store))
            .map_err(|e| e.message)
    };
    copied(&["keys"], "b").unwrap();
    let error = copied(&["keys"], "a").unwrap_err();
    assert!(
        error.contains("store \"a\" also receives \"db\""),
        "{error}"
    );
    let error = copied(&["keys", "db"], "b").unwrap_err();
    assert!(error.contains("also receives \"db\""), "{error}");
    // A published store stops the plans that write to it.
    let site = root.display().to_string();
    let published = parse(&text("/proc/keys", &site)).unwrap();
    published.check_plan("k").unwrap();
    let error = published.check_plan("d").unwrap_err();
    assert!(error.message.starts_with("store.a.path: "), "{error:?}");
    assert!(
        error
            .message
            .contains("which a web server publishes (listed in app.public_dirs)"),
        "{error:?}"
    );
}
