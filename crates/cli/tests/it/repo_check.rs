//! `lifeboat repo check`: the packs that it reads, and those that it need not read again.

use crate::repo::{Desk, walk};
use crate::support::noise;

/// A desk with several packs, and a state directory of its own.
fn desk() -> Desk {
    let mut desk = Desk::new();
    let state = desk.path("state");
    desk.app.env("XDG_STATE_HOME", state);
    for seed in 40..46 {
        desk.app.write("tree/more", &noise(2000, seed));
        desk.back_up(&[]);
    }
    desk
}

/// What a check read, and what it did not need to read.
fn counts(desk: &Desk, args: &[&str]) -> (u64, u64) {
    let checked = desk.json(&[&["check"], args].concat());
    let number = |field: &str| checked[field].as_u64().unwrap();
    (number("packs_read"), number("packs_verified_before"))
}

#[test]
fn the_parts_of_a_check_are_those_of_restic_and_together_everything() {
    let desk = desk();
    let packs = walk(&desk.app.path("r/data")).len() as u64;
    let mut read = 0;
    for number in 1..=3 {
        let part = format!("{number}/3");
        let (own, _) = counts(&desk, &["--read-data-subset", &part]);
        let said = desk.restic(&["check", "--read-data-subset", &part]);
        let same = format!("group #{number} of {own} data packs (out of total {packs} ");
        assert!(said.contains(&same), "{same}: {said}");
        read += own;
    }
    assert_eq!(read, packs);
    assert_eq!(counts(&desk, &[]), (0, 0));
    assert_eq!(counts(&desk, &["--read-data"]), (packs, 0));
    assert_eq!(counts(&desk, &["--read-data-subset", "100%"]), (packs, 0));
    assert_eq!(counts(&desk, &["--read-data-subset", "1%"]), (1, 0));
    assert_eq!(counts(&desk, &["--read-data-subset", "1T"]), (packs, 0));
    assert!(!desk.app.path("state").exists(), "nothing was to be noted");
    let said = desk.ok(&["check", "--read-data-subset", "1"]);
    said.says(&["of which 1 was read", "no errors were found"]);
    for bad in ["4/3", "0%", "x", ""] {
        desk.refuses(2, "usage", &["check", "--read-data-subset", bad])
            .names(&["--read-data-subset"])
            .advises(&["2/5"]);
    }
}

#[test]
fn what_was_found_whole_lately_is_not_read_again() {
    let desk = desk();
    let paths = walk(&desk.app.path("r/data"));
    let packs = paths.len() as u64;
    let day = ["--read-data", "--not-verified-since", "1d"];
    let half = ["--read-data-subset", "1/2", "--not-verified-since", "1d"];
    let (first, before) = counts(&desk, &half);
    assert_eq!(before, 0);
    assert_eq!(counts(&desk, &day), (packs - first, first), "it goes on");
    assert_eq!(counts(&desk, &day), (0, packs));
    desk.app.write("tree/more", &noise(2000, 50));
    desk.back_up(&[]);
    let (new, old) = counts(&desk, &day);
    assert!(new > 0 && old == packs, "{new} {old}");

    // One that is damaged now: it is found as soon as it is read, and read each time from then on.
    let hit = paths
        .iter()
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap();
    let mut bytes = std::fs::read(hit).unwrap();
    bytes[50] ^= 1;
    std::fs::write(hit, bytes).unwrap();
    assert_eq!(counts(&desk, &day), (0, packs + new));
    let all = ["repo", "check", "--read-data", "--not-verified-since", "0s"];
    let found = desk.app.json_exits(4, &all);
    assert_eq!(found["packs_read"], packs + new);
    let again = desk
        .app
        .json_exits(4, &[&["repo", "check"], &day[..]].concat());
    assert_eq!(
        (&again["packs_read"], &again["packs_verified_before"]),
        (&1.into(), &(packs + new - 1).into())
    );

    desk.refuses(2, "usage", &["check", "--not-verified-since", "1d"])
        .advises(&["--read-data"]);
    desk.refuses(
        2,
        "usage",
        &[
            &["check"],
            &["--read-data", "--not-verified-since", "soon"][..],
        ]
        .concat(),
    )
    .names(&["--not-verified-since"]);
    // Nowhere to note anything.
    std::fs::remove_dir_all(desk.app.path("state")).unwrap();
    desk.app.write("state", b"a file");
    desk.refuses(1, "state", &[&["check"], &day[..]].concat())
        .names(&["checked"])
        .advises(&["XDG_STATE_HOME"]);
}
