//! Tests of the forms of messages: hostile texts, limits, and what answers mean.

use super::text::{self, Measure};
use super::*;
use crate::condition::ConditionKind;
use crate::finding::Severity;
use crate::name::Name;
use crate::notify::{Event, Item, Message};
use crate::secret::Secret;
use std::time::Duration;

const HOSTILE: &str = "table \u{202e}<!channel> @everyone @here <@U0123> <@&42> *b* _i_ `c` [x](http://evil.example)\n\nBcc: all@example.org & <b>bold</b> @admin \u{200b}\0end";

fn message(event: Event, texts: &[&str]) -> Message {
    let item = |text: &&str| Item {
        condition: "crm/production/plan.daily/failed".into(),
        kind: ConditionKind::Failed,
        severity: Severity::Error,
        since: "2026-11-20T04:00:00Z".parse().unwrap(),
        text: (*text).to_owned(),
        hint: Some("run `lifeboat jobs`".into()),
    };
    Message {
        id: "m-1".into(),
        alarm: "crm/production/plan.daily/failed".into(),
        event,
        severity: Severity::Error,
        at: "2026-11-20T06:00:00Z".parse().unwrap(),
        app: Name::parse("crm").unwrap(),
        environment: Name::parse("production").unwrap(),
        host: "db1".into(),
        title: "the backup of plan daily failed".into(),
        items: texts.iter().map(item).collect(),
        contacts: vec!["database: Ann, +44 20 7946 0000".into()],
        report: None,
    }
}

fn hostile() -> Message {
    Message {
        title: HOSTILE.into(),
        host: "db\u{202e}1\r\nX-Evil: 1".into(),
        contacts: vec![HOSTILE.into()],
        ..message(Event::New, &[HOSTILE, HOSTILE])
    }
}

fn url() -> Url {
    Url::parse("https://api.example.org").unwrap()
}

fn secret() -> Secret {
    Secret::new(b"t0ken".to_vec())
}

fn body(request: &Request) -> Json {
    serde_json::from_slice(&request.body).unwrap()
}

/// Every text in a document.
fn texts(body: &Json) -> Vec<String> {
    match body {
        Json::String(text) => vec![text.clone()],
        Json::Array(items) => items.iter().flat_map(texts).collect(),
        Json::Object(object) => object.values().flat_map(texts).collect(),
        _ => vec![],
    }
}

/// The requests of every kind that is sent over HTTP, but for webhooks, by name.
fn requests(message: &Message) -> Vec<(&'static str, Request)> {
    let mut all = vec![
        (
            "slack",
            slack::post(&url(), &secret(), "C1", message).unwrap(),
        ),
        ("slack webhook", slack::webhook(url(), message)),
        ("discord", discord::request(&url(), message).unwrap()),
        ("teams", teams::request(url(), message)),
        (
            "telegram",
            telegram::request(&url(), &secret(), "-1", message).unwrap(),
        ),
        (
            "ntfy",
            ntfy::request(url(), "topic", Some(&secret()), message),
        ),
        (
            "gotify",
            gotify::request(&url(), &secret(), message).unwrap(),
        ),
        (
            "pushover",
            pushover::request(&url(), &secret(), &secret(), message).unwrap(),
        ),
    ];
    let more = pagerduty::requests(&url(), &secret(), message).unwrap();
    all.extend(more.into_iter().map(|request| ("pagerduty", request)));
    let more = opsgenie::requests(&url(), &secret(), message).unwrap();
    all.extend(more.into_iter().map(|request| ("opsgenie", request)));
    all
}

#[test]
fn a_message_reads_well() {
    let failed = message(Event::New, &["plan daily: pg_dump ended with 1"]);
    assert_eq!(
        text::headline(&failed),
        "crm/production: the backup of plan daily failed"
    );
    let expected = "plan daily: pg_dump ended with 1 (since 2026-11-20 04:00 UTC)
→ run `lifeboat jobs`

Ask database: Ann, +44 20 7946 0000

Told by lifeboat on db1, 2026-11-20 06:00 UTC";
    let plain = |message: &Message| text::body(message, Measure::Utf16, 4000, str::to_owned);
    assert_eq!(plain(&failed), expected);
    let recovered = message(Event::Recovered, &["plan daily failed"]);
    assert_eq!(
        text::headline(&recovered),
        "[recovered] crm/production: the backup of plan daily failed"
    );
    let first = "plan daily failed (from 2026-11-20 04:00 UTC to 2026-11-20 06:00 UTC)\n\nAsk";
    assert!(
        plain(&recovered).starts_with(first),
        "{}",
        plain(&recovered)
    );
}

