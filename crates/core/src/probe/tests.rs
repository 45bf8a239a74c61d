use super::*;
use CheckOutcome::{Failed, Passed, Unknown};

fn run(script: &str, env: &[(&str, &str)], timeout: Duration) -> CheckResult {
    let command = ["sh", "-c", script].map(String::from);
    let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
    let env = env.iter().map(|(k, v)| ((*k).to_owned(), secret(v)));
    check_command(
        &command,
        &Transport::Local,
        &env.collect(),
        &Scrubber::default(),
        timeout,
    )
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_command_passes_by_its_exit_alone() {
    let result = run("echo fine; echo noise >&2", &[], LONG);
    assert_eq!((result.outcome, result.observed()), (Passed, "exit 0"));
    assert_eq!(
        result.question(),
        "command: sh -c echo fine; echo noise >&2"
    );
    assert_eq!(result.name, Subject::word("command"));
    let result = run("echo no clients >&2; exit 3", &[], LONG);
    assert_eq!(
        (result.outcome, result.observed()),
        (Failed, "exit 3: no clients")
    );
    let result = run("echo printed; exit 4", &[], LONG);
    assert_eq!(
        (result.outcome, result.observed()),
        (Failed, "exit 4: printed")
    );
    let result = run("kill -9 $$", &[], LONG);
    assert_eq!(result.outcome, Failed);
    assert!(
        result.observed().contains("signal: 9"),
        "{}",
        result.observed()
    );
}

#[test]
fn a_command_receives_secrets_and_its_output_is_scrubbed() {
    let script = "test \"$LIFEBOAT_URL_DB\" = postgres://u:hunter2@h/d || exit 9\n\
                  echo \"cannot reach $LIFEBOAT_URL_DB\"; exit 1";
    let result = run(
        script,
        &[("LIFEBOAT_URL_DB", "postgres://u:hunter2@h/d")],
        LONG,
    );
    assert_eq!(result.observed(), "exit 1: cannot reach ***");
}

#[test]
fn a_command_that_does_not_end_is_killed_with_all_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let script = format!("sleep 300 & echo $! > {}; wait", file.display());
    let started = Instant::now();
    let result = run(&script, &[], Duration::from_millis(500));
    assert_eq!(
        (result.outcome, result.observed()),
        (Failed, "still running after 0 s")
    );
    assert!(started.elapsed() < LONG);
    let child = std::fs::read_to_string(file).unwrap();
    let status = format!("/proc/{}/status", child.trim());
    // The process is gone, or dead and waiting for init to reap it, which takes the kernel a
    // moment.
    let state = || std::fs::read_to_string(&status).unwrap_or_default();
    let is_alive = |state: String| !state.is_empty() && !state.contains("State:\tZ");
    while is_alive(state()) {
        assert!(started.elapsed() < LONG, "{}", state());
        std::thread::yield_now();
    }
}

#[test]
fn a_command_that_cannot_start_is_unknown() {
    let command = ["/nowhere/probe".to_owned()];
    let result = check_command(
        &command,
        &Transport::Local,
        &BTreeMap::new(),
        &Scrubber::default(),
        LONG,
    );
    assert_eq!(result.outcome, Unknown);
    assert!(
        result
            .observed()
            .starts_with("/nowhere/probe cannot be started")
    );
    let result = check_command(
        &[],
        &Transport::Local,
        &BTreeMap::new(),
        &Scrubber::default(),
        LONG,
    );
    assert_eq!(result.outcome, Unknown);
}

fn counts(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
    of.iter()
        .map(|(table, rows)| ((*table).to_owned(), *rows))
        .collect()
}

#[test]
fn counts_are_compared_with_the_live_ones() {
    let live = counts(&[("public.clients", 100), ("public.orders", 2000)]);
    let five: Percent = "5%".parse().unwrap();
    let table = [
        (
            counts(&[("public.clients", 96), ("public.orders", 2000)]),
            Passed,
            "2 tables, all within 5%",
        ),
        (
            counts(&[("public.clients", 94), ("public.orders", 2000)]),
            Failed,
            "1 difference: table public.clients: live 100 rows, restored 94 rows",
        ),
        (
            counts(&[("public.clients", 100), ("public.spam", 1)]),
            Failed,
            "2 differences: table public.orders: live 2000 rows, restored no such table; \
             table public.spam: live no such table, restored 1 rows",
        ),
    ];
    for (restored, outcome, observed) in table {
        let result = compare_counts(
            Subject::of("live", "db"),
            &restored,
            ("the live source", &live),
            five,
        );
        assert_eq!((result.outcome, result.observed()), (outcome, observed));
        assert_eq!(
            result.expected(),
            "the 2 tables of the live source, row counts within 5%"
        );
    }
    let nothing = counts(&[]);
    assert_eq!(
        compare_counts(
            Subject::of("live", "db"),
            &nothing,
            ("the live source", &nothing),
            five
        )
        .outcome,
        Unknown
    );
    assert_eq!(
        compare_counts(
            Subject::of("live", "db"),
            &nothing,
            ("the live source", &live),
            five
        )
        .outcome,
        Failed
    );
}

#[test]
fn all_differences_are_listed_and_twenty_are_shown() {
    let difference = |n: usize, bytes: usize| Difference {
        subject: format!("table t{n:02}"),
        expected: "x".repeat(bytes),
        observed: "nothing".into(),
    };
    let result = |count: usize, bytes: usize| {
        let all: Vec<_> = (0..count).map(|n| difference(n, bytes)).collect();
        CheckResult::differing(Subject::of("live", "db"), "all", &all, |d| {
            d.subject.clone()
        })
    };
    let some = result(24, 1);
    assert!(
        some.observed().starts_with("24 differences: table t00; "),
        "{}",
        some.observed()
    );
    assert!(some.observed().ends_with("table t19; and 4 more"));
    assert_eq!(
        (some.differences, some.listed.len(), some.unlisted()),
        (Some(24), 24, 0)
    );
    assert_eq!(some.listed[23], difference(23, 1));
    assert!(result(20, 1).observed().ends_with("table t19"));
    // Once bounded by their number, once by their bytes.
    let many = result(10_007, 1);
    assert_eq!((many.listed.len(), many.unlisted()), (10_000, 7));
    let long = result(9, 1 << 20);
    assert_eq!((long.listed.len(), long.unlisted()), (7, 2));
}

#[test]
fn an_answer_without_its_captured_one_is_unknown() {
    let judge = |expect: &str, observed: &str, captured: Option<&str>| {
        judge_answer(
            Subject::of("sql", "db"),
            &Expect::parse(expect).unwrap(),
            observed,
            captured,
        )
    };
    let result = judge("same", "7f3a", None);
    assert_eq!(result.outcome, Unknown);
    assert_eq!(result.observed(), "7f3a; no answer was kept at capture");
    let result = judge("same", "7f3a", Some("7f3b"));
    assert_eq!(
        (result.outcome, result.expected()),
        (Failed, "same as at capture: 7f3b")
    );
    let result = judge("> 0", "5", None);
    assert_eq!((result.outcome, result.expected()), (Passed, "> 0"));
}

#[test]
fn results_are_json_as_the_interface_says() {
    let result = judge_answer(
        Subject::of("sql", "db"),
        &Expect::parse("> 0").unwrap(),
        "5",
        None,
    );
    assert_eq!(
        serde_json::to_value(result).unwrap(),
        serde_json::json!({ "name": "sql db", "outcome": "passed" })
    );
}
