#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use super::*;
use crate::fingerprint::{Fingerprint, Inventory, Proof, TablesFingerprint};
use crate::observe::Reporter;
use crate::place;
use crate::secret::Scrubber;
use crate::sqlite::{self, COMPANIONS, check_whole, companion, observe, query};
use lifeboat_testkit::privilege::needs_root;
use lifeboat_testkit::tree::LiveDatabase;
use rusqlite::Connection;
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn capture_asking(path: &Path, queries: &[String]) -> Result<(Vec<u8>, Captured)> {
    let scratch = tempfile::tempdir().unwrap();
    let context = CaptureContext {
        render: &|template| Ok(template.to_owned()),
        scratch: scratch.path(),
        scrubber: &Scrubber::default(),
        reporter: &Reporter::silent(),
        queries,
    };
    let source = SqliteSource::new(SqliteConfig {
        path: path.to_owned(),
        least: Default::default(),
    })?;
    let mut bytes = Vec::new();
    let captured = source.capture("database", &mut bytes, &context);
    assert_eq!(
        fs::read_dir(scratch.path()).unwrap().count(),
        0,
        "scratch is empty again"
    );
    Ok((bytes, captured?))
}

fn capture(path: &Path) -> Result<(Vec<u8>, Captured)> {
    capture_asking(path, &[])
}

/// A database of awkward tables, and its directory.
fn awkward() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("odd % name?#.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch(AWKWARD)
        .unwrap();
    (directory, path)
}

const AWKWARD: &str = r#"
    pragma user_version = 42;
    pragma application_id = 77;
    create table "quo""ted 'table" ("col""umn" text, "select" int, 'ordinary' blob);
    insert into "quo""ted 'table" values ('x', 1, x'00ff'), (null, null, null);
    create table duplicates (a);
    insert into duplicates values ('same'), ('same'), ('same'), (null), (null);
    create table pairs (a text, b int, primary key (a, b)) without rowid;
    insert into pairs values ('p', 1), ('q', 2);
    create table kinds (v);
    insert into kinds values (null), (''), (0), (1), (1.0), ('1'), (x'31'), (9e999), (-0.0), (cast(x'ff80' as text));
    create table generated (a int, b int as (a * 2) virtual, c text as (a || 'x') stored);
    insert into generated (a) values (1), (2);
    create table counted (id integer primary key autoincrement, v text unique);
    insert into counted (v) values ('a'), ('b'), ('c');
    delete from counted where v = 'c';
    create table parent (id integer primary key);
    pragma foreign_keys = off;
    create table child (p references parent);
    insert into child values (404), (405);
    create index "an index" on duplicates (a) where a is not null;
    create view seen as select count(*) as n from duplicates;
    create trigger kept after insert on parent begin insert into pairs values ('t', new.id); end;
    create virtual table words using fts5 (body);
    insert into words values ('full text'), ('search');
"#;

fn tables(proof: &Proof) -> &TablesFingerprint {
    match &proof.fingerprint {
        Fingerprint::Tables(tables) => tables,
        other => panic!("{other:?}"),
    }
}

fn restored(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("restored.db");
    place::sqlite(&mut &bytes[..], &path).unwrap();
    (directory, path)
}

#[test]
fn an_awkward_database_comes_back_as_it_was() {
    for journal in ["delete", "wal"] {
        let (_directory, path) = awkward();
        let live = Connection::open(&path).unwrap();
        live.pragma_update(None, "journal_mode", journal).unwrap();
        let (bytes, captured) = capture(&path).unwrap();
        drop(live);
        let (target, back) = restored(&bytes);
        assert_eq!(Some(observe(&back).unwrap()), captured.proof);
        assert_eq!(
            fs::read_dir(target.path()).unwrap().count(),
            1,
            "observing leaves nothing"
        );
        let tables = tables(captured.proof.as_ref().unwrap());
        assert_eq!(tables.algorithm, "xxh3-128-sum/sqlite-value");
        let rows = |name: &str| tables.tables.get(&format!("main.{name}")).map(|t| t.rows);
        assert_eq!(rows("quo\"ted 'table"), Some(2));
        assert_eq!(rows("duplicates"), Some(5));
        assert_eq!(rows("pairs"), Some(2));
        assert_eq!(rows("sqlite_sequence"), Some(1));
        assert_eq!(rows("words"), None, "a virtual table is not asked");
        assert!(rows("words_content").is_some() && tables.limits.len() == 1);
        let columns = &tables.tables.get("main.generated").unwrap().columns;
        assert_eq!(columns, &["a", "b", "c"]);
        assert_eq!(tables.objects.get("foreign-key-violation"), Some(&2));
        assert_eq!(tables.objects.get("trigger"), Some(&1));
        let Inventory::Database(inventory) = &captured.proof.as_ref().unwrap().inventory else {
            panic!()
        };
        assert_eq!(inventory.objects["pragma"]["user_version"], "42");
        assert_eq!(inventory.objects["pragma"]["application_id"], "77");
        assert!(inventory.objects["index"].contains_key("main.sqlite_autoindex_counted_1"));
        assert!(inventory.objects["view"]["main.seen"].starts_with("CREATE VIEW"));
    }
}

