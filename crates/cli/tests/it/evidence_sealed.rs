//! What was observed of people's data: nowhere in clear but where the data itself is.

use crate::roundtrip::{age_key, application, sh};
use crate::support::{App, HEAD};
use lifeboat_testkit::postgres::PostgresServer;
use serde_json::Value;

const PERSON: &str = "Erika Musterfrau";

/// The files below a directory that hold these bytes.
fn holding(app: &App, directory: &str, text: &str) -> Vec<String> {
    let holds = |file: &String| {
        let bytes = std::fs::read(app.path(directory).join(file)).unwrap();
        bytes.windows(text.len()).any(|w| w == text.as_bytes())
    };
    app.listing(directory).into_iter().filter(holds).collect()
}

/// The newest record, whole.
fn shown(app: &App) -> Value {
    let listed = app.json(&["evidence", "list"]);
    let last = listed["evidence"].as_array().unwrap().last().unwrap();
    app.json(&["evidence", "show", last["id"].as_str().unwrap()])
}

#[test]
fn a_row_that_fails_a_restore_stays_sealed() {
    let server = PostgresServer::start();
    server.create_database("crm");
    // The dump is restored in an order in which the check cannot be met, and the server quotes the row.
    server.psql(
        "crm",
        &format!(
            "CREATE TABLE z_dict (val text PRIMARY KEY); INSERT INTO z_dict VALUES ('a');
             CREATE FUNCTION known(text) RETURNS boolean LANGUAGE sql STABLE
               AS $$ SELECT EXISTS (SELECT FROM public.z_dict WHERE val = $1) $$;
             CREATE TABLE client (id int PRIMARY KEY, name text, val text CHECK (known(val)));
             INSERT INTO client VALUES (1, '{PERSON}', 'a');"
        ),
    );
    let (secret, public) = age_key();
    let mut app = App::with("");
    app.write("identity.txt", secret.as_bytes());
    app.configure(&format!(
        r#"{HEAD}
[source.crm]
kind = "postgres"
url = "env:CRM_URL"
[store.safe]
kind = "local"
path = "{{root}}/store"
encrypt = {{ age = ["{public}"] }}
decrypt = {{ age = "file:{{root}}/identity.txt" }}
[plan.main]
sources = ["crm"]
stores = ["safe"]
"#
    ));
    app.env("CRM_URL", server.url("crm"));
    app.backup();
    app.exits(4, &["drill"]).says(&[PERSON]);
    assert_eq!(holding(&app, "store", PERSON), Vec::<String>::new());
    // The record in clear says what kind of failure it was.
    assert_eq!(shown(&app)["checks"][0]["outcome"], "failed");
    assert!(shown(&app)["checks"].to_string().contains(PERSON));
    // Another host with the key opens it; one without says that it is sealed.
    app.forget_state_but_key();
    let opened = shown(&app);
    assert!(opened["checks"].to_string().contains(PERSON), "{opened:#}");
    assert_eq!(opened["sealed"], Value::Null);
    app.edit("decrypt = { age = \"file:{root}/identity.txt\" }", "");
    app.forget_state_but_key();
    let sealed = shown(&app);
    assert_eq!(sealed["checks"][0]["observed"], "sealed", "{sealed:#}");
    assert_eq!(sealed["checks"][0]["outcome"], "failed");
    assert!(sealed["checks"][0]["code"].is_string(), "{sealed:#}");
    assert_eq!(sealed["sealed"]["code"], "decryption", "{sealed:#}");
    app.ok(&["evidence", "show", sealed["id"].as_str().unwrap()])
        .says(&["observed sealed", "what was observed is sealed"])
        .never_says(&[PERSON]);
    app.ok(&["evidence", "verify"]);
}

