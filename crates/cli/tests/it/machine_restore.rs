//! A machine of Lightsail is restored: a new one is made, and the static address led to it. Machines are web
//! servers of this host, and the static address one that leads to whoever has it.

use crate::support::{App, Output, with_machine};
use lifeboat_testkit::lightsail::{Fault, Lightsail};
use std::process::{Child, Command, Stdio};

const REGION: &str = "us-east-1";
pub const LIVE: [&str; 9] = [
    "restore",
    "latest",
    "--source",
    "machine",
    "--live",
    "--confirm",
    "crm/test",
    "--reason",
    "it burnt",
];

/// Something of this test alone: a port, and the last parts of addresses.
fn own() -> (u16, String) {
    let number = std::process::id();
    let port = 20_000 + u16::try_from(number % 20_000).unwrap();
    (port, format!("{}.{}", number / 250 % 250, number % 250 + 1))
}

/// A helpdesk: its instance with a static address in front of it, and an application that protects it.
struct Site {
    server: Lightsail,
    app: App,
    old: Child,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.old.kill();
        let _ = self.old.wait();
    }
}

impl Site {
    fn new() -> Self {
        let (port, part) = own();
        let server = Lightsail::start();
        let mut app = App::with("");
        for (directory, text) in [("old", "the old one"), ("new", "the new one")] {
            app.write(&format!("{directory}/index.html"), text.as_bytes());
        }
        let serve = |directory: &str, address: &str| {
            let script = format!(
                "cd {} && exec python3 -m http.server {port} --bind {address}",
                app.path(directory).display()
            );
            ["sh".to_owned(), "-c".to_owned(), script]
        };
        let original = format!("127.76.{part}");
        let words = serve("old", &original);
        let old = Command::new(&words[0])
            .args(&words[1..])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        server.make_instance_at(REGION, "web", &original);
        server.forward(&[port]);
        let address = format!("127.88.{part}");
        server.make_static_ip_at(REGION, "web-ip", &address, "web");
        let words = serve("new", "{address}");
        server.boot(&words.each_ref().map(String::as_str));
        let machine = format!(
            r#"kind = "lightsail"
instance = "web"
region = "{REGION}"
address = "web-ip"
wait = "5s"
access_key = "env:KEY"
secret_key = "env:SECRET""#
        );
        let rest = format!(
            r#"[restore]
checks = [
  {{ http = "http://{address}:{port}/", on = "machine", contains = "the new one", within = "5s" }},
  {{ http = "http://{address}:{port}/", contains = "the new one", within = "5s" }},
]"#
        );
        app.configure(&with_machine(&machine, &rest));
        app.env("AWS_ENDPOINT_URL", server.endpoint());
        app.env("KEY", &server.access_key);
        app.env("SECRET", &server.secret_key);
        app.write("data/file", b"worth keeping");
        Site { server, app, old }
    }

    /// The instance to which the static address leads.
    fn holder(&self) -> Option<String> {
        let state = self.server.state();
        let address = &state["regions"][REGION]["staticIps"][0];
        address["attachedTo"].as_str().map(str::to_owned)
    }

    fn restore(&self, code: i32) -> Output {
        self.app.exits(code, &LIVE)
    }
}

#[test]
fn a_new_machine_takes_the_place_of_the_old_one_and_is_backed_up() {
    let site = Site::new();
    let (app, server) = (&site.app, &site.server);
    let point = app.backup();
    app.exits(7, &["restore", "latest", "--source", "machine"])
        .says(&[
            "1. make machine web-restored-… of snapshot",
            "open it as web is",
            "source machine is said to hold nothing",
            "while nobody uses it; stop if it fails",
            "let address web-ip lead to it, and not to web any more",
            "take a point by plan daily, and verify it",
            "leave web as it is",
            " --source machine --live --confirm crm/test",
        ]);
    assert_eq!(
        server.names(REGION, "instances"),
        ["web"],
        "nothing was done"
    );
    app.exits(7, &LIVE[..5]).says(&["needs --confirm"]);

    server.calls();
    let done = site.restore(0);
    done.says(&["restored", "machine web is left as it is"]);
    let holder = site.holder().unwrap();
    assert!(holder.starts_with("web-restored-"), "{holder}");
    assert_eq!(server.names(REGION, "instances"), ["web", holder.as_str()]);
    let order: Vec<String> = server
        .calls()
        .into_iter()
        .map(|call| call.operation)
        .collect();
    let place = |name: &str| order.iter().position(|operation| operation == name);
    assert!(
        place("PutInstancePublicPorts") < place("DetachStaticIp"),
        "{order:?}"
    );
    assert!(
        place("DetachStaticIp") < place("AttachStaticIp"),
        "{order:?}"
    );

    // From now on snapshots are of the machine to which the address leads.
    let points = app.points();
    assert_eq!(
        points.len(),
        3,
        "one before, one for safety, one after: {points:?}"
    );
    let newest = app.json(&["show", "latest"]).to_string();
    assert!(newest.contains(&holder), "{newest}");
    app.ok(&["verify", "--all"]);
    assert_eq!(points[0], point);
    let all = app.json(&["evidence", "list"]);
    let id = all["evidence"][0]["id"].as_str().unwrap();
    let record = app.json(&["evidence", "show", id]);
    let text = record.to_string();
    for said in [
        "rearm",
        "it runs, and nothing proves its content equal",
        "it burnt",
    ] {
        assert!(text.contains(said), "{said}: {record:#}");
    }
    // And again, from the new one.
    site.restore(0);
    let second = site.holder().unwrap();
    assert!(
        second.starts_with("web-restored-") && second != holder,
        "{second}"
    );
}