#[test]
fn a_hostile_text_stays_on_its_line_and_calls_nobody() {
    for (kind, request) in requests(&hostile()) {
        for text in texts(&body(&request)) {
            let hidden =
                |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
            assert!(!text.contains(hidden), "{kind}: {text:?}");
            // Whoever breaks a line begins another field, or another item.
            assert!(!text.contains("\nBcc"), "{kind}: {text:?}");
            match kind {
                "slack" | "slack webhook" => {
                    assert!(!text.contains(['<', '>']), "{kind}: {text}");
                }
                "telegram" => {
                    let calls = ["@everyone", "@admin", "@here", "@U0123"];
                    let called = calls.iter().find(|call| text.contains(**call));
                    assert_eq!(called, None, "{kind}: {text}");
                }
                "discord" if text.contains("everyone") => {
                    let mut before = ' ';
                    for c in text.trim_start_matches("**").chars() {
                        let escaped = before == '\\' || !"<>@`_[]|".contains(c);
                        assert!(escaped, "{kind}: {c} in {text}");
                        before = if before == '\\' { ' ' } else { c };
                    }
                }
                _ => {}
            }
        }
    }
    let discord = body(&discord::request(&url(), &hostile()).unwrap());
    assert_eq!(discord["allowed_mentions"]["parse"], serde_json::json!([]));
    let telegram = telegram::request(&url(), &secret(), "-1", &hostile()).unwrap();
    assert!(body(&telegram).get("parse_mode").is_none());
    let teams = String::from_utf8(teams::request(url(), &hostile()).body).unwrap();
    assert!(!teams.contains("TextBlock\",\"text"), "{teams}");
}

#[test]
fn a_mail_has_no_header_that_a_text_brought() {
    let email: crate::config::EmailConfig = serde_json::from_value(serde_json::json!({
        "from": "Lifeboat <lifeboat@example.org>",
        "to": ["ops@example.org"],
        "server": "mail.example.org",
    }))
    .unwrap();
    let mut hostile = hostile();
    hostile.id = "m>\r\nBcc: all@example.org".into();
    let mail = email::mail(&email, &hostile).unwrap().formatted();
    let mail = String::from_utf8(mail).unwrap();
    let (headers, _) = mail.split_once("\r\n\r\n").unwrap();
    let names: Vec<&str> = headers
        .split("\r\n")
        .filter(|line| !line.starts_with([' ', '\t']))
        .map(|line| line.split(':').next().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "From",
            "Message-ID",
            "References",
            "Date",
            "Subject",
            "To",
            "Content-Type",
            "Content-Transfer-Encoding",
            "Auto-Submitted"
        ],
        "{headers}"
    );
}

#[test]
fn a_long_message_is_cut_to_what_each_channel_takes() {
    let long = "ä€😀&<".repeat(2000);
    let many: Vec<&str> = vec![&long; 60];
    let mut message = message(Event::New, &many);
    message.title = long.clone();
    message.alarm = long.clone();
    for (kind, request) in requests(&message) {
        let body = body(&request);
        let at = |pointer: &str| {
            body.pointer(pointer)
                .and_then(Json::as_str)
                .unwrap()
                .to_owned()
        };
        let most = |pointer: &str, most: usize| {
            let length = at(pointer).encode_utf16().count();
            assert!((1..=most).contains(&length), "{kind} {pointer}: {length}");
        };
        match kind {
            "slack" | "slack webhook" => {
                most("/text", 4000);
                most("/blocks/0/text/text", 150);
                most("/blocks/1/text/text", 3000);
            }
            "discord" => most("/content", 2000),
            "teams" => assert!(request.body.len() < 28_000, "{}", request.body.len()),
            "telegram" => most("/text", 4096),
            "ntfy" => {
                assert!(at("/message").len() <= 4096);
                assert!(at("/title").len() <= 250);
            }
            "gotify" => most("/message", 8000),
            "pushover" => {
                most("/message", 1024);
                most("/title", 250);
            }
            "pagerduty" => {
                most("/payload/summary", 1024);
                most("/dedup_key", 255);
                assert!(request.body.len() < 512_000);
            }
            _ => {
                most("/message", 130);
                most("/alias", 512);
                most("/description", 15_000);
            }
        }
        let told = texts(&body).join("\n");
        assert!(
            told.contains("more"),
            "{kind} counts what it leaves out: {told}"
        );
    }
}

#[test]
fn a_text_that_just_fits_is_not_cut() {
    let texts = ["first", "second", "third"];
    let message = message(Event::New, &texts);
    let whole = text::body(&message, Measure::Bytes, 10_000, str::to_owned);
    assert!(!whole.contains("more"));
    for most in 60..whole.len() + 2 {
        let body = text::body(&message, Measure::Bytes, most, str::to_owned);
        assert!(body.len() <= most, "{most}: {body}");
        let told = texts.iter().filter(|text| body.contains(**text)).count();
        let counted = body.contains(&format!("… and {} more", 3 - told));
        assert_eq!(counted, told < 3, "{most}: {body}");
    }
    assert_eq!(Measure::Utf16.fit("😀😀", 4), "😀😀");
    assert_eq!(Measure::Utf16.fit("😀😀😀", 4), "😀…");
    assert_eq!(Measure::Bytes.fit("äöü", 5), "ä…");
}