#[test]
fn every_change_to_a_restored_database_shows() {
    let (_directory, path) = awkward();
    let (bytes, captured) = capture(&path).unwrap();
    for change in [
        "update kinds set v = '' where v is null",
        "update kinds set v = 1 where typeof(v) = 'real' and v = 1",
        "update kinds set v = '1' where v = x'31'",
        "update kinds set v = 0.0 where typeof(v) = 'integer' and v = 0",
        "insert into duplicates values ('same')",
        "insert into duplicates values (null), (null)",
        "delete from duplicates where rowid = 1",
        "update pairs set a = 'Q' where b = 2",
        "update counted set id = 9 where v = 'b'",
        "update sqlite_sequence set seq = 2",
        "update generated set a = 3 where a = 2",
        "drop index \"an index\"",
        "drop trigger kept",
        "drop view seen",
        "create table added (x)",
        "alter table kinds rename to sorts",
        "alter table kinds add column w",
        "pragma user_version = 43",
        "insert into words values ('more')",
        "pragma foreign_keys = off; insert into child values (406)",
    ] {
        let (_target, back) = restored(&bytes);
        Connection::open(&back)
            .unwrap()
            .execute_batch(change)
            .unwrap();
        assert_ne!(Some(observe(&back).unwrap()), captured.proof, "{change}");
    }
    // Row numbers that are no column, and the places of pages, are not content.
    let (_target, back) = restored(&bytes);
    Connection::open(&back)
        .unwrap()
        .execute_batch("update duplicates set rowid = rowid + 100; vacuum")
        .unwrap();
    assert_eq!(Some(observe(&back).unwrap()), captured.proof);
}

#[test]
fn every_copy_of_a_database_in_use_is_whole() {
    for journal in ["wal", "delete", "truncate", "persist"] {
        let directory = tempfile::tempdir().unwrap();
        let live = LiveDatabase::start(&directory.path().join("live.db"), journal);
        for _ in 0..5 {
            live.await_commits(20);
            let (bytes, captured) = capture(&live.path).unwrap();
            let (_target, back) = restored(&bytes);
            assert_eq!(Some(observe(&back).unwrap()), captured.proof, "{journal}");
            LiveDatabase::check(&back).unwrap();
        }
        // The copies released no lock of the writers.
        let path = live.path.clone();
        drop(live);
        LiveDatabase::check(&path).unwrap();
    }
}

#[test]
fn a_path_that_is_no_database_fails_with_a_hint_and_creates_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.db");
    let fail = |code, word: &str| {
        let error = capture(&path).unwrap_err();
        assert_eq!(error.code, code, "{error}");
        assert!(
            error.hint.as_ref().is_some_and(|hint| hint.contains(word)),
            "{error:?}"
        );
    };
    fail(Code::SourceMissing, "path");
    assert!(!path.exists());
    fs::create_dir(&path).unwrap();
    fail(Code::SourceFailed, "files");
    fs::remove_dir(&path).unwrap();
    fs::write(&path, vec![0x5a; 8192]).unwrap();
    fail(Code::SourceFailed, "encrypted");
    assert_eq!(
        SqliteSource::new(SqliteConfig {
            path: "app.db".into(),
            least: Default::default(),
        })
        .unwrap_err()
        .code,
        Code::Configuration
    );

    fs::write(&path, b"").unwrap();
    let (bytes, captured) = capture(&path).unwrap();
    let (_target, back) = restored(&bytes);
    assert_eq!(Some(observe(&back).unwrap()), captured.proof);
    assert!(
        captured
            .warnings
            .iter()
            .any(|warning| warning.contains("is empty"))
    );
}