#[test]
fn answers_commands_and_questions_are_sealed() {
    let app = application();
    app.edit(
        "[drill.main]\nplans = [\"main\"]",
        "[drill.main]\nplans = [\"main\"]\nchecks = [
  { sql = \"db\", query = \"select 'Erika Musterfrau' || id from client where id = 7\", expect = \"= nobody\" },
  { file = \"files\", path = \"notes Erika Musterfrau.txt\" },
  { command = [\"sh\", \"-c\", \"echo Erika Musterfrau; exit 3\"] },
]",
    );
    // The first store of the plan holds the data in clear, and so the answers; the other seals both.
    app.backup();
    app.exits(4, &["drill"])
        .says(&["Erika Musterfrau7", "exit 3"]);
    let in_clear = holding(&app, "store/lifeboat/evidence", PERSON);
    assert!(
        in_clear.len() == 1 && in_clear[0].contains("/details/") && in_clear[0].ends_with(".json"),
        "{in_clear:?}"
    );
    assert_eq!(holding(&app, "vault", PERSON), Vec::<String>::new());
    // Stock tools open it, and the record carries its hash.
    let hash = shown(&app)["detail"]["sha256"].as_str().unwrap().to_owned();
    let said = sh(
        app.root(),
        &format!(
            "age -d -i identity.txt vault/lifeboat/evidence/*/details/{hash}.json.age | sha256sum; \
             cat store/lifeboat/evidence/*/details/{hash}.json | sha256sum"
        ),
    );
    assert_eq!(said.matches(&hash).count(), 2, "{said}");
}

#[test]
fn a_store_in_clear_holds_no_answers_about_data_that_it_does_not_hold() {
    let app = application();
    // The vault alone has the database; the other store has the files, in clear.
    app.edit(
        "[plan.main]\nsources = [\"files\", \"db\", \"vault\"]\nstores = [\"disk\", \"vault\"]",
        "[plan.open]\nsources = [\"files\"]\nstores = [\"disk\"]\n[plan.closed]\nsources = [\"db\"]\nstores = [\"vault\"]",
    );
    app.edit("plans = [\"main\"]", "plans = [\"open\", \"closed\"]");
    app.backup_of("open");
    app.backup_of("closed");
    app.ok(&["drill"]);
    let details = |store: &str| {
        let listed = app.listing(&format!("{store}/lifeboat/evidence"));
        listed.iter().filter(|f| f.contains("/details/")).count()
    };
    assert_eq!((details("store"), details("vault")), (0, 1));
    // Who names recipients has it there too, sealed.
    let (_, public) = age_key();
    app.configure_also(&format!("[evidence]\nrecipients = [\"{public}\"]"));
    app.ok(&["drill"]);
    assert_eq!(details("vault"), 2);
    assert!(
        app.listing("store/lifeboat/evidence")
            .iter()
            .filter(|f| f.contains("/details/"))
            .all(|f| f.ends_with(".json.age"))
    );
    assert_eq!(details("store"), 2, "the first is put there, too");
}

#[test]
fn a_private_key_among_the_recipients_of_evidence_is_refused() {
    let app = App::basic();
    let (secret, _) = age_key();
    let secret = secret.trim();
    app.configure_also(&format!("[evidence]\nrecipients = [\"{secret}\"]"));
    let refusal = app.exits(2, &["config", "check"]);
    refusal.never_says(&[secret]);
}

#[test]
fn a_detail_that_is_lost_or_replaced_is_noticed() {
    let (secret, public) = age_key();
    let app = App::basic();
    app.write("identity.txt", secret.as_bytes());
    let path = "path = \"{root}/store\"\n";
    let sealed = format!(
        "{path}encrypt = {{ age = [\"{public}\"] }}\ndecrypt = {{ age = \"file:{{root}}/identity.txt\" }}\n"
    );
    app.edit(path, &sealed);
    app.backup();
    app.ok(&["drill"]);
    app.ok(&["drill"]);
    let details: Vec<String> = app
        .listing("store")
        .into_iter()
        .filter(|name| name.contains("/details/"))
        .map(|name| format!("store/{name}"))
        .collect();
    let [first, second] = details.as_slice() else {
        panic!("{details:?}");
    };
    let honest = std::fs::read(app.path(first)).unwrap();
    let other = std::fs::read(app.path(second)).unwrap();
    app.ok(&["evidence", "verify"]);
    for bytes in [b"garbage".as_slice(), &other, &honest[..honest.len() - 1]] {
        app.write(first, bytes);
        app.exits(4, &["evidence", "verify"])
            .says(&["the detail of record", "is damaged"]);
    }
    app.write(first, &honest);
    app.ok(&["evidence", "verify"]);
    // Without the key, what is there cannot be compared, and that is said.
    app.edit("decrypt = { age = \"file:{root}/identity.txt\" }", "");
    app.write(first, &other);
    app.ok(&["evidence", "verify"]).says(&["were not compared"]);
    app.write(first, b"garbage");
    app.exits(4, &["evidence", "verify"]).says(&["is damaged"]);
    std::fs::remove_file(app.path(first)).unwrap();
    app.exits(4, &["evidence", "verify"]).says(&["is gone"]);
    app.backup();
    app.ok(&["evidence", "verify"]);
    // Where neither a state nor another store has it, it is gone for good.
    std::fs::remove_file(app.path(first)).unwrap();
    app.forget_state_but_key();
    app.backup();
    app.exits(4, &["evidence", "verify"]).says(&["is gone"]);
}

#[test]
fn a_detail_in_clear_is_compared_without_a_key() {
    let app = App::basic();
    app.backup();
    app.ok(&["drill"]);
    let is_detail = |name: &String| name.contains("/details/");
    let detail = app.listing("store").into_iter().find(is_detail).unwrap();
    let detail = format!("store/{detail}");
    let text = std::fs::read_to_string(app.path(&detail)).unwrap();
    app.write(&detail, text.replace("50", "51").as_bytes());
    app.exits(4, &["evidence", "verify"])
        .says(&["is not what the record says"]);
    std::fs::remove_file(app.path(&detail)).unwrap();
    app.exits(4, &["evidence", "verify"]).says(&["is gone"]);
}
