use super::*;
use crate::name::Name;
use crate::point::PointId;

fn due(subject: &'static str, attempt: u32) -> Due {
    Due {
        kind: JobKind::Backup,
        subject: Name::own(subject),
        slot: None,
        attempt,
        reason: String::new(),
        points: Vec::<PointId>::new(),
        usual: None,
    }
}

#[test]
fn a_run_waits_for_its_own_attempts_and_sleeps_through_nothing_else() {
    let at = |hour: i64| Timestamp::from_second(hour * 3600).unwrap();
    let begun = BTreeSet::from([(JobKind::Backup, "weekly".to_owned())]);
    let wait = |later: Vec<(Timestamp, Due)>| {
        let agenda = Agenda { now: vec![], later };
        waits_until(&agenda, &begun)
    };
    assert_eq!(wait(vec![]), None);
    assert_eq!(wait(vec![(at(1), due("hourly", 1))]), None);
    assert_eq!(wait(vec![(at(5), due("weekly", 1))]), None);
    // Another host's attempts are its own affair.
    assert_eq!(wait(vec![(at(5), due("hourly", 2))]), None);
    assert_eq!(wait(vec![(at(5), due("weekly", 2))]), Some(at(5)));
    let both = vec![(at(1), due("hourly", 1)), (at(5), due("weekly", 2))];
    assert_eq!(wait(both), Some(at(1)));
}
