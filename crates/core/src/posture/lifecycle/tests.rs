use super::*;
use crate::config::Reach;
use crate::span::Span;
use lifeboat_store::bucket::control::Transition;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn held(day: u32) -> Held {
    let id = format!("202611{day:02}T030000Z-0001");
    Held {
        point: PointId::parse(&id).unwrap(),
        sound: true,
        safety: false,
        manual: false,
        always: Vec::new(),
        lock: None,
        leaving: None,
    }
}

/// What is needed of daily points from the tenth to the twentieth, which these rules keep.
fn needs(rules: Option<KeepRules>) -> Needs {
    let all: Vec<Held> = (10..=20).map(held).collect();
    let keys = all.iter().map(|held| {
        let key = format!("backups/crm/{}.gz", held.point);
        (held.point.clone(), vec![key])
    });
    Needs {
        forever: vec![(
            "backups/lifeboat/evidence/".to_owned(),
            "records of evidence",
        )],
        plans: vec![Points {
            plan: "nightly".to_owned(),
            keys: keys.collect(),
            held: all.clone(),
            rules: Rules {
                rules,
                manual: Span { seconds: 0 },
                safety: Span { seconds: 0 },
                minimum: 0,
                grace: Span { seconds: 86_400 },
            },
        }],
        prefix: "backups/".to_owned(),
        prunes: true,
        now: at("2026-11-20T12:00:00Z"),
    }
}

fn daily(count: u32) -> Option<KeepRules> {
    Some(KeepRules {
        last: None,
        hourly: None,
        daily: Some(Reach::Count(count)),
        weekly: None,
        monthly: None,
        yearly: None,
        within: None,
        of_period: crate::config::OfPeriod::default(),
    })
}

fn expires(prefix: &str, days: u32) -> Rule {
    Rule {
        id: "old".to_owned(),
        is_enabled: true,
        prefix: prefix.to_owned(),
        expiry: Some(Expiry::Days(days)),
        ..Rule::default()
    }
}

fn told(rule: Rule, needs: &Needs) -> Option<String> {
    harm(&[rule], needs).pop().map(|(_, message)| message)
}

#[test]
fn a_rule_that_takes_what_keep_needs_is_told_with_the_first_point() {
    let needs = needs(daily(14));
    let message = told(expires("backups/crm/", 10), &needs).unwrap();
    assert_eq!(
        message,
        "lifecycle rule old, about \"backups/crm/\", deletes backups/crm/20261110T030000Z-0001.gz \
         of point 20261110T030000Z-0001 on 2026-11-20, which plan nightly still keeps then"
    );
    // It takes them before, and after that nothing keeps them.
    assert!(told(expires("backups/crm/", 13), &needs).is_some());
    assert_eq!(told(expires("backups/crm/", 16), &needs), None);
    assert_eq!(told(expires("other/", 1), &needs), None);
    let disabled = Rule {
        is_enabled: false,
        ..expires("", 1)
    };
    assert_eq!(told(disabled, &needs), None);
    let tagged = Rule {
        needs_tags: true,
        ..expires("", 1)
    };
    assert_eq!(told(tagged, &needs), None);
}

#[test]
fn what_is_kept_for_good_is_hit_by_every_rule() {
    let message = told(expires("", 3650), &needs(daily(14))).unwrap();
    assert!(
        message.contains("about everything, deletes records of evidence"),
        "{message}"
    );
    let message = told(expires("backups/crm/", 3650), &needs(None)).unwrap();
    assert!(
        message.contains("point 20261110T030000Z-0001 on 2036-11-07"),
        "{message}"
    );
    let dated = Rule {
        expiry: Some(Expiry::Date("2027-01-01T00:00:00Z".to_owned())),
        ..expires("backups/crm/", 0)
    };
    assert!(told(dated, &needs(daily(14))).is_some());
}

#[test]
fn points_that_will_be_taken_count() {
    let monthly = KeepRules {
        monthly: Some(Reach::Count(12)),
        ..daily(7).unwrap()
    };
    let mut needs = needs(Some(monthly));
    let message = told(expires("backups/crm/", 90), &needs).unwrap();
    assert!(message.contains("nightly"), "{message}");
    needs.plans[0].held.clear();
    needs.plans[0].keys.clear();
    let message = told(expires("backups/", 90), &needs);
    let forever = "deletes records of evidence";
    assert!(message.unwrap().contains(forever));
    needs.forever.clear();
    let message = told(expires("backups/", 90), &needs).unwrap();
    assert!(
        message.ends_with(
            "deletes points of plan nightly after 90 days, and it keeps some for longer"
        )
    );
    assert_eq!(told(expires("backups/", 420), &needs), None);
}

#[test]
fn freezing_is_as_bad_and_another_class_is_not() {
    let moves = |class: &str| Rule {
        expiry: None,
        transitions: vec![Transition {
            when: Expiry::Days(1),
            class: class.to_owned(),
        }],
        ..expires("backups/crm/", 0)
    };
    let needs = needs(daily(14));
    assert!(
        told(moves("GLACIER"), &needs)
            .unwrap()
            .contains("freezes backups/crm/")
    );
    assert_eq!(told(moves("STANDARD_IA"), &needs), None);
    assert_eq!(told(moves("GLACIER_IR"), &needs), None);
}

#[test]
fn old_versions_are_cleared_where_a_rule_covers_everything() {
    let clearing = |prefix: &str| Rule {
        expiry: None,
        noncurrent_days: Some(30),
        ..expires(prefix, 0)
    };
    let needs = needs(daily(14));
    assert!(clears(&[clearing("")], &needs));
    assert!(clears(&[clearing("backups/")], &needs));
    assert!(!clears(&[clearing("backups/crm/")], &needs));
    assert!(harm(&[clearing("")], &needs).is_empty());
}
