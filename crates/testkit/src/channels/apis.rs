//! What each service requires of a request, and how it answers.

use super::http::{Request, Seen};
use serde_json::{Value, json};

/// The secrets that the services accept, in the form of real ones.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// Token of a Slack bot.
    pub slack: String,
    /// Path of a Slack webhook.
    pub slack_webhook: String,
    /// Path of a Discord webhook.
    pub discord: String,
    /// Path and query of a workflow of Teams.
    pub teams: String,
    /// Token of a Telegram bot.
    pub telegram: String,
    /// A topic of ntfy.
    pub ntfy_topic: String,
    /// A token of ntfy.
    pub ntfy: String,
    /// A token of Gotify.
    pub gotify: String,
    /// Token of an application of Pushover.
    pub pushover: String,
    /// Key of a user of Pushover.
    pub pushover_user: String,
    /// Routing key of PagerDuty.
    pub pagerduty: String,
    /// Key of Opsgenie.
    pub opsgenie: String,
    /// Path of a webhook of one's own.
    pub webhook: String,
}

impl Default for Secrets {
    fn default() -> Self {
        Secrets {
            // In pieces, so that no scanner takes them for real ones.
            slack: ["xoxb", "1234567890123", "0987654321098", "AbCdEfGhIjKlMnOpQrStUvWx"].join("-"),
            slack_webhook: format!("/services/{}/{}/{}", "T1JJ3T3L2", "A1BRTD4JD", "TIiajkdnlazkcOXrIdevi7FQ"),
            discord: format!("/api/webhooks/{}/{}", "223704706495545344", "3d89bb7572e0fb30d8128367b3b1b44fecd1726de135cbe28a41f8b2f777c372ba2939e72279b94526ff5d1bd4358d65cf11"),
            teams: "/workflows/7f1e2d3c4b5a69788796a5b4c3d2e1f0/triggers/manual/paths/invoke?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=Qm9ndXNTaWduYXR1cmVGb3JUZXN0cw".into(),
            telegram: "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw".into(),
            ntfy_topic: "lifeboat-8d1f0b7c2a".into(),
            ntfy: "tk_7eevizlsiwf9yi4uxsrs83r4352o0".into(),
            gotify: "AsWIJhvlHbxgKe2".into(),
            pushover: "azGDORePK8gMaC0QOYAMyEEuzJnyUi".into(),
            pushover_user: "uQiRzpo4DXghDmr9QzzfQu27cmVRsG".into(),
            pagerduty: "R0UT1NGK3YR0UT1NGK3YR0UT1NGK3Y00".into(),
            opsgenie: "eb243592-faa2-4ba2-a551-1afdf565c889".into(),
            webhook: "/hooks/0f1e2d3c4b5a".into(),
        }
    }
}

/// What a service says: a refusal is its reason, with the status and the body.
type Said = Result<(u16, Value), (String, u16, Value)>;

/// The service that is asked, what it made of the request, and its answer.
pub fn answer(request: &Request, secrets: &Secrets) -> (Seen, u16, String) {
    let body = request.document().unwrap_or(Value::Null);
    let path = request.path();
    let (api, said): (&'static str, Said) = match path {
        _ if request.method != "POST" => ("none", refuse("method", 405, json!({}))),
        "/api/chat.postMessage" => ("slack", slack(request, &body, secrets)),
        _ if path.starts_with("/services/") => {
            ("slack webhook", slack_webhook(path, &body, secrets))
        }
        _ if path.starts_with("/api/webhooks/") => ("discord", discord(request, &body, secrets)),
        _ if path.starts_with("/workflows/") => ("teams", teams(request, &body, secrets)),
        _ if path.starts_with("/bot") => ("telegram", telegram(path, &body, secrets)),
        "/" => ("ntfy", ntfy(request, &body, secrets)),
        "/message" => ("gotify", gotify(request, &body, secrets)),
        "/1/messages.json" => ("pushover", pushover(&body, secrets)),
        "/v2/enqueue" => ("pagerduty", pagerduty(&body, secrets)),
        _ if path.starts_with("/v2/alerts") => ("opsgenie", opsgenie(request, &body, secrets)),
        _ if path == secrets.webhook => ("webhook", Ok((204, Value::Null))),
        _ => ("none", refuse("no such path", 404, json!({}))),
    };
    let called = texts(&body)
        .iter()
        .flat_map(|text| calls(api, text, &body))
        .collect();
    let (refused, status, answer) = match said {
        Ok((status, answer)) => (None, status, answer),
        Err((why, status, answer)) => (Some(why), status, answer),
    };
    let seen = Seen {
        api,
        target: request.target.clone(),
        headers: request.headers.clone(),
        raw: request.body.clone(),
        body,
        refused,
        called,
    };
    let answer = match answer {
        Value::Null => String::new(),
        Value::String(text) => text,
        document => document.to_string(),
    };
    (seen, status, answer)
}

