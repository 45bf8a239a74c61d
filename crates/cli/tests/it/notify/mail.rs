//! Mail, through real SMTP servers.

use crate::support::App;
use lifeboat_testkit::channels::{MailServer, Want};
use std::fmt::Write;

const PASSWORD: &str = "p4ss-phrase-of-mail";

/// An application that mails to `to` through a server on this host.
fn app(port: u16, to: &str, more: &str) -> App {
    let mut app = App::basic();
    app.configure_also(&format!(
        "[notify.mail]\nkind = \"email\"\nfrom = \"Lifeboat <lifeboat@example.org>\"\nto = [\"{to}\"]\nserver = \"localhost\"\nport = {port}\n{more}\n",
    ));
    app.env("SMTP_PASSWORD", PASSWORD);
    app
}

const LOGIN: &str = "user = \"lifeboat\"\npassword = \"env:SMTP_PASSWORD\"";

#[test]
fn mail_arrives_in_clear_with_starttls_and_with_tls() {
    for (want, tls, encrypted) in [
        (Want::Clear, "none", "no"),
        (Want::Starttls, "starttls", "yes"),
        (Want::Implicit, "implicit", "yes"),
    ] {
        let server = MailServer::with_login(want, "lifeboat", PASSWORD);
        let more = format!("tls = \"{tls}\"\n{LOGIN}");
        let mut app = app(server.port(), "Ops <ops@example.org>", &more);
        app.env("SSL_CERT_FILE", server.authority().to_str().unwrap());
        app.ok(&["notify", "test"])
            .says(&["ok    mail (email): localhost:"]);
        let mails = server.mails();
        assert_eq!(mails.len(), 1, "{want:?}");
        let expected = format!(
            "from: lifeboat@example.org\nto: ops@example.org\ntls: {encrypted}\nuser: lifeboat"
        );
        assert_eq!(mails[0].envelope, expected);
        let text = &mails[0].text;
        for part in [
            "Subject: crm/test: this is a test, nothing is wrong\r\n",
            "Message-ID: <test-",
            "Auto-Submitted: auto-generated\r\n",
            "To: Ops <ops@example.org>\r\n",
            "Told by lifeboat on ",
        ] {
            let text = text.replace('\n', "\r\n").replace("\r\r", "\r");
            assert!(text.contains(part), "{want:?}: no {part:?} in\n{text}");
        }
    }
}

#[test]
fn a_hostile_text_adds_no_header_and_no_recipient() {
    let server = MailServer::start(Want::Clear);
    let app = app(server.port(), "ops@example.org", "tls = \"none\"");
    let mut contacts = "[contacts]\n".to_owned();
    writeln!(
        contacts,
        "db = \"\\u2028Bcc: all@example.org <script> \\u202E\""
    )
    .unwrap();
    app.configure_also(&contacts);
    app.ok(&["notify", "test"]);
    let mail = server.mails().remove(0);
    assert!(
        mail.envelope.contains("to: ops@example.org\n"),
        "{}",
        mail.envelope
    );
    assert!(!mail.text.contains("\nBcc"), "{}", mail.text);
}

#[test]
fn what_a_mail_server_refuses_is_said_with_what_to_do() {
    let server = MailServer::start(Want::Clear);
    for (to, told, outcome) in [
        ("nobody@example.org", "refused the mail", "refused"),
        ("full@example.org", "did not take the mail now", "later"),
    ] {
        let app = app(server.port(), to, "tls = \"none\"");
        app.exits(1, &["notify", "test"]).says(&[told, "hint: "]);
        let report = app.json_exits(1, &["notify", "test"]);
        assert_eq!(report["channels"][0]["outcome"], outcome, "{report:#}");
        assert_eq!(report["channels"][0]["error"]["code"], "channel");
    }
    // It offers no encryption, which is not given up silently.
    let app = app(server.port(), "ops@example.org", "");
    let output = app.exits(1, &["notify", "test"]);
    output.says(&["does not offer what this channel needs", "STARTTLS"]);
    assert_eq!(server.mails().len(), 0);
}

#[test]
fn a_login_that_is_missing_or_wrong_is_told_and_not_shown() {
    let server = MailServer::with_login(Want::Clear, "lifeboat", "another");
    let without = app(server.port(), "ops@example.org", "tls = \"none\"");
    let output = without.exits(1, &["notify", "test"]);
    output.says(&["wants a login", "hint: add user and password"]);

    let wrong = app(
        server.port(),
        "ops@example.org",
        &format!("tls = \"none\"\n{LOGIN}"),
    );
    let output = wrong.exits(1, &["notify", "test"]);
    output.says(&["refused the login", "hint: "]);
    // The server repeats it in its answer.
    output.never_says(&[PASSWORD]);

    // Nobody logs in where nobody asks for it: that is no reason to send the password.
    let open = MailServer::start(Want::Clear);
    let eager = app(
        open.port(),
        "ops@example.org",
        &format!("tls = \"none\"\n{LOGIN}"),
    );
    let output = eager.exits(1, &["notify", "test"]);
    output
        .says(&["does not offer what this channel needs"])
        .never_says(&[PASSWORD]);
}

#[test]
fn a_certificate_that_is_not_believed_ends_the_mail() {
    for (want, tls) in [(Want::Starttls, "starttls"), (Want::Implicit, "implicit")] {
        let server = MailServer::with_login(want, "lifeboat", PASSWORD);
        let more = format!("tls = \"{tls}\"\n{LOGIN}");
        let app = app(server.port(), "ops@example.org", &more);
        let output = app.exits(1, &["notify", "test"]);
        output.says(&["certificate that is not believed", "SSL_CERT_FILE"]);
        assert_eq!(server.mails().len(), 0);
    }
}

#[test]
fn a_server_that_is_none_is_told_apart() {
    let closed = app(9, "ops@example.org", "tls = \"none\"");
    closed
        .exits(1, &["notify", "test"])
        .says(&["cannot be reached"]);
    // A web server answers there.
    let web = lifeboat_testkit::channels::ChannelServer::start();
    let port = web.url().rsplit(':').next().unwrap().parse().unwrap();
    let other = app(port, "ops@example.org", "tls = \"implicit\"");
    other
        .exits(1, &["notify", "test"])
        .says(&["the mail server localhost:", "hint: "]);
}
