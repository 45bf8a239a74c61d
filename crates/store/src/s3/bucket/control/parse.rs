//! Reads the documents of a bucket's settings. Source: the Amazon S3 API reference.

use super::super::{retention, xml};
use super::{Document, Encryption, PublicAccessBlock, Versioning};
use crate::lock::LockSettings;

type Parsed<T> = Result<T, String>;

/// A right that an access control list gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Whom: the URI of a group, or the id of an account.
    pub grantee: String,
    /// What: `READ`, `WRITE`, `READ_ACP`, `WRITE_ACP` or `FULL_CONTROL`.
    pub permission: String,
}

impl Grant {
    /// Returns whether it is for everybody, or for everybody with an account.
    pub fn is_public(&self) -> bool {
        self.grantee.ends_with("/global/AllUsers")
            || self.grantee.ends_with("/global/AuthenticatedUsers")
    }
}

/// When a rule lets an object expire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expiry {
    /// So many days after it was put.
    Days(u32),
    /// At a date, as the rule writes it.
    Date(String),
}

/// A change of the storage class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// When.
    pub when: Expiry,
    /// The class that it gets.
    pub class: String,
}

/// A lifecycle rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// Its name; may be empty.
    pub id: String,
    /// Whether it holds.
    pub is_enabled: bool,
    /// The prefix of the keys that it is about.
    pub prefix: String,
    /// Whether it is about objects with certain tags alone.
    pub needs_tags: bool,
    /// When objects expire.
    pub expiry: Option<Expiry>,
    /// When they change their class.
    pub transitions: Vec<Transition>,
    /// Days after which a version that is not the newest expires.
    pub noncurrent_days: Option<u32>,
    /// Days after which the parts of an upload that was never completed are removed.
    pub abort_days: Option<u32>,
}

/// Calls `leaf` with the path of each element, below the root, and its text.
fn read(document: &str, mut leaf: impl FnMut(&str, Option<&str>)) -> Parsed<()> {
    xml::read(document, |path, text| {
        let below = path.get(1..).unwrap_or_default().join("/");
        leaf(&below, text.map(str::trim));
    })
}

pub(super) fn region(document: Document) -> Parsed<String> {
    let mut region = String::new();
    xml::read(&document.unwrap_or_default(), |_, text| {
        region = text.unwrap_or_default().trim().to_owned();
    })?;
    Ok(match region.as_str() {
        "" => "us-east-1".to_owned(),
        "EU" => "eu-west-1".to_owned(),
        _ => region,
    })
}

pub(super) fn versioning(document: Document) -> Parsed<(Versioning, bool)> {
    let (mut versioning, mut needs_factor) = (Versioning::Off, false);
    read(&document.unwrap_or_default(), |path, text| {
        match (path, text) {
            ("Status", Some("Enabled")) => versioning = Versioning::On,
            ("Status", Some("Suspended")) => versioning = Versioning::Suspended,
            ("MfaDelete", Some(text)) => needs_factor = text == "Enabled",
            _ => {}
        }
    })?;
    Ok((versioning, needs_factor))
}

pub(super) fn object_lock(document: Document) -> Parsed<LockSettings> {
    document.map_or(Ok(LockSettings::default()), |text| {
        retention::settings(&text)
    })
}

pub(super) fn public_access(document: Document) -> Parsed<Option<PublicAccessBlock>> {
    let Some(document) = document else {
        return Ok(None);
    };
    let mut block = PublicAccessBlock::default();
    read(&document, |path, text| {
        let is = text.is_some_and(|text| text.eq_ignore_ascii_case("true"));
        match path {
            "BlockPublicAcls" => block.block_public_acls = is,
            "IgnorePublicAcls" => block.ignore_public_acls = is,
            "BlockPublicPolicy" => block.block_public_policy = is,
            "RestrictPublicBuckets" => block.restrict_public_buckets = is,
            _ => {}
        }
    })?;
    Ok(Some(block))
}

pub(super) fn is_public(document: Document) -> Parsed<bool> {
    let mut is_public = false;
    if let Some(document) = document {
        read(&document, |path, text| {
            is_public |= path == "IsPublic" && text.is_some_and(|t| t.eq_ignore_ascii_case("true"));
        })?;
    }
    Ok(is_public)
}