/// Headers and body of an answer with 429.
pub fn too_many(api: &str) -> (String, String) {
    let after = "Retry-After: 17\r\n".to_owned();
    match api {
        "discord" => (String::new(), json!({ "message": "You are being rate limited.", "retry_after": 17.0, "global": false }).to_string()),
        "telegram" => (String::new(), json!({ "ok": false, "error_code": 429, "description": "Too Many Requests: retry after 17", "parameters": { "retry_after": 17 } }).to_string()),
        "slack" => (after, json!({ "ok": false, "error": "ratelimited" }).to_string()),
        _ => (after, String::new()),
    }
}

fn refuse(why: &str, status: u16, answer: Value) -> Said {
    Err((why.to_owned(), status, answer))
}

/// Every text in a document.
fn texts(body: &Value) -> Vec<String> {
    match body {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(object) => object.values().flat_map(texts).collect(),
        _ => vec![],
    }
}

/// Whom a text calls, by the rules of the service.
fn calls(api: &str, text: &str, body: &Value) -> Vec<String> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || "@_<!&>".contains(c)));
    let called = words.filter(|word| match api {
        "slack" | "slack webhook" => ["<!", "<@", "<#"].iter().any(|m| word.contains(m)),
        "telegram" => word.starts_with('@') && word.len() > 1,
        "discord" => {
            let all = body["allowed_mentions"]["parse"].is_null();
            all && ["@everyone", "@here", "<@"]
                .iter()
                .any(|m| word.contains(m))
        }
        _ => false,
    });
    called.map(str::to_owned).collect()
}

fn length(value: &Value) -> usize {
    value.as_str().map_or(0, |text| text.chars().count())
}

fn is_text(value: &Value, most: usize) -> bool {
    value.is_string() && (1..=most).contains(&length(value))
}

fn is_text_or_absent(value: &Value, most: usize) -> bool {
    value.is_null() || value.is_string() && length(value) <= most
}

// https://docs.slack.dev/reference/methods/chat.postMessage
fn slack(request: &Request, body: &Value, secrets: &Secrets) -> Said {
    let no = |error: &str| refuse(error, 200, json!({ "ok": false, "error": error }));
    match request.header("authorization").strip_prefix("Bearer ") {
        None => return no("not_authed"),
        Some(token) if token != secrets.slack => return no("invalid_auth"),
        Some(_) => {}
    }
    if !is_text(&body["channel"], 80) {
        return no("channel_not_found");
    }
    if let Err(error) = slack_content(body) {
        return no(error);
    }
    let metadata = &body["metadata"];
    let described = metadata["event_type"].is_string() && metadata["event_payload"].is_object();
    if !(metadata.is_null() || described) {
        return no("invalid_metadata_format");
    }
    Ok((
        200,
        json!({ "ok": true, "channel": body["channel"], "ts": "1503435956.000247", "message": { "text": body["text"] } }),
    ))
}

