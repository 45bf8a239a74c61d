//! `lifeboat repo`, killed at any moment: nothing that was committed is lost, the next run needs
//! nobody's help, and a check finds nothing.
//!
//! `LIFEBOAT_KILLS=200` kills as often; the moments are other ones in each run.

use crate::support::{App, noise};
use lifeboat_repository::check::{self, Depth};
use lifeboat_repository::keyfile::Cost;
use lifeboat_repository::{Author, FileKind, Id, Repository, Snapshot};
use lifeboat_store::LocalStore;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PASSWORD: &[u8] = b"a pass word";
/// A repository, and one that its snapshots are copied to.
const PLACES: [&str; 2] = ["r", "copies"];
/// How many snapshots stay when some are forgotten.
const KEPT: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verb {
    Backup,
    Prune,
    Forget,
    Copy,
}

impl Verb {
    const ALL: [Verb; 4] = [Verb::Backup, Verb::Copy, Verb::Forget, Verb::Prune];

    /// Which of the two it works on.
    fn place(self, round: u64) -> &'static str {
        match self {
            Verb::Backup => PLACES[0],
            Verb::Copy => PLACES[1],
            Verb::Forget | Verb::Prune => PLACES[round as usize / 4 % 2],
        }
    }

    fn args(self, app: &App, place: &str) -> Vec<String> {
        let path = |name: &str| app.path(name).display().to_string();
        let password = format!("file:{}", path("password"));
        let (from, tree, place) = (path("r"), path("tree"), path(place));
        let args: &[&str] = match self {
            Verb::Backup => &["backup", &tree],
            Verb::Prune => &["prune", "--grace", "0s", "--max-unused", "0%"],
            Verb::Forget => &["forget", "--keep-last", "3"],
            Verb::Copy => &["copy", "--from-repo", &from, "--from-password", &password],
        };
        let all = [&["repo", "--repo", &place], args].concat();
        all.into_iter().map(str::to_owned).collect()
    }
}

fn open(path: &Path) -> Repository {
    let store = Arc::new(LocalStore::open(path).unwrap());
    Repository::open(store, "", PASSWORD).unwrap()
}

/// Gives it a key that is opened quickly.
fn cheaply(path: &Path) {
    let repository = open(path);
    let cost = Cost {
        log_n: 4,
        ..Cost::default()
    };
    let new = repository.add_key(PASSWORD, cost, &Author::default());
    let new = new.unwrap();
    for (id, _) in repository.list(FileKind::Key).unwrap() {
        if id != new {
            repository.delete(FileKind::Key, &id).unwrap();
        }
    }
}

fn snapshots(path: &Path) -> Vec<(Id, Snapshot)> {
    let (snapshots, errors) = open(path).snapshots().unwrap();
    assert!(errors.is_empty(), "{errors:?}");
    snapshots
}

/// Everything is there and right, and nobody has left anything.
fn assert_whole(path: &Path, at: &str) {
    let repository = open(path);
    let report = check::run(&repository, Depth::Data).unwrap();
    assert!(report.errors.is_empty(), "{at}: {:#?}", report.errors);
    let locks = repository.list(FileKind::Lock).unwrap();
    assert!(locks.is_empty(), "{at}: {locks:?}");
    let incoming = std::fs::read_dir(path.join(".incoming")).map_or(0, Iterator::count);
    assert_eq!(incoming, 0, "{at}");
}

/// The snapshots that must be there after a verb ran or died: all but those that it may forget.
fn must_stay(verb: Verb, before: &[(Id, Snapshot)]) -> BTreeSet<Id> {
    let free = match verb {
        Verb::Forget => before.len().saturating_sub(KEPT),
        _ => 0,
    };
    before[free..].iter().map(|(id, _)| *id).collect()
}

fn assert_kept(must: &BTreeSet<Id>, path: &Path, at: &str) {
    let now: BTreeSet<Id> = snapshots(path).into_iter().map(|(id, _)| id).collect();
    let lost: Vec<_> = must.difference(&now).collect();
    assert!(lost.is_empty(), "{at}: {lost:?}");
}

/// Starts the program and kills it after a while. Whether it was killed.
fn kill_after(app: &App, args: &[&str], while_: Duration) -> bool {
    let mut child = app
        .command(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(while_);
    child.kill().unwrap();
    child.wait().unwrap().code().is_none()
}

#[test]
fn killed_at_any_moment_nothing_is_lost_and_the_next_run_ends_the_work() {
    let kills = std::env::var("LIFEBOAT_KILLS").map_or(24, |text| text.parse().unwrap());
    let mut app = App::basic();
    app.write("password", PASSWORD);
    let password = app.path("password").display().to_string();
    app.env("RESTIC_PASSWORD_FILE", password);
    let places = PLACES.map(|place| app.path(place));
    for place in &places {
        app.ok(&["repo", "--repo", &place.display().to_string(), "init"]);
        cheaply(place);
    }
    let mut seed = u64::from(std::process::id());
    eprintln!("seed {seed}");
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as f64 / f64::from(1_u32 << 31)
    };
    // How long each takes when it is not killed.
    let mut spans: BTreeMap<Verb, Duration> = BTreeMap::new();
    let (mut killed, mut round) = (0, 0_u64);
    while killed < kills {
        round += 1;
        assert!(round < 3 * kills + 20, "{killed} of {round} were killed");
        let verb = Verb::ALL[round as usize % 4];
        if verb == Verb::Backup {
            for file in 0..8 {
                let name = format!("tree/d{}/{file}", file % 3);
                // Half of them change each time, so that there is something to prune.
                let version = if file % 2 == 0 { round } else { 0 };
                app.write(&name, &noise(12_000, 1000 * version + file));
            }
        }
        let place = verb.place(round);
        let args = verb.args(&app, place);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let at = format!("{verb:?} in round {round}");
        let before = places.each_ref().map(|place| snapshots(place));
        let mut must = before
            .each_ref()
            .map(|before| must_stay(Verb::Backup, before));
        let changed = usize::from(place != PLACES[0]);
        must[changed] = must_stay(verb, &before[changed]);
        if let Some(span) = spans.get(&verb)
            && kill_after(&app, &args, span.mul_f64(random() * 1.1))
        {
            killed += 1;
            for (must, place) in must.iter().zip(&places) {
                assert_kept(must, place, &at);
            }
        }
        let begun = Instant::now();
        app.ok(&args);
        spans.insert(verb, begun.elapsed());
        for (must, place) in must.iter().zip(&places) {
            assert_kept(must, place, &at);
            assert_whole(place, &at);
        }
    }
    let args = Verb::Copy.args(&app, PLACES[1]);
    app.ok(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let latest = format!("latest:{}", app.path("tree").display());
    for (number, place) in places.iter().enumerate() {
        let (place, back) = (place.display().to_string(), format!("back{number}"));
        let to = app.path(&back).display().to_string();
        app.ok(&[
            "repo", "--repo", &place, "restore", &latest, "--target", &to,
        ]);
        assert_eq!(app.listing(&back), app.listing("tree"));
    }
}
