//! What shows that two captures have equal content.

use super::*;
use crate::fingerprint::{
    BytesFingerprint, FilesFingerprint, Inventory, ObjectsFingerprint, TablesFingerprint,
};
use crate::name::Name;
use std::collections::BTreeMap;

/// How little can be known of the content.
fn bytes(sha256: &str) -> Fingerprint {
    Fingerprint::Bytes(BytesFingerprint {
        length: 5,
        sha256: sha256.to_owned(),
    })
}

fn files(content: &str) -> Fingerprint {
    Fingerprint::Files(FilesFingerprint {
        content: content.to_owned(),
        ..FilesFingerprint::default()
    })
}

fn tables(limits: &[&str]) -> Fingerprint {
    Fingerprint::Tables(TablesFingerprint {
        limits: limits.iter().map(|limit| (*limit).to_owned()).collect(),
        ..TablesFingerprint::default()
    })
}

fn captured(fingerprint: Fingerprint, sha256: &str) -> DetailsArtifact {
    DetailsArtifact {
        source: Name::own("s"),
        name: Name::own("a"),
        bytes: 5,
        sha256: sha256.to_owned(),
        proof: Proof {
            fingerprint,
            inventory: Inventory::None,
        },
        skipped: Vec::new(),
        tools: BTreeMap::new(),
        answers: BTreeMap::new(),
        roots: Vec::new(),
        attributes: None,
        settings: Some("as now".to_owned()),
        changes: None,
    }
}

/// The artifact of a manifest that a signer made of what was captured.
fn stored(signer: &Signer, of: &DetailsArtifact) -> ManifestArtifact {
    let settings = of.settings.as_ref();
    let value = serde_json::json!({
        "source": "s", "name": "a", "extension": "tar", "key": "k", "bytes": 5, "sha256": "",
        "compress": "none", "proof_mac": signer.proof_mac(&of.proof.content()),
        "settings_mac": settings.map(|s| signer.proof_mac(s.as_bytes())),
    });
    serde_json::from_value(value).unwrap()
}

/// Returns what is said of two captures by a host that has the key of the signer but cannot read the
/// details, and by one that has another key and can read them.
fn told(before: &DetailsArtifact, now: &DetailsArtifact) -> [bool; 2] {
    let signer = Signer::generate().unwrap();
    let stored = stored(&signer, before);
    assert!(!is_shown_equal(now, &stored, None, || None));
    [
        is_shown_equal(now, &stored, Some(&signer), || None),
        is_shown_equal(now, &stored, None, || Some(before.clone())),
    ]
}

#[test]
fn equal_proofs_show_equal_content_where_they_cover_all_of_it() {
    for proof in [bytes("aa"), files("aa"), tables(&[])] {
        // The bytes of a dump differ by the time in it.
        let (before, now) = (captured(proof.clone(), "x"), captured(proof, "y"));
        assert_eq!(told(&before, &now), [true, true], "{:?}", now.proof);
    }
    for proof in [
        tables(&["a sequence"]),
        Fingerprint::Objects(ObjectsFingerprint::default()),
    ] {
        let (before, now) = (captured(proof.clone(), "x"), captured(proof, "y"));
        assert_eq!(told(&before, &now), [false, false], "{:?}", now.proof);
    }
}

#[test]
fn equal_bytes_show_equal_content_whatever_a_proof_leaves_open() {
    let same = captured(tables(&["a sequence"]), "x");
    assert_eq!(told(&same, &same), [false, true]);
    // With both, the host can tell.
    let signer = Signer::generate().unwrap();
    let artifact = stored(&signer, &same);
    assert!(is_shown_equal(&same, &artifact, Some(&signer), || Some(
        same.clone()
    )));
    let mut longer = same.clone();
    longer.bytes = 6;
    assert!(!is_shown_equal(&longer, &artifact, Some(&signer), || Some(
        same.clone()
    )));
}

#[test]
fn other_content_and_other_settings_are_not_equal() {
    let before = captured(files("aa"), "x");
    assert_eq!(told(&before, &captured(files("ab"), "y")), [false, false]);
    assert_eq!(told(&before, &captured(bytes("aa"), "y")), [false, false]);
    let with = |settings: Option<&str>| DetailsArtifact {
        settings: settings.map(str::to_owned),
        ..before.clone()
    };
    assert_eq!(told(&before, &with(Some("as now"))), [true, true]);
    assert_eq!(told(&before, &with(Some("as later"))), [false, false]);
    assert_eq!(told(&before, &with(None)), [false, false]);
    // A point of an older version does not tell.
    assert_eq!(told(&with(None), &before), [false, false]);
    assert_eq!(told(&with(None), &with(None)), [false, false]);
}

#[test]
fn what_another_key_names_says_nothing() {
    let before = captured(files("aa"), "x");
    let artifact = stored(&Signer::generate().unwrap(), &before);
    let ours = Signer::generate().unwrap();
    assert!(!is_shown_equal(&before, &artifact, Some(&ours), || None));
}