fn slack_content(body: &Value) -> Result<(), &'static str> {
    let empty = |key: &str| body[key].as_array().is_none_or(Vec::is_empty);
    if length(&body["text"]) == 0 && empty("blocks") && empty("attachments") {
        return Err("no_text");
    }
    if !is_text_or_absent(&body["text"], 40_000) {
        return Err("msg_too_long");
    }
    let blocks = body["blocks"].as_array().cloned().unwrap_or_default();
    let fits = |block: &Value| match block["type"].as_str() {
        Some("header") => {
            block["text"]["type"] == "plain_text" && is_text(&block["text"]["text"], 150)
        }
        Some("section") => {
            let kind = block["text"]["type"].as_str().unwrap_or_default();
            let emoji = &block["text"]["emoji"];
            let emoji = emoji.is_null() || kind == "plain_text" && emoji.is_boolean();
            ["plain_text", "mrkdwn"].contains(&kind)
                && emoji
                && is_text(&block["text"]["text"], 3000)
        }
        Some("divider" | "context" | "rich_text") => true,
        _ => false,
    };
    match blocks.len() <= 50 && blocks.iter().all(fits) {
        true => Ok(()),
        false => Err("invalid_blocks"),
    }
}

// https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
fn slack_webhook(path: &str, body: &Value, secrets: &Secrets) -> Said {
    let no = |error: &str, status| refuse(error, status, error.into());
    if path != secrets.slack_webhook {
        return no("no_service", 404);
    }
    if !body.is_object() {
        return no("invalid_payload", 400);
    }
    match slack_content(body) {
        Ok(()) => Ok((200, "ok".into())),
        Err(error) => no(error, 400),
    }
}

// https://discord.com/developers/docs/resources/webhook#execute-webhook
fn discord(request: &Request, body: &Value, secrets: &Secrets) -> Said {
    if request.path() != secrets.discord {
        return refuse(
            "unknown",
            404,
            json!({ "message": "Unknown Webhook", "code": 10015 }),
        );
    }
    let no = |why: &str| {
        let errors = json!({ "content": { "_errors": [{ "code": "BASE_TYPE_BAD_LENGTH", "message": why }] } });
        refuse(
            why,
            400,
            json!({ "message": "Invalid Form Body", "code": 50035, "errors": errors }),
        )
    };
    let embeds = body["embeds"]
        .as_array()
        .is_some_and(|embeds| (1..=10).contains(&embeds.len()));
    if body["content"].is_null() && !embeds {
        return refuse(
            "empty",
            400,
            json!({ "message": "Cannot send an empty message", "code": 50006 }),
        );
    }
    if !is_text_or_absent(&body["content"], 2000) {
        return no("Must be 2000 or fewer in length.");
    }
    let parse = &body["allowed_mentions"]["parse"];
    let known = |word: &Value| {
        ["roles", "users", "everyone"]
            .iter()
            .any(|known| word == known)
    };
    if !(parse.is_null()
        || parse
            .as_array()
            .is_some_and(|words| words.iter().all(known)))
    {
        return no("allowed_mentions");
    }
    let flags = body["flags"].as_u64().unwrap_or(0);
    if !body["flags"].is_null()
        && (!body["flags"].is_u64() || flags & !(1 << 2 | 1 << 12 | 1 << 15) != 0)
    {
        return no("flags");
    }
    match request
        .query()
        .split('&')
        .any(|p| p == "wait=true" || p == "wait=True")
    {
        true => Ok((
            200,
            json!({ "id": "1234567890123456789", "type": 0, "content": body["content"], "channel_id": "1" }),
        )),
        false => Ok((204, Value::Null)),
    }
}