#[test]
fn a_corrupt_database_is_never_called_complete() {
    let (_directory, path) = awkward();
    Connection::open(&path)
        .unwrap()
        .execute_batch("with recursive c(x) as (select 1 union all select x + 1 from c where x < 5000) insert into duplicates select hex(randomblob(20)) from c")
        .unwrap();
    let whole = fs::read(&path).unwrap();
    let mut refused = 0;
    for page in (8..whole.len() / 4096).step_by(5) {
        let mut bytes = whole.clone();
        bytes[page * 4096..page * 4096 + 200].fill(0xee);
        fs::write(&path, &bytes).unwrap();
        match capture(&path) {
            Err(error) => {
                assert_eq!(error.code, Code::SourceFailed);
                assert!(error.hint.unwrap().contains(".recover"));
                refused += 1;
            }
            Ok(_) => panic!("page {page} is damaged and was not noticed"),
        }
        let target = tempfile::tempdir().unwrap();
        let back = target.path().join("x.db");
        assert_eq!(
            place::sqlite(&mut &bytes[..], &back).unwrap_err().code,
            Code::NotProved
        );
        assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
    }
    assert!(refused > 5);
    let target = tempfile::tempdir().unwrap();
    let cut = target.path().join("cut.db");
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(observe(&cut).unwrap_err().code, Code::NotProved);
}

#[test]
fn a_hot_journal_is_rolled_back_in_the_copy_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.db");
    let database = Connection::open(&path).unwrap();
    database
        .execute_batch("create table t (x); insert into t values ('committed');")
        .unwrap();
    // A transaction has reached the file when its process dies.
    database
        .execute_batch(
            "pragma cache_size = 1; pragma cache_spill = 1; begin;
             update t set x = 'unfinished';
             with recursive c(x) as (select 1 union all select x + 1 from c where x < 5000)
             insert into t select hex(randomblob(100)) from c;",
        )
        .unwrap();
    let crashed = directory.path().join("crashed.db");
    fs::copy(&path, &crashed).unwrap();
    fs::copy(
        companion(&path, "-journal"),
        companion(&crashed, "-journal"),
    )
    .unwrap();
    drop(database);
    let before = (
        fs::read(&crashed).unwrap(),
        fs::read(companion(&crashed, "-journal")).unwrap(),
    );
    let (bytes, captured) = capture(&crashed).unwrap();
    let after = (
        fs::read(&crashed).unwrap(),
        fs::read(companion(&crashed, "-journal")).unwrap(),
    );
    assert!(before == after, "the live database was written to");
    assert!(
        captured
            .warnings
            .iter()
            .any(|warning| warning.contains("rolled back"))
    );
    let (_target, back) = restored(&bytes);
    assert_eq!(
        query(&back, "select group_concat(x) from t").unwrap(),
        "committed"
    );
}

#[test]
fn a_log_that_was_not_checkpointed_is_in_the_copy_and_stays_beside_the_source() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.db");
    let database = Connection::open(&path).unwrap();
    database.pragma_update(None, "journal_mode", "wal").unwrap();
    database
        .execute_batch("create table t (x); insert into t values (1)")
        .unwrap();
    let crashed = directory.path().join("crashed.db");
    fs::copy(&path, &crashed).unwrap();
    fs::copy(companion(&path, "-wal"), companion(&crashed, "-wal")).unwrap();
    let log = fs::read(companion(&crashed, "-wal")).unwrap();
    let main = fs::read(&crashed).unwrap();
    let (bytes, _) = capture(&crashed).unwrap();
    assert_eq!(fs::read(&crashed).unwrap(), main);
    assert_eq!(fs::read(companion(&crashed, "-wal")).unwrap(), log);
    let (_target, back) = restored(&bytes);
    assert_eq!(query(&back, "select count(*) from t").unwrap(), "1");
}

#[test]
fn a_locked_database_is_waited_for() {
    let (_directory, path) = awkward();
    let holder = Connection::open(&path).unwrap();
    holder.execute_batch("begin exclusive").unwrap();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(1500));
        holder.execute_batch("commit").unwrap();
    });
    let started = std::time::Instant::now();
    capture(&path).unwrap();
    assert!(started.elapsed().as_millis() > 1000);
    thread.join().unwrap();
}

