//! What a bucket's policy allows strangers, and whether it demands TLS. Source: "IAM JSON policy elements"
//! of the IAM user guide.

use serde_json::Value;

/// What matters of a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Statements that let in whoever asks, each by its name or number.
    pub open: Vec<String>,
    /// Whether everything that comes without TLS is denied.
    pub demands_tls: bool,
}

/// Conditions that bind a statement to somebody known: whoever meets one of them is no stranger.
const BINDING: [&str; 12] = [
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceip",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:userid",
    "s3:dataaccesspointaccount",
    "s3:dataaccesspointarn",
];

impl Policy {
    /// Reads the text of a policy.
    pub fn parse(text: &str) -> Result<Self, String> {
        let document: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let statements = document.get("Statement").ok_or("it has no statements")?;
        let mut policy = Policy::default();
        for (number, statement) in (1..).zip(each(statements)) {
            let is = |key: &str, text: &str| statement.get(key).is_some_and(|value| value == text);
            let everybody = statement.get("Principal").is_some_and(is_everybody);
            let conditions = conditions(statement);
            if is("Effect", "Allow") && everybody {
                let is_bound = |(name, values): &(String, Vec<String>)| {
                    BINDING.contains(&name.as_str()) && !values.iter().any(|value| is_any(value))
                };
                if !conditions.iter().any(|(_, condition)| is_bound(condition)) {
                    policy
                        .open
                        .push(match statement.get("Sid").and_then(Value::as_str) {
                            Some(name) if !name.is_empty() => format!("statement {name:?}"),
                            _ => format!("statement {number}"),
                        });
                }
            }
            let without_tls = conditions.iter().any(|(operator, (name, values))| {
                operator.to_ascii_lowercase().starts_with("bool")
                    && name == "aws:securetransport"
                    && values.iter().any(|value| value == "false")
            });
            let all = statement.get("Action").is_some_and(|actions| {
                each(actions).any(|action| action == "s3:*" || action == "*")
            });
            policy.demands_tls |=
                is("Effect", "Deny") && everybody && without_tls && all && conditions.len() == 1;
        }
        Ok(policy)
    }
}

/// The elements of a list, or the one that stands for a list.
fn each(value: &Value) -> impl Iterator<Item = &Value> {
    let (many, one) = match value {
        Value::Array(many) => (Some(many), None),
        one => (None, Some(one)),
    };
    many.into_iter().flatten().chain(one)
}

fn is_everybody(principal: &Value) -> bool {
    let any = |value: &Value| each(value).any(|name| name == "*");
    any(principal) || principal.get("AWS").is_some_and(any)
}

/// Addresses that everybody has.
fn is_any(value: &str) -> bool {
    matches!(value, "*" | "0.0.0.0/0" | "::/0")
}

/// The conditions of a statement, by operator: the name in lower case, with its values.
fn conditions(statement: &Value) -> Vec<(String, (String, Vec<String>))> {
    let operators = statement.get("Condition").and_then(Value::as_object);
    let mut found = Vec::new();
    for (operator, names) in operators.into_iter().flatten() {
        for (name, values) in names.as_object().into_iter().flatten() {
            let text = |value: &Value| match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let values = each(values).map(text).collect();
            found.push((operator.clone(), (name.to_ascii_lowercase(), values)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(statement: &str) -> Policy {
        Policy::parse(&format!(
            r#"{{"Version": "2012-10-17", "Statement": {statement}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn whoever_lets_everybody_in_is_named() {
        let open = of(
            r#"[{"Sid": "Web", "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"},
            {"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": "s3:ListBucket"}]"#,
        );
        assert_eq!(open.open, ["statement \"Web\"", "statement 2"]);
        for closed in [
            r#"{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::1:root"}, "Action": "s3:*"}"#,
            r#"{"Effect": "Deny", "Principal": "*", "Action": "s3:*"}"#,
            r#"{"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}}"#,
        ] {
            assert!(of(closed).open.is_empty(), "{closed}");
        }
        let anywhere = r#"{"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Condition": {"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}}"#;
        assert_eq!(of(anywhere).open.len(), 1);
        assert!(Policy::parse("{").is_err());
    }

    #[test]
    fn tls_is_demanded_by_a_denial_of_everything_without_it() {
        let deny = |action: &str, principal: &str, more: &str| {
            of(&format!(
                r#"[{{"Effect": "Deny", "Principal": {principal}, "Action": {action}, "Condition": {{"Bool": {{"aws:SecureTransport": "false"}}{more}}}}}]"#
            ))
            .demands_tls
        };
        assert!(deny(r#""s3:*""#, r#""*""#, ""));
        assert!(deny(r#"["s3:*"]"#, r#"{"AWS": "*"}"#, ""));
        assert!(!deny(r#""s3:PutObject""#, r#""*""#, ""));
        assert!(!deny(
            r#""s3:*""#,
            r#"{"AWS": "arn:aws:iam::1:user/x"}"#,
            ""
        ));
        let only_abroad = r#", "IpAddress": {"aws:SourceIp": "192.0.2.0/24"}"#;
        assert!(!deny(r#""s3:*""#, r#""*""#, only_abroad));
    }
}
