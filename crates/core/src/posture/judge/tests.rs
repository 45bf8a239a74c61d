use super::*;
use lifeboat_store::bucket::control::{Encryption, Grant, PublicAccessBlock};

/// A bucket as it should be.
fn good() -> Settings {
    Settings {
        region: Answer::Is("eu-west-1".to_owned()),
        versioning: Answer::Is((Versioning::On, false)),
        object_lock: Answer::Is(LockSettings::default()),
        public_access: Answer::Is(Some(PublicAccessBlock {
            block_public_acls: true,
            ignore_public_acls: true,
            block_public_policy: true,
            restrict_public_buckets: true,
        })),
        is_public: Answer::Is(false),
        policy: Answer::Is(None),
        acl: Answer::Is(Vec::new()),
        encryption: Answer::Is(Some(Encryption {
            algorithm: "AES256".to_owned(),
            key: None,
        })),
        lifecycle: Answer::Is(Vec::new()),
        replication: Answer::Is(0),
        logging: Answer::Is(false),
    }
}

/// What is wrong, by topic, with what is required.
fn wrong(settings: &Settings, require: &[Requirement]) -> Vec<(String, Severity)> {
    let wanted = Wanted {
        subject: "store.s",
        name: "s",
        is_store: true,
        require,
        region: Some("eu-west-1"),
        needs: &Needs::default(),
    };
    let found = judge(&wanted, settings).into_iter();
    let wrong = found.filter(|finding| finding.severity != Severity::Ok);
    let topic = |finding: &Finding| finding.subject.replacen("store.s.", "", 1);
    wrong
        .map(|finding| (topic(&finding), finding.severity))
        .collect()
}

#[test]
fn what_is_as_it_should_be_is_no_warning() {
    assert_eq!(wrong(&good(), &[]), []);
    let all = [
        Requirement::Versioning,
        Requirement::PublicAccessBlock,
        Requirement::Encryption,
    ];
    assert_eq!(wrong(&good(), &all), []);
    assert!(mends(&good()).is_empty());
}

#[test]
fn each_setting_that_is_wrong_is_found_and_graver_where_it_is_required() {
    use Severity::{Error, Warning};
    let one = |change: fn(&mut Settings), require: &[Requirement]| {
        let mut settings = good();
        change(&mut settings);
        wrong(&settings, require)
    };
    let is = |topic: &str, severity| vec![(topic.to_owned(), severity)];
    let off: fn(&mut Settings) = |s| s.versioning = Answer::Is((Versioning::Suspended, false));
    assert_eq!(one(off, &[]), is("versioning", Warning));
    let both = [
        ("versioning".to_owned(), Error),
        ("mfa-delete".to_owned(), Error),
    ];
    assert_eq!(
        one(off, &[Requirement::Versioning, Requirement::MfaDelete]),
        both
    );
    assert_eq!(
        one(|_| (), &[Requirement::ObjectLock]),
        is("object-lock", Error)
    );
    let open: fn(&mut Settings) = |s| s.public_access = Answer::Is(None);
    assert_eq!(one(open, &[]), is("public-access-block", Warning));
    let plain: fn(&mut Settings) = |s| s.encryption = Answer::Is(None);
    assert_eq!(one(plain, &[]), is("encryption", Warning));
    assert_eq!(one(|_| (), &[Requirement::TlsOnly]), is("tls-only", Error));
    assert_eq!(one(|_| (), &[Requirement::Logging]), is("logging", Error));
    assert_eq!(
        one(|_| (), &[Requirement::Replication]),
        is("replication", Error)
    );
    let public: fn(&mut Settings) = |s| s.is_public = Answer::Is(true);
    assert_eq!(one(public, &[]), is("policy", Warning));
    let required = [Requirement::PublicAccessBlock];
    assert_eq!(one(public, &required), is("policy", Error));
    let grant = Grant {
        grantee: "http://acs.amazonaws.com/groups/global/AllUsers".to_owned(),
        permission: "READ".to_owned(),
    };
    let mut settings = good();
    settings.acl = Answer::Is(vec![grant]);
    assert_eq!(wrong(&settings, &[]), is("acl", Warning));
    let away: fn(&mut Settings) = |s| s.region = Answer::Is("us-west-2".to_owned());
    assert_eq!(one(away, &[]), is("region", Error));
}

#[test]
fn what_is_not_known_matters_where_it_is_required() {
    let mut settings = good();
    settings.versioning = Answer::Denied;
    settings.encryption = Answer::Unknown("the server does not answer".to_owned());
    assert_eq!(wrong(&settings, &[]), []);
    let required = wrong(
        &settings,
        &[Requirement::Versioning, Requirement::Encryption],
    );
    assert_eq!(required.len(), 2);
    assert!(
        required
            .iter()
            .all(|(_, severity)| *severity == Severity::Error)
    );
    // What is not known is not mended.
    assert!(mends(&settings).is_empty());
}

#[test]
fn three_things_can_be_mended() {
    let mut settings = good();
    settings.versioning = Answer::Is((Versioning::Off, false));
    settings.public_access = Answer::Is(Some(PublicAccessBlock::default()));
    settings.encryption = Answer::Is(None);
    let all = [Mend::Versioning, Mend::PublicAccess, Mend::Encryption];
    assert_eq!(mends(&settings), all);
}
