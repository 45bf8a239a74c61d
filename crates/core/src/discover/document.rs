//! The document of what `init` found and proposes.

use super::{Found, Missing, Proposal};
use serde::Serialize;
use std::path::Path;

/// The document of `init`.
#[derive(Debug, Clone, Serialize)]
pub struct Document<'a> {
    file: Option<&'a Path>,
    configuration: Option<&'a str>,
    found: &'a Found,
    missing: &'a [Missing],
}

impl<'a> Document<'a> {
    /// Makes the document of a proposal that was written to `file`; without a file, it contains the
    /// proposed text.
    pub fn new(file: Option<&'a Path>, found: &'a Found, proposal: &'a Proposal) -> Self {
        Document {
            file,
            configuration: file.is_none().then_some(proposal.text.as_str()),
            found,
            missing: &proposal.missing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::assert_document;

    #[test]
    fn the_document_of_a_proposal() {
        let found = Found::default();
        let proposal = Proposal {
            text: "version = 1".to_owned(),
            missing: vec![Missing {
                reference: "env:CRM_DB_PASSWORD".to_owned(),
                now: "in /srv/crm/.env".to_owned(),
                make: None,
            }],
            secrets: "/etc/lifeboat/secrets.env".into(),
        };
        let expected = r#"{
  "schema": 1,
  "file": "lifeboat.toml",
  "configuration": null,
  "found": {
    "root": "",
    "applications": [],
    "databases": [],
    "servers": [],
    "secrets": [],
    "units": [],
    "system": [],
    "certificates": [],
    "unread": []
  },
  "missing": [
    {
      "reference": "env:CRM_DB_PASSWORD",
      "now": "in /srv/crm/.env",
      "make": null
    }
  ]
}"#;
        let path = Path::new("lifeboat.toml");
        assert_document(Document::new(Some(path), &found, &proposal), expected);
        let printed = Document::new(None, &found, &proposal);
        let value = serde_json::to_value(printed).unwrap();
        assert_eq!(value["configuration"], "version = 1");
        assert!(value["file"].is_null());
    }
}