// https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using
fn teams(request: &Request, body: &Value, secrets: &Secrets) -> Said {
    let no = |why: &str, status| {
        refuse(
            why,
            status,
            json!({ "error": { "code": "DirectApiAuthorizationRequired", "message": why } }),
        )
    };
    let (path, query) = secrets.teams.split_once('?').unwrap();
    let has = |part: &str| request.query().split('&').any(|given| given == part);
    if request.path() != path || !query.split('&').all(has) {
        return no("the signature is not valid", 401);
    }
    if request.body.len() > 28_000 {
        return no("RequestEntityTooLarge", 413);
    }
    let attachments = body["attachments"].as_array().cloned().unwrap_or_default();
    let fits = |attachment: &Value| {
        let card = &attachment["content"];
        let elements = card["body"].as_array().cloned().unwrap_or_default();
        attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
            && card["type"] == "AdaptiveCard"
            && ["1.0", "1.1", "1.2", "1.3", "1.4", "1.5"]
                .iter()
                .any(|v| card["version"] == *v)
            && !elements.is_empty()
            && elements.iter().all(teams_element)
    };
    if body["type"] != "message" || attachments.len() != 1 || !attachments.iter().all(fits) {
        return no("the card is not valid", 400);
    }
    Ok((202, Value::Null))
}

fn teams_element(element: &Value) -> bool {
    let run = |run: &Value| {
        run.is_string() || run["type"] == "TextRun" && is_text(&run["text"], usize::MAX)
    };
    let word = |key: &str, known: &[&str]| {
        let given = element[key].as_str();
        given.is_none_or(|given| known.iter().any(|known| given.eq_ignore_ascii_case(known)))
    };
    let spacing = [
        "default",
        "none",
        "small",
        "medium",
        "large",
        "extraLarge",
        "padding",
    ];
    let inlines = element["inlines"].as_array().cloned().unwrap_or_default();
    word("spacing", &spacing)
        && match element["type"].as_str() {
            Some("RichTextBlock") => !inlines.is_empty() && inlines.iter().all(run),
            Some("TextBlock") => element["text"].is_string(),
            Some("Container" | "ColumnSet" | "FactSet" | "Image") => true,
            _ => false,
        }
}

// https://core.telegram.org/bots/api#sendmessage
fn telegram(path: &str, body: &Value, secrets: &Secrets) -> Said {
    let no = |code: u16, why: &str| {
        refuse(
            why,
            code,
            json!({ "ok": false, "error_code": code, "description": why }),
        )
    };
    let Some((token, method)) = path.trim_start_matches("/bot").split_once('/') else {
        return no(404, "Not Found");
    };
    if token.replace("%3A", ":") != secrets.telegram {
        return no(401, "Unauthorized");
    }
    if method == "getMe" || method == "getUpdates" {
        return Ok((200, json!({ "ok": true, "result": [] })));
    }
    if method != "sendMessage" {
        return no(404, "Not Found");
    }
    if !(body["chat_id"].is_i64() || is_text(&body["chat_id"], 64)) {
        return no(400, "Bad Request: chat not found");
    }
    if length(&body["text"]) == 0 {
        return no(400, "Bad Request: message text is empty");
    }
    if body["text"].as_str().unwrap().encode_utf16().count() > 4096 {
        return no(400, "Bad Request: message is too long");
    }
    let preview = &body["link_preview_options"];
    if !(preview.is_null() || preview.is_object()) {
        return no(
            400,
            "Bad Request: can't parse link preview options JSON object",
        );
    }
    Ok((
        200,
        json!({ "ok": true, "result": { "message_id": 7, "date": 1, "chat": { "id": body["chat_id"] }, "text": body["text"] } }),
    ))
}

