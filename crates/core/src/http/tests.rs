//! Tests of the HTTP client without a network; those with servers are in the command line's tests.

use super::*;

#[test]
fn a_url_shows_where_it_leads_and_nothing_more() {
    let url =
        Url::parse("https://hooks.example.org:8443/services/T0/B0/s3cret?key=hidden").unwrap();
    assert_eq!(url.site(), "https://hooks.example.org:8443");
    let shown = format!("{url:?}");
    assert!(
        !shown.contains("s3cret") && !shown.contains("hidden"),
        "{shown}"
    );
    for text in [
        "hooks.example.org/x",
        "ftp://example.org",
        "https://user:password@example.org/",
        "https:///x",
        "",
        "https://exa mple.org/",
    ] {
        assert!(Url::parse(text).is_none(), "{text}");
    }
}

#[test]
fn what_is_sent_to_this_host_is_read_by_nobody_else() {
    for (text, readable) in [
        ("http://127.0.0.1:80/x", false),
        ("http://localhost/x", false),
        ("http://[::1]:8080/x", false),
        ("https://example.org/x", false),
        ("http://example.org/x", true),
        ("http://localhost.example.org/x", true),
        ("http://10.0.0.1/x", true),
    ] {
        let url = Url::parse(text).unwrap();
        assert_eq!(url.is_readable_by_others(), readable, "{text}");
    }
}

#[test]
fn a_scrubber_learns_each_part_of_a_url_that_may_be_secret() {
    let scrubber = Scrubber::default();
    let url = Url::parse("https://example.org/api/webhooks/123456789/s3cr3tpart?code=alsos3cret");
    url.unwrap().teach(&scrubber);
    assert_eq!(
        scrubber.scrub("no /s3cr3tpart here, code alsos3cret, at example.org/api"),
        "no /*** here, code ***, at example.org/api"
    );
}

#[test]
fn a_server_may_ask_for_a_wait_in_seconds_or_until_a_date() {
    let now: Timestamp = "2026-11-20T06:00:00Z".parse().unwrap();
    let seconds = |text| wait_of(text, now).map(|wait| wait.as_secs());
    assert_eq!(seconds("30"), Some(30));
    assert_eq!(seconds("Fri, 20 Nov 2026 06:02:00 GMT"), Some(120));
    assert_eq!(seconds("Fri, 20 Nov 2026 05:00:00 GMT"), Some(0));
    assert_eq!(seconds("999999999999"), Some(86_400));
    assert_eq!(seconds("1e400"), Some(86_400));
    assert_eq!(seconds("-5"), None);
    assert_eq!(seconds("soon"), None);
}