#[test]
fn an_alarm_opens_and_closes_under_one_identity() {
    let new = message(Event::New, &["x"]);
    let over = message(Event::Recovered, &["x"]);
    let requests = |message: &Message| {
        let pagerduty = pagerduty::requests(&url(), &secret(), message).unwrap();
        let opsgenie = opsgenie::requests(&url(), &secret(), message).unwrap();
        (pagerduty, opsgenie)
    };
    let ((opened, created), (resolved, closed)) = (requests(&new), requests(&over));
    let [opened, resolved] = [body(&opened[0]), body(&resolved[0])];
    assert_eq!(opened["dedup_key"], resolved["dedup_key"]);
    assert_eq!(resolved["event_action"], "resolve");
    assert_eq!(
        body(&created[0])["alias"],
        "crm/production/plan.daily/failed"
    );
    assert_eq!(closed.len(), 1);
    // A test leaves nothing open.
    let (tested, both) = requests(&message(Event::Test, &[]));
    assert_eq!((tested.len(), both.len()), (2, 2));
}

#[test]
fn two_identities_never_become_one() {
    assert_eq!(
        token("crm/production/plan.daily/failed", 255),
        "crm/production/plan.daily/failed"
    );
    assert_ne!(token("a b", 255), token("a\nb", 255));
    assert_ne!(token("a b", 255), token("a-b", 255));
    let long = "x".repeat(300);
    let cut = token(&long, 255);
    assert!(cut.len() <= 255 && cut != token(&format!("{long}y"), 255));
}

fn answer(status: u16, body: &str) -> Answer {
    Answer {
        status,
        retry_after: None,
        body: body.as_bytes().to_vec(),
    }
}

/// What each channel makes of an answer.
type Judge = fn(&Answer) -> Verdict;