#[test]
fn users_stay_where_they_are_if_the_new_machine_is_not_as_it_must_be() {
    let site = Site::new();
    site.app.backup();
    let text = "contains = \"the new one\", within = \"5s\" },\n]";
    // Seen while nobody uses it: nothing is touched.
    site.app.write("new/index.html", b"broken");
    site.restore(4).says(&[
        "is not as it must be: http",
        "address web-ip was not touched",
    ]);
    assert_eq!(site.holder().as_deref(), Some("web"));
    // Seen from outside: it is undone.
    site.app.write("new/index.html", b"the new one");
    site.app
        .edit(text, "contains = \"something else\", within = \"2s\" },\n]");
    let undone = site.restore(4);
    undone.says(&["failed", "address web-ip leads to web again"]);
    assert_eq!(site.holder().as_deref(), Some("web"));
}

#[test]
fn an_address_is_not_left_leading_to_nothing() {
    let site = Site::new();
    let (app, server) = (&site.app, &site.server);
    app.backup();
    for (fault, times, says) in [
        (Fault::Denied, 1, "it leads to web again"),
        (Fault::Nothing, 1, "it leads to web again"),
        (Fault::Quota, 1, "it leads to web again"),
    ] {
        server.fail(fault, Some("AttachStaticIp"), Some(times));
        site.restore(1)
            .says(&[says, "was made, and is left as it is"]);
        assert_eq!(site.holder().as_deref(), Some("web"), "{fault:?}");
    }
    // An answer that is lost is no failure.
    server.fail(Fault::CloseAfter, Some("DetachStaticIp"), Some(1));
    server.fail(Fault::CloseAfter, Some("AttachStaticIp"), Some(1));
    site.restore(0);
    assert_ne!(site.holder().as_deref(), Some("web"));

    // Where nothing helps it is said, with the remedy; and the next run tries again.
    let holder = site.holder().unwrap();
    server.fail(Fault::Denied, Some("AttachStaticIp"), None);
    site.restore(1).says(&[
        "it leads to no machine now",
        "aws lightsail attach-static-ip --region us-east-1 --static-ip-name web-ip",
    ]);
    assert_eq!(site.holder(), None);
    server.reset();
    app.run(&["backup"]).says(&[&format!(
        "address web-ip leading to no machine: it leads to {holder} again"
    )]);
    assert_eq!(site.holder(), Some(holder));
}

#[test]
fn a_restore_that_is_killed_while_the_address_moves_is_mended_by_the_next_run() {
    let site = Site::new();
    let (app, server) = (&site.app, &site.server);
    app.backup();
    server.fail(Fault::Hang, Some("AttachStaticIp"), None);
    app.kill_once(&LIVE, "the address is taken", || site.holder().is_none());
    server.reset();
    app.ok(&["backup"])
        .says(&["address web-ip leading to no machine: it leads to web again"]);
    assert_eq!(site.holder().as_deref(), Some("web"));
    let again = app.ok(&["backup"]);
    assert!(!again.stderr.contains("web-ip"), "{again}");
}

#[test]
fn what_cannot_be_restored_is_refused_before_anything_is_made() {
    let site = Site::new();
    let (app, server) = (&site.app, &site.server);
    app.backup();
    let none_made = || assert_eq!(server.names(REGION, "instances"), ["web"]);
    app.exits(
        2,
        &[
            "restore", "latest", "--source", "machine", "--source", "data",
        ],
    )
    .says(&[
        "source machine is a machine, and is restored by itself",
        "restore it first",
    ]);
    let directory = app.path("looked-at");
    let directory = directory.to_str().unwrap();
    app.ok(&[
        "restore", "latest", "--source", "machine", "--source", "data", "--to", directory,
    ]);
    // Without a name it is left alone.
    app.exits(7, &["restore", "latest"])
        .says(&["leave source machine: a machine is left alone; name it with --source"]);
    app.edit("address = \"web-ip\"\n", "");
    site.restore(2)
        .says(&["says no address that leads users to it", "add address"]);
    none_made();
    app.edit(
        "region = \"us-east-1\"\n",
        "region = \"us-east-1\"\naddress = \"other-ip\"\n",
    );
    site.restore(1)
        .says(&["address other-ip cannot be looked up"]);
    none_made();
    app.edit("other-ip", "web-ip");
    server.fail(Fault::Quota, Some("CreateInstancesFromSnapshot"), Some(1));
    site.restore(1)
        .says(&["no machine can be made of snapshot", "larger quota"]);
    none_made();
    server.fail(
        Fault::InstanceFails,
        Some("CreateInstancesFromSnapshot"),
        Some(1),
    );
    site.restore(1)
        .says(&["is not ready after 5 s", "was made, and is left as it is"]);
    none_made();
    server.forget(REGION, "web-ip");
    server.make_instance(REGION, "stranger");
    server.make_static_ip(REGION, "web-ip", Some("stranger"));
    site.restore(1)
        .says(&["address web-ip leads to stranger, which is neither web nor restored from it"]);
    app.exits(3, &["backup"])
        .says(&["address web-ip leads to stranger"]);
}