#[test]
fn answers_are_taken_from_the_copy_and_queries_only_read() {
    let (_directory, path) = awkward();
    let queries = [
        "select count(*) from duplicates",
        "select v from kinds where v is null",
        "delete from pairs",
        "select 1; select 2",
        "select a, b from pairs",
        "select a from pairs",
        "select 1 where 0",
        "attach 'x' as y",
        "select 1.0",
        "nonsense",
    ]
    .map(str::to_owned);
    let (bytes, captured) = capture_asking(&path, &queries).unwrap();
    let answers: Vec<_> = captured.answers.values().map(String::as_str).collect();
    assert_eq!(answers, ["1.0", "5", ""]);
    assert_eq!(captured.warnings.len(), queries.len() - 3);
    let (_target, back) = restored(&bytes);
    for sql in &queries {
        match query(&back, sql) {
            Ok(answer) => assert_eq!(captured.answers.get(sql), Some(&answer)),
            Err(error) => assert_eq!(error.code, Code::NotProved),
        }
    }
    assert_eq!(query(&back, "select count(*) from pairs").unwrap(), "2");
    assert_eq!(
        query(Path::new("/no/such.db"), "select 1")
            .unwrap_err()
            .code,
        Code::NotProved
    );
    assert!(!Path::new("/no/such.db").exists());
}

#[test]
fn placing_a_database_removes_what_an_earlier_one_left_and_refuses_to_overwrite() {
    let (_directory, path) = awkward();
    let (bytes, captured) = capture(&path).unwrap();
    let target = tempfile::tempdir().unwrap();
    let back = target.path().join("app.db");
    for ending in COMPANIONS {
        fs::write(companion(&back, ending), b"stale").unwrap();
    }
    place::sqlite(&mut &bytes[..], &back).unwrap();
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 1);
    assert_eq!(
        fs::metadata(&back).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    assert_eq!(Some(observe(&back).unwrap()), captured.proof);
    assert_eq!(
        place::sqlite(&mut &bytes[..], &back).unwrap_err().code,
        Code::Target
    );
}

#[test]
fn a_database_that_may_not_be_read_is_denied() {
    if needs_root("keep a database from another user") {
        return;
    }
    // Root may read anything; the error codes of SQLite explain what others see.
    let (_directory, path) = awkward();
    let error = sqlite::explain(
        &path,
        &rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_PERM),
            None,
        ),
    );
    assert_eq!(error.code, Code::SourceDenied);
    let source = SqliteSource::new(SqliteConfig {
        path,
        least: Default::default(),
    })
    .unwrap();
    let context = CaptureContext {
        render: &|template| Ok(template.to_owned()),
        scratch: Path::new("/"),
        scrubber: &Scrubber::default(),
        reporter: &Reporter::silent(),
        queries: &[],
    };
    let findings = source.examine("source.db", &context);
    assert_eq!(findings[0].severity, Severity::Ok, "{findings:?}");
    assert!(findings[0].message.contains("journal mode"));
}

#[test]
fn a_pipe_beside_a_database_is_not_waited_for() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let (_directory, path) = awkward();
    for ending in COMPANIONS {
        let pipe = companion(&path, ending);
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let error = capture(&path).unwrap_err();
        assert_eq!(error.code, Code::SourceFailed, "{ending}: {error}");
        assert!(error.cause.unwrap().contains("is no regular file"));
        fs::remove_file(pipe).unwrap();
    }
    capture(&path).unwrap();
}