/// Answers of services that took the message.
const DELIVERED: &[(Judge, u16, &str)] = &[
    (slack::judge_post, 200, r#"{"ok":true,"ts":"1.2"}"#),
    (slack::judge_webhook, 200, "ok"),
    (discord::judge, 200, r#"{"id":"1","content":"x"}"#),
    (teams::judge, 202, ""),
    (teams::judge, 200, "1"),
    (telegram::judge, 200, r#"{"ok":true,"result":{}}"#),
    (ntfy::judge, 200, r#"{"id":"x","event":"message"}"#),
    (gotify::judge, 200, r#"{"id":25}"#),
    (pushover::judge, 200, r#"{"status":1,"request":"x"}"#),
    (
        pagerduty::judge,
        202,
        r#"{"status":"success","dedup_key":"x"}"#,
    ),
    (
        opsgenie::judge,
        202,
        r#"{"result":"Request will be processed","requestId":"x"}"#,
    ),
    (webhook::judge, 204, ""),
];

/// Answers of services that refuse it, with a part of the reason.
const REFUSED: &[(Judge, u16, &str, &str)] = &[
    (
        slack::judge_post,
        200,
        r#"{"ok":false,"error":"invalid_auth"}"#,
        "invalid_auth",
    ),
    (slack::judge_webhook, 404, "no_service", "no_service"),
    (
        discord::judge,
        404,
        r#"{"message":"Unknown Webhook","code":10015}"#,
        "Unknown",
    ),
    (
        teams::judge,
        401,
        r#"{"error":{"code":"x","message":"expired"}}"#,
        "expired",
    ),
    (
        telegram::judge,
        400,
        r#"{"ok":false,"description":"Bad Request: chat not found"}"#,
        "chat",
    ),
    (
        ntfy::judge,
        403,
        r#"{"code":40301,"http":403,"error":"forbidden"}"#,
        "forbidden",
    ),
    (
        gotify::judge,
        401,
        r#"{"errorDescription":"you need to provide"}"#,
        "provide",
    ),
    (
        pushover::judge,
        400,
        r#"{"status":0,"errors":["user key is invalid"]}"#,
        "user key",
    ),
    (
        pagerduty::judge,
        400,
        r#"{"status":"invalid event","errors":["Length of 'routing_key'"]}"#,
        "Length",
    ),
    (
        opsgenie::judge,
        401,
        r#"{"message":"Could not authenticate"}"#,
        "authenticate",
    ),
    (webhook::judge, 301, "", "redirects"),
    (webhook::judge, 404, "", "nothing"),
];

/// Answers of services that may take it later, with the wait that they ask for in seconds.
const LATER: &[(Judge, u16, &str, Option<u64>)] = &[
    (
        slack::judge_post,
        200,
        r#"{"ok":false,"error":"ratelimited"}"#,
        None,
    ),
    (slack::judge_post, 200, "<html>log in</html>", None),
    (slack::judge_webhook, 200, "<html>log in</html>", None),
    (
        discord::judge,
        429,
        r#"{"message":"limited","retry_after":2.5}"#,
        Some(2),
    ),
    (
        teams::judge,
        200,
        "delivery failed with error: returned HTTP error 429",
        None,
    ),
    (
        telegram::judge,
        429,
        r#"{"ok":false,"parameters":{"retry_after":31}}"#,
        Some(31),
    ),
    (
        ntfy::judge,
        429,
        r#"{"code":42901,"error":"limit reached"}"#,
        None,
    ),
    (gotify::judge, 502, "bad gateway", None),
    (pushover::judge, 500, "", None),
    (pagerduty::judge, 429, "", None),
    (opsgenie::judge, 503, "", None),
    (webhook::judge, 500, "", None),
];

#[test]
fn answers_mean_what_each_service_means_by_them() {
    for (judge, status, body) in DELIVERED {
        assert_eq!(
            judge(&answer(*status, body)),
            Verdict::Delivered,
            "{status} {body}"
        );
    }
    for (judge, status, body, why) in REFUSED {
        match judge(&answer(*status, body)) {
            Verdict::Refused { why: told } => assert!(told.contains(why), "{told}"),
            other => panic!("{status} {body}: {other:?}"),
        }
    }
    for (judge, status, body, wait) in LATER {
        match judge(&answer(*status, body)) {
            Verdict::Later { retry_after, .. } => {
                assert_eq!(retry_after.map(|wait| wait.as_secs()), *wait, "{body}");
            }
            other => panic!("{status} {body}: {other:?}"),
        }
    }
    let asked = Answer {
        retry_after: Some(Duration::from_secs(7)),
        ..answer(429, "")
    };
    let Verdict::Later { retry_after, .. } = slack::judge_post(&asked) else {
        panic!("429 is not final");
    };
    assert_eq!(retry_after, Some(Duration::from_secs(7)));
}

#[test]
fn a_webhook_is_signed_over_its_time_and_body() {
    let now = "2026-11-20T06:00:00Z".parse().unwrap();
    let request = webhook::request(url(), Some(&secret()), &message(Event::New, &["x"]), now);
    let header = |name: &str| {
        let found = request.headers.iter().find(|(known, _)| *known == name);
        match found {
            Some((_, Value::Plain(text))) => text.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(header("lifeboat-timestamp"), "1795154400");
    assert_eq!(header("idempotency-key"), "m-1");
    // echo -n "TIMESTAMP.BODY" | openssl dgst -sha256 -hmac t0ken
    let document = body(&request);
    assert_eq!(document["schema"], 1);
    assert_eq!(document["event"], "new");
    assert!(header("lifeboat-signature").starts_with("v1="));
    assert_eq!(header("lifeboat-signature").len(), "v1=".len() + 64);
}

fn report(md: &str) -> Message {
    Message {
        event: Event::Report,
        severity: Severity::Ok,
        title: "report of the week until 2026-11-20 06:00 UTC".into(),
        report: Some(crate::notify::Body {
            md: format!("# Backups\n\n{md}"),
            html: Some("<!DOCTYPE html><p>x</p>".into()),
            document: None,
        }),
        ..message(Event::New, &[])
    }
}

#[test]
fn a_report_is_cut_after_whole_lines_and_calls_nobody() {
    let long = report(&format!("first\n{}", "- a line of it\n".repeat(5000)));
    for (kind, request) in requests(&long) {
        if matches!(kind, "pagerduty" | "opsgenie") {
            panic!("{kind} is called for a report");
        }
        let said = texts(&body(&request)).join("\n");
        assert!(
            said.contains("first") && said.contains('…'),
            "{kind}: {said}"
        );
        assert!(!said.contains("# Backups"), "{kind}: {said}");
    }
    let hostile = report(&format!("- {HOSTILE}"));
    let said = texts(&body(&slack::webhook(url(), &hostile))).join("\n");
    assert!(
        !said.contains("<!channel>") && !said.contains('\u{202e}'),
        "{said}"
    );
    assert_eq!(
        text::body(&report("short"), Measure::Utf16, 100, str::to_owned),
        "short"
    );
    let whole: Json = serde_json::from_slice(&webhook::document(&report("short"))).unwrap();
    assert_eq!(whole["event"], "report");
    assert_eq!(whole["report"]["md"], "# Backups\n\nshort");
}