// https://docs.ntfy.sh/publish/#publish-as-json
fn ntfy(request: &Request, body: &Value, secrets: &Secrets) -> Said {
    let no = |code: u32, why: &str| {
        let http = u16::try_from(code / 100).unwrap();
        refuse(
            why,
            http,
            json!({ "code": code, "http": http, "error": why }),
        )
    };
    let expected = format!("Bearer {}", secrets.ntfy);
    match request.header("authorization") {
        "" if body["topic"] == secrets.ntfy_topic.as_str() => {}
        given if given == expected => {}
        "" => return no(40301, "forbidden"),
        _ => return no(40101, "unauthorized"),
    }
    if !body.is_object() {
        return no(40024, "invalid request: request body must be valid JSON");
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !body["topic"]
        .as_str()
        .is_some_and(|t| (1..=64).contains(&t.len()) && t.chars().all(fits))
    {
        return no(40009, "invalid request: topic invalid");
    }
    let bytes = |key: &str| body[key].as_str().map_or(0, str::len);
    if bytes("message") > 4096 {
        return no(41301, "attachment too large, or bandwidth limit reached");
    }
    if !(body["priority"].is_null() || (1..=5).contains(&body["priority"].as_u64().unwrap_or(0))) {
        return no(40007, "invalid priority parameter");
    }
    let tags = &body["tags"];
    if !(tags.is_null()
        || tags
            .as_array()
            .is_some_and(|tags| tags.iter().all(Value::is_string)))
    {
        return no(40024, "invalid request: request body must be valid JSON");
    }
    Ok((
        200,
        json!({ "id": "hwQ2YpKdmg", "time": 1, "expires": 2, "event": "message", "topic": body["topic"], "message": body["message"] }),
    ))
}

// https://gotify.net/api-docs
fn gotify(request: &Request, body: &Value, secrets: &Secrets) -> Said {
    let no = |code: u16, error: &str, why: &str| {
        refuse(
            why,
            code,
            json!({ "error": error, "errorCode": code, "errorDescription": why }),
        )
    };
    let query = format!("token={}", secrets.gotify);
    let bearer = format!("Bearer {}", secrets.gotify);
    if request.header("x-gotify-key") != secrets.gotify
        && request.query() != query
        && request.header("authorization") != bearer
    {
        return no(
            401,
            "Unauthorized",
            "you need to provide a valid access token or user credentials to access this api",
        );
    }
    if length(&body["message"]) == 0 {
        return no(400, "Bad Request", "Field 'message' is required");
    }
    if !(body["priority"].is_null() || body["priority"].is_i64())
        || !is_text_or_absent(&body["title"], usize::MAX)
    {
        return no(400, "Bad Request", "json: cannot unmarshal");
    }
    if !(body["extras"].is_null()
        || body["extras"]
            .as_object()
            .is_some_and(|e| e.values().all(Value::is_object)))
    {
        return no(400, "Bad Request", "json: cannot unmarshal extras");
    }
    Ok((
        200,
        json!({ "id": 25, "appid": 5, "message": body["message"], "title": body["title"], "priority": body["priority"], "date": "2026-11-20T06:00:00Z" }),
    ))
}

// https://pushover.net/api
fn pushover(body: &Value, secrets: &Secrets) -> Said {
    let no = |key: &str, why: &str| {
        refuse(
            why,
            400,
            json!({ key: "invalid", "errors": [why], "status": 0, "request": "5042853c-402d-4a18-abcb-168734a801de" }),
        )
    };
    if body["token"] != secrets.pushover.as_str() {
        return no("token", "application token is invalid");
    }
    if body["user"] != secrets.pushover_user.as_str() {
        return no(
            "user",
            "user identifier is not a valid user, group, or subscribed user key",
        );
    }
    if length(&body["message"]) == 0 {
        return no("message", "message cannot be blank");
    }
    if length(&body["message"]) > 1024 || length(&body["title"]) > 250 {
        return no("message", "message is too long");
    }
    let number = |key: &str| {
        let value = &body[key];
        let text = value.as_str().and_then(|text| text.parse().ok());
        value.is_null().then_some(0).or(value.as_i64()).or(text)
    };
    match number("priority") {
        Some(-2..=1) if number("timestamp").is_some() => Ok((
            200,
            json!({ "status": 1, "request": "647d2300-702c-4b38-8b2f-d56326ae460b" }),
        )),
        Some(2) if body["retry"].is_null() || body["expire"].is_null() => {
            no("retry", "retry and expire must be supplied with priority=2")
        }
        _ => no("priority", "priority is invalid"),
    }
}

// https://developer.pagerduty.com/docs/events-api-v2/trigger-events
fn pagerduty(body: &Value, secrets: &Secrets) -> Said {
    let no = |why: &str| {
        refuse(
            why,
            400,
            json!({ "status": "invalid event", "message": "Event object is invalid", "errors": [why] }),
        )
    };
    if length(&body["routing_key"]) != 32 {
        return no("Length of 'routing_key' is incorrect (should be 32 characters)");
    }
    if body["routing_key"] != secrets.pagerduty.as_str() {
        return no("Invalid routing key");
    }
    if !is_text_or_absent(&body["dedup_key"], 255) {
        return no("'dedup_key' is too long");
    }
    match body["event_action"].as_str() {
        Some("trigger") => {}
        Some("acknowledge" | "resolve") if body["dedup_key"].is_string() => {
            return Ok((
                202,
                json!({ "status": "success", "message": "Event processed", "dedup_key": body["dedup_key"] }),
            ));
        }
        _ => return no("'event_action' is missing or invalid"),
    }
    let payload = &body["payload"];
    if !is_text(&payload["summary"], 1024) {
        return no("'payload.summary' is missing, blank or too long");
    }
    if !is_text(&payload["source"], 255) {
        return no("'payload.source' is missing or blank");
    }
    let severity = payload["severity"].as_str().unwrap_or_default();
    if !["critical", "error", "warning", "info"].contains(&severity) {
        return no(
            "'payload.severity' is invalid (must be one of the following: 'critical', 'warning', 'error' or 'info')",
        );
    }
    let dated = payload["timestamp"]
        .as_str()
        .is_none_or(|t| t.len() >= 20 && t.contains('T'));
    let details = &payload["custom_details"];
    if !dated || !(details.is_null() || details.is_object()) {
        return no("'payload' is invalid");
    }
    Ok((
        202,
        json!({ "status": "success", "message": "Event processed", "dedup_key": body["dedup_key"] }),
    ))
}

// https://docs.opsgenie.com/docs/alert-api
fn opsgenie(request: &Request, body: &Value, secrets: &Secrets) -> Said {
    let no = |status: u16, why: &str| {
        refuse(
            why,
            status,
            json!({ "message": why, "took": 0.001, "requestId": "43a29c5c-3dbf-4fa4-9c26-f4f71023e120" }),
        )
    };
    let yes = || {
        Ok((
            202,
            json!({ "result": "Request will be processed", "took": 0.302, "requestId": "43a29c5c-3dbf-4fa4-9c26-f4f71023e120" }),
        ))
    };
    if request.header("authorization") != format!("GenieKey {}", secrets.opsgenie) {
        return no(401, "Could not authenticate");
    }
    if !body.is_object() {
        return no(
            422,
            "Request body is not processable. Please check the errors.",
        );
    }
    if let Some(rest) = request.path().strip_prefix("/v2/alerts/") {
        let (alias, action) = rest.split_once('/').unwrap_or((rest, ""));
        let by_alias = request.query() == "identifierType=alias";
        return match (alias.is_empty(), action, by_alias) {
            (false, "close", true) if is_text_or_absent(&body["note"], 25_000) => yes(),
            _ => no(422, "Identifier is not valid"),
        };
    }
    let limits = [
        ("alias", 512),
        ("description", 15_000),
        ("entity", 512),
        ("source", 100),
    ];
    if !is_text(&body["message"], 130)
        || !limits
            .iter()
            .all(|(key, most)| is_text_or_absent(&body[*key], *most))
    {
        return no(
            422,
            "Request body is not processable. Please check the errors.",
        );
    }
    let priority = body["priority"].as_str().unwrap_or("P3");
    let tags = body["tags"].as_array().cloned().unwrap_or_default();
    if !["P1", "P2", "P3", "P4", "P5"].contains(&priority)
        || tags.len() > 20
        || !tags.iter().all(|tag| is_text(tag, 50))
        || !(body["details"].is_null()
            || body["details"]
                .as_object()
                .is_some_and(|d| d.values().all(Value::is_string)))
    {
        return no(
            422,
            "Request body is not processable. Please check the errors.",
        );
    }
    yes()
}