pub(super) fn acl(document: Document) -> Parsed<Vec<Grant>> {
    const GRANT: &str = "AccessControlList/Grant";
    let (mut grants, mut grantee, mut permission) = (Vec::new(), String::new(), String::new());
    read(&document.unwrap_or_default(), |path, text| {
        let text = || text.unwrap_or_default().to_owned();
        match path.strip_prefix(GRANT) {
            Some("/Grantee/URI" | "/Grantee/ID") => grantee = text(),
            Some("/Permission") => permission = text(),
            Some("") => grants.push(Grant {
                grantee: std::mem::take(&mut grantee),
                permission: std::mem::take(&mut permission),
            }),
            _ => {}
        }
    })?;
    Ok(grants)
}

pub(super) fn encryption(document: Document) -> Parsed<Option<Encryption>> {
    const BY_DEFAULT: &str = "Rule/ApplyServerSideEncryptionByDefault/";
    let (mut algorithm, mut key) = (String::new(), None);
    let Some(document) = document else {
        return Ok(None);
    };
    read(&document, |path, text| {
        let text = text.map(str::to_owned);
        match path.strip_prefix(BY_DEFAULT) {
            Some("SSEAlgorithm") => algorithm = text.unwrap_or_default(),
            Some("KMSMasterKeyID") => key = text,
            _ => {}
        }
    })?;
    Ok((!algorithm.is_empty()).then_some(Encryption { algorithm, key }))
}

pub(super) fn replication(document: Document) -> Parsed<usize> {
    let mut rules = 0;
    if let Some(document) = document {
        read(&document, |path, text| {
            rules += usize::from(path == "Rule/Status" && text == Some("Enabled"));
        })?;
    }
    Ok(rules)
}

pub(super) fn logging(document: Document) -> Parsed<bool> {
    let mut logs = false;
    if let Some(document) = document {
        read(&document, |path, _| {
            logs |= path.starts_with("LoggingEnabled")
        })?;
    }
    Ok(logs)
}

pub(super) fn lifecycle(document: Document) -> Parsed<Vec<Rule>> {
    let mut reading = Reading::default();
    if let Some(document) = document {
        read(&document, |path, text| {
            if let Some(path) = path.strip_prefix("Rule") {
                reading.take(path.trim_start_matches('/'), text);
            }
        })?;
    }
    match reading.unclear {
        Some(what) => Err(what),
        None => Ok(reading.rules),
    }
}

/// Lifecycle rules that are being read.
#[derive(Default)]
struct Reading {
    rules: Vec<Rule>,
    rule: Rule,
    when: Option<Expiry>,
    class: String,
    /// Something that no rule has, as far as we know.
    unclear: Option<String>,
}