/// A database that needs a collation and functions which only its application defines.
fn of_an_application() -> (tempfile::TempDir, PathBuf) {
    use rusqlite::functions::FunctionFlags;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.db");
    let database = Connection::open(&path).unwrap();
    let unicase = |a: &str, b: &str| a.to_lowercase().cmp(&b.to_lowercase());
    database.create_collation("unicase", unicase).unwrap();
    for name in ["title_sort", "fold"] {
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
        let lower = |context: &rusqlite::functions::Context<'_>| {
            Ok(context.get::<String>(0)?.to_lowercase())
        };
        database
            .create_scalar_function(name, 1, flags, lower)
            .unwrap();
    }
    database
        .execute_batch(
            "create table books (id integer primary key, title text not null collate unicase,
               sort text not null as (title_sort(title)) stored, v text not null as (fold(title)) virtual, check (fold(title) <> 'x'));
             create index by_title on books (title collate unicase); create index by_fold on books (fold(title));
             create unique index one on books (title);
             create trigger tr after insert on books begin select title_sort(new.title); end;
             create view seen as select title_sort(title) from books order by title collate unicase;
             create table kept (k text collate unicase primary key, v) without rowid;
             insert into kept values ('a', 1), ('B', 2), ('c', 3);
             create table plain (a integer primary key, b text); create index plain_b on plain (b);
             with recursive c(x) as (select 1 union all select x + 1 from c where x < 3000)
               insert into plain select x, hex(randomblob(20)) from c;
             with recursive c(x) as (select 1 union all select x + 1 from c where x < 3000)
               insert into books (title) select case x % 2 when 0 then 'Ä' else 'b' end || x from c;",
        )
        .unwrap();
    (directory, path)
}

#[test]
fn what_only_the_application_defines_costs_a_limit_and_no_backup() {
    let (_directory, path) = of_an_application();
    let (bytes, captured) = capture(&path).unwrap();
    let (_target, back) = restored(&bytes);
    let observed = observe(&back).unwrap();
    let captured = captured.proof.unwrap();
    let scope = crate::fingerprint::Scope::ALL;
    assert_eq!(crate::fingerprint::compare(&captured, &observed, scope), []);
    let proved = tables(&captured);
    let limits = proved.limits.join("\n");
    for text in [
        "table main.books: only the application defines fold()",
        "column main.books.v cannot be computed here",
    ] {
        assert!(limits.contains(text), "{limits}");
    }
    assert!(!limits.contains("main.plain"), "{limits}");
    assert_eq!(proved.tables["main.books"].rows, 3000);
    assert_eq!(proved.tables["main.books"].columns, ["id", "title", "sort"]);
    assert_eq!(proved.tables["main.kept"].columns, ["k", "v"]);
    // A changed row is noticed.
    let database = Connection::open(&back).unwrap();
    database.create_collation("unicase", Ord::cmp).unwrap();
    database
        .execute_batch("update kept set v = 4 where v = 3")
        .unwrap();
    drop(database);
    let changed = crate::fingerprint::compare(&captured, &observe(&back).unwrap(), scope);
    assert_eq!(changed.len(), 1, "{changed:?}");
}

#[test]
fn damage_beside_what_only_the_application_defines_is_noticed() {
    let (_directory, path) = of_an_application();
    let whole = fs::read(&path).unwrap();
    let page = |name: &str| -> i64 {
        let database = Connection::open(&path).unwrap();
        let sql = "select max(pageno) from dbstat where name = ?1";
        database.query_row(sql, [name], |row| row.get(0)).unwrap()
    };
    for name in ["books", "by_title", "by_fold", "plain", "plain_b", "kept"] {
        let mut bytes = whole.clone();
        let end = usize::try_from(page(name)).unwrap() * 4096;
        bytes[end - 4096..end - 3896].fill(0xee);
        let target = tempfile::tempdir().unwrap();
        let damaged = target.path().join("damaged.db");
        fs::write(&damaged, &bytes).unwrap();
        let error = capture(&damaged).unwrap_err();
        assert_eq!(error.code, Code::SourceFailed, "{name}: {error}");
    }
    // An index lacks a row; nothing missing here could hide it.
    let database = Connection::open(&path).unwrap();
    database
        .execute_batch("pragma writable_schema = on; delete from sqlite_schema where name = 'plain_b'; pragma writable_schema = reset;")
        .unwrap();
    database
        .execute_batch("update plain set b = 'new' where a = 7; pragma writable_schema = on")
        .unwrap();
    database
        .execute(
            "insert into sqlite_schema select 'index', 'plain_b', 'plain', ?1, 'CREATE INDEX plain_b on plain (b)'",
            [rootpage_of(&whole, "plain_b")],
        )
        .unwrap();
    drop(database);
    assert_eq!(check_whole(&path).unwrap_err().code, Code::NotProved);
}

fn rootpage_of(database: &[u8], name: &str) -> i64 {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.db");
    fs::write(&path, database).unwrap();
    let sql = "select rootpage from sqlite_schema where name = ?1";
    let database = Connection::open(&path).unwrap();
    database.query_row(sql, [name], |row| row.get(0)).unwrap()
}
