//! Pings to a check that raises an alarm when it hears nothing.

use super::application;
use crate::prune::{ok_on, on};
use lifeboat_testkit::channels::{ChannelServer, Manner};

/// The requests of a check since the last time: what follows its URL, and the text that came along.
fn heard(check: &ChannelServer) -> Vec<(String, String)> {
    let requests = check.take().into_iter();
    requests
        .map(|request| {
            let path = request.target.strip_prefix("/ping-1d").unwrap().to_owned();
            (path, String::from_utf8(request.raw).unwrap())
        })
        .collect()
}

#[test]
fn a_check_hears_of_the_beginning_and_of_the_end_and_success_only_when_all_is_stored() {
    let check = ChannelServer::start();
    check.behave(Manner::Status(200));
    let mut app = application();
    app.env("CHECK", format!("{}/ping-1d", check.url()));
    app.configure_also("[ping.dead]\nurl = \"env:CHECK\"\n");
    ok_on(&app, 1, "03:01:00", &["run"]);
    let told = heard(&check);
    let paths: Vec<&str> = told.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["/start", ""]);
    // Somebody calls it: the check hears as much.
    ok_on(&app, 1, "04:00:00", &["backup"]);
    assert_eq!(heard(&check).len(), 2);
    super::take_down(&app);
    on(&app, 2, "03:01:00", &["run"]);
    let told = heard(&check);
    assert_eq!(told.last().unwrap().0, "/1", "{told:?}");
    super::bring_back(&app);
    // Of other plans it hears nothing.
    app.edit(
        "url = \"env:CHECK\"",
        "url = \"env:CHECK\"\nplans = [\"other\"]",
    );
    let refused = on(&app, 3, "03:01:00", &["run"]);
    assert_eq!(refused.code, 2, "{refused}");
    refused.says(&["other"]);
}

#[test]
fn a_check_that_does_not_answer_fails_no_backup() {
    let check = ChannelServer::start();
    check.behave(Manner::Status(404));
    let mut app = application();
    app.env("CHECK", format!("{}/ping-1d-s3cret", check.url()));
    app.configure_also("[ping.dead]\nurl = \"env:CHECK\"\n");
    let ran = ok_on(&app, 1, "03:01:00", &["run"]);
    ran.says(&["ping dead was not sent", "status 404"]);
    assert!(!format!("{ran}").contains("s3cret"), "{ran}");
    app.env("CHECK", "no url");
    ok_on(&app, 1, "05:00:00", &["backup"])
        .says(&["ping dead was not sent", "env:CHECK holds no URL"]);
}