impl Reading {
    fn take(&mut self, path: &str, text: Option<&str>) {
        let given = text.unwrap_or_default();
        let owned = || given.to_owned();
        let number = || given.parse::<u32>().ok();
        if path.ends_with("Days") && number().is_none() {
            self.unclear = Some(format!("{path} = {given:?} is no number"));
        }
        match path {
            "" => self.rules.push(std::mem::take(&mut self.rule)),
            "ID" => self.rule.id = owned(),
            "Status" => self.rule.is_enabled = given == "Enabled",
            "Prefix" | "Filter/Prefix" | "Filter/And/Prefix" => self.rule.prefix = owned(),
            "Expiration/Days" => self.rule.expiry = number().map(Expiry::Days),
            "Expiration/Date" => self.rule.expiry = Some(Expiry::Date(owned())),
            "Transition/Days" => self.when = number().map(Expiry::Days),
            "Transition/Date" => self.when = Some(Expiry::Date(owned())),
            "Transition/StorageClass" => self.class = owned(),
            "Transition" => {
                let class = std::mem::take(&mut self.class);
                let when = self.when.take().unwrap_or(Expiry::Days(0));
                self.rule.transitions.push(Transition { when, class });
            }
            "NoncurrentVersionExpiration/NoncurrentDays" => self.rule.noncurrent_days = number(),
            "AbortIncompleteMultipartUpload/DaysAfterInitiation" => self.rule.abort_days = number(),
            path if path.starts_with("Filter/") && path.contains("Tag") => {
                self.rule.needs_tags = true;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Some(format!("<R xmlns=\"u\">{text}</R>"))
    }

    #[test]
    fn versioning_is_off_unless_it_says_otherwise() {
        assert_eq!(versioning(document("")), Ok((Versioning::Off, false)));
        let text = "<Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>";
        assert_eq!(versioning(document(text)), Ok((Versioning::On, true)));
        let text = "<Status>Suspended</Status>";
        assert_eq!(
            versioning(document(text)),
            Ok((Versioning::Suspended, false))
        );
        assert!(versioning(Some("<R><Status>Enabled</Stat".to_owned())).is_err());
    }

    #[test]
    fn grants_to_everybody_are_known() {
        let grant = |grantee: &str, permission: &str| {
            format!(
                "<Grant><Grantee>{grantee}</Grantee><Permission>{permission}</Permission></Grant>"
            )
        };
        let text = format!(
            "<Owner><ID>me</ID></Owner><AccessControlList>{}{}</AccessControlList>",
            grant("<ID>me</ID><DisplayName>I</DisplayName>", "FULL_CONTROL"),
            grant(
                "<URI>http://acs.amazonaws.com/groups/global/AllUsers</URI>",
                "READ"
            ),
        );
        let grants = acl(document(&text)).unwrap();
        let public: Vec<bool> = grants.iter().map(Grant::is_public).collect();
        assert_eq!(public, [false, true]);
        assert_eq!(grants[1].permission, "READ");
    }

    #[test]
    fn lifecycle_rules_are_read_whole() {
        let text = "<Rule><ID>a</ID><Filter><And><Prefix>p/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag></And></Filter>\
            <Status>Enabled</Status><Transition><Days>30</Days><StorageClass>GLACIER</StorageClass></Transition>\
            <Transition><Days>90</Days><StorageClass>DEEP_ARCHIVE</StorageClass></Transition>\
            <Expiration><Days>365</Days></Expiration>\
            <NoncurrentVersionExpiration><NoncurrentDays>7</NoncurrentDays></NoncurrentVersionExpiration>\
            <AbortIncompleteMultipartUpload><DaysAfterInitiation>2</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>\
            <Rule><Prefix></Prefix><Status>Disabled</Status><Expiration><Date>2030-01-01T00:00:00Z</Date></Expiration></Rule>";
        let rules = lifecycle(document(text)).unwrap();
        let transition = |days, class: &str| Transition {
            when: Expiry::Days(days),
            class: class.to_owned(),
        };
        assert_eq!(
            rules[0],
            Rule {
                id: "a".to_owned(),
                is_enabled: true,
                prefix: "p/".to_owned(),
                needs_tags: true,
                expiry: Some(Expiry::Days(365)),
                transitions: vec![transition(30, "GLACIER"), transition(90, "DEEP_ARCHIVE")],
                noncurrent_days: Some(7),
                abort_days: Some(2),
            }
        );
        assert!(!rules[1].is_enabled);
        assert_eq!(
            rules[1].expiry,
            Some(Expiry::Date("2030-01-01T00:00:00Z".to_owned()))
        );
        let odd = "<Rule><Status>Enabled</Status><Expiration><Days>soon</Days></Expiration></Rule>";
        assert!(lifecycle(document(odd)).is_err());
        assert_eq!(lifecycle(None), Ok(Vec::new()));
    }

    #[test]
    fn the_rest_is_read_too() {
        assert_eq!(
            region(Some("<LocationConstraint/>".to_owned())),
            Ok("us-east-1".to_owned())
        );
        let there = "<LocationConstraint>eu-west-1</LocationConstraint>".to_owned();
        assert_eq!(region(Some(there)), Ok("eu-west-1".to_owned()));
        assert_eq!(encryption(None), Ok(None));
        let rule = "<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>k</KMSMasterKeyID></ApplyServerSideEncryptionByDefault></Rule>";
        let known = encryption(document(rule)).unwrap().unwrap();
        assert_eq!(
            (known.algorithm.as_str(), known.key.as_deref()),
            ("aws:kms", Some("k"))
        );
        assert_eq!(logging(document("")), Ok(false));
        assert_eq!(
            logging(document(
                "<LoggingEnabled><TargetBucket>b</TargetBucket></LoggingEnabled>"
            )),
            Ok(true)
        );
        assert_eq!(is_public(document("<IsPublic>TRUE</IsPublic>")), Ok(true));
        assert_eq!(
            replication(document("<Rule><Status>Enabled</Status></Rule>")),
            Ok(1)
        );
        let open = "<BlockPublicAcls>true</BlockPublicAcls>";
        assert!(
            !public_access(document(open))
                .unwrap()
                .unwrap()
                .is_complete()
        );
    }
}
