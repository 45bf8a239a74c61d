//! Told to end while a store stalls: the run ends in time whatever it waits for, and what it leaves
//! is what an interrupted run leaves.

use crate::crash::Started;
use crate::roundtrip::SOURCES;
use crate::support::{App, HEAD, Output, listing, noise};
use lifeboat_core::cancel::GRACE;
use lifeboat_testkit::s3::{Fault, FaultyProxy, S3sServer, Way};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// What is run, and where the connection stops: within the first answer, or in the middle of much.
const RUNS: [(&[&str], Fault); 7] = [
    (&["backup"], Fault::Stall(Way::Down, 300)),
    (&["backup"], Fault::Stall(Way::Up, 2 << 20)),
    (
        &["verify", "--all", "--store", "far"],
        Fault::Stall(Way::Down, 300),
    ),
    (
        &["verify", "--all", "--store", "far"],
        Fault::Stall(Way::Down, 2 << 20),
    ),
    (&["drill"], Fault::Stall(Way::Down, 2 << 20)),
    (&["points", "--rescan"], Fault::Stall(Way::Down, 300)),
    (&["doctor"], Fault::Stall(Way::Up, 300)),
];

/// An application with one point in a store `far`, which is reached through the proxy and may stall
/// for ever.
fn application(far: &str, proxy: &FaultyProxy) -> App {
    let mut app = App::with("");
    let port = proxy.endpoint().rsplit(':').next().unwrap().to_owned();
    let far = far.replace("{port}", &port);
    app.configure(&format!(
        r#"{HEAD}{SOURCES}
[store.far]
stall_timeout = "1h"
{far}
[plan.main]
sources = ["files", "db", "vault"]
stores = ["far"]

[drill.main]
plans = ["main"]
store = "far"
"#
    ));
    std::fs::create_dir(app.path("tmp")).unwrap();
    let temporary = app.path("tmp").display().to_string();
    app.env("TMPDIR", temporary);
    // More than any buffer on the way holds.
    app.write("data/large.bin", &noise(12 << 20, 7));
    app
}

/// Runs each verb against the store as it stalls, and ends it as a service manager does.
fn each_verb_ends(app: &App, proxy: &FaultyProxy) {
    for (verb, fault) in RUNS {
        let done = proxy.done();
        proxy.set(fault.clone(), i64::MAX);
        let run = Started::new(app, verb);
        let deadline = Instant::now() + Duration::from_secs(60);
        while proxy.done() == done {
            assert!(Instant::now() < deadline, "{verb:?} {fault:?} never stalls");
            std::thread::yield_now();
        }
        run.signal(Signal::TERM);
        let told = Instant::now();
        let output: Output = run.end();
        let took = told.elapsed();
        let what = format!("{verb:?} {fault:?} {took:?}\n{output}");
        assert!(took < GRACE + Duration::from_secs(2), "{what}");
        assert!(output.code != 0, "{what}");
        assert!(!output.to_string().contains("damaged"), "{what}");
        assert_eq!(listing(&app.path("state/scratch")), [""; 0], "{what}");
        assert_eq!(listing(&app.path("tmp")), [""; 0], "{what}");
    }
}

#[test]
fn while_s3_stalls() {
    let server = S3sServer::start();
    server.create_bucket("bkt");
    let proxy = FaultyProxy::start(server.address());
    let far = "kind = \"s3\"\nbucket = \"bkt\"\nendpoint = \"http://127.0.0.1:{port}\"\n\
        access_key = \"env:ACCESS\"\nsecret_key = \"env:SECRET\"";
    let mut app = application(far, &proxy);
    app.env("ACCESS", &server.access_key);
    app.env("SECRET", &server.secret_key);
    app.backup();
    each_verb_ends(&app, &proxy);
    proxy.set(Fault::Stall(Way::Down, 0), 0);
    app.backup();
    app.ok(&["verify", "--all"]);
}
