//! What commands receive on another host, and how they end.

use super::{through, transport, until};
use lifeboat_core::secret::Secret;
use lifeboat_core::transport::ssh::Sessions;
use lifeboat_core::transport::{Command, Login, Transport};
use lifeboat_core::{Code, Error};
use lifeboat_testkit::ssh::SshServer;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;

fn sh(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

fn output(transport: &Transport, command: &Command) -> (i32, String, String) {
    let output = transport.output(command).unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().unwrap(), stdout, output.stderr)
}

/// Two servers: in one, `sh` is Debian's `dash`; in the other it is `bash`, as elsewhere.
fn servers() -> [SshServer; 2] {
    // Its directory for files is made before anybody logs in, so that the link can be placed there.
    let with_bash = SshServer::start_with(&["SetEnv PATH=%D/files:/usr/bin:/bin"]);
    std::os::unix::fs::symlink("/bin/bash", with_bash.sftp_root().join("sh")).unwrap();
    [SshServer::start(), with_bash]
}

#[test]
fn words_variables_and_secrets_arrive_as_they_are_and_in_no_argument_vector() {
    servers().iter().for_each(words_arrive);
}

fn words_arrive(server: &SshServer) {
    let _sessions = Sessions::hold();
    let ssh = transport(server);
    let hard: [&[u8]; 9] = [
        b"",
        b"two words",
        b"it's \"quoted\" `id` $(id) $HOME !! \\n \\",
        b"-n",
        b"line\nbreak\n\n",
        b"tab\tand\rreturn",
        b"\xff\xfe\x81\x88 no UTF-8",
        "näme ∀".as_bytes(),
        b"*; exit 3 # & | < > ~",
    ];
    let words = hard.map(OsStr::from_bytes);
    let print = Command::new("printf").arg("%s\\0").args(words);
    let printed = ssh.output(&print).unwrap();
    let expected: Vec<u8> = hard.iter().flat_map(|w| [*w, b"\0"].concat()).collect();
    assert_eq!(printed.stdout, expected, "{}", printed.stderr);

    for value in hard.iter().filter(|value| !value.is_empty()) {
        let secret = Secret::new(value.to_vec());
        for command in [sh("printf %s \"$P\""), sh("printf %s \"$P\"").clean_env()] {
            let output = ssh.output(&command.secret_env("P", &secret)).unwrap();
            assert_eq!(output.stdout, *value, "{}", output.stderr);
        }
    }
    let secret = Secret::new(b"orchid-of-commands".to_vec());
    let look = "cat /proc/*/cmdline 2>/dev/null | tr '\\0' ' '; echo $P >&2";
    let (code, seen, said) = output(&ssh, &sh(look).secret_env("P", &secret));
    assert!(seen.contains("cat /proc/"), "{seen}");
    assert!(
        !seen.contains("orchid-of-commands"),
        "the secret is in an argument vector"
    );
    assert_eq!((code, said.as_str()), (0, "***"));

    let zero = ssh.output(&Command::new("true").arg("a\0b")).unwrap_err();
    assert_eq!(zero.code, Code::Configuration);
    let name = ssh
        .output(&Command::new("true").env("A;B", "c"))
        .unwrap_err();
    assert_eq!(name.code, Code::Configuration);
    assert_eq!(server.logins(), 1, "{}", server.log());
}

#[test]
fn the_environment_and_the_directory_are_what_was_asked() {
    let server = SshServer::start_with(&["SetEnv STRAY=stray"]);
    let _sessions = Sessions::hold();
    let ssh = transport(&server);
    let show = sh("echo ${STRAY-none} ${OWN-none} ${HOME+home} $(pwd)").env("OWN", "own");
    let show = show.directory("/usr/bin");
    assert_eq!(output(&ssh, &show).1, "stray own home /usr/bin\n");
    assert_eq!(
        output(&ssh, &show.clean_env()).1,
        "none own home /usr/bin\n"
    );
    let nowhere = sh("true").directory("/nowhere");
    assert_eq!(output(&ssh, &nowhere).0, 126);
}

#[test]
fn an_exit_status_arrives_as_it_was() {
    servers().iter().for_each(ends_are_told);
}

fn ends_are_told(server: &SshServer) {
    let _sessions = Sessions::hold();
    let ssh = transport(server);
    for code in [0, 1, 127, 255] {
        let command = sh(&format!("echo out; echo bad >&2; exit {code}"));
        let told = (code, "out\n".to_owned(), "bad".to_owned());
        assert_eq!(output(&ssh, &command), told);
        assert_eq!(output(&ssh, &command.stdin_piped()), told);
    }
    let unfinished = sh("printf 'no line end' >&2; kill -9 $$");
    let (code, _, said) = output(&ssh, &unfinished);
    assert_eq!(code, 137);
    assert!(said.starts_with("no line end"), "{said}");
    for missing in ["pg_dump-of-nowhere", "/nowhere/pg_dump"] {
        let error = ssh.output(&Command::new(missing)).unwrap_err();
        assert_eq!(error.code, Code::ToolMissing, "{error:?}");
        assert!(error.message.contains(server.user()), "{error:?}");
    }
    let error = ssh.output(&Command::new("/nowhere/pg_dump")).unwrap_err();
    assert!(error.hint.unwrap().contains("postgresql-client"));
}

#[test]
fn an_input_is_passed_on_and_comes_back() {
    let server = SshServer::start();
    let _sessions = Sessions::hold();
    let ssh = transport(&server);
    let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut running = ssh.spawn(&Command::new("cat").stdin_piped()).unwrap();
    let mut stdout = running.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut back = Vec::new();
        stdout.read_to_end(&mut back).map(|_| back)
    });
    let (status, said) = running.feed(&mut bytes.as_slice()).unwrap();
    assert!(status.success(), "{said}");
    assert_eq!(reader.join().unwrap().unwrap(), bytes);
}

/// Output of the login shell itself is not part of the command's output.
#[test]
fn a_talkative_login_shell_is_not_heard() {
    let greet =
        "ForceCommand echo welcome; echo warning >&2; printf %9999s x; eval $SSH_ORIGINAL_COMMAND";
    let server = SshServer::start_with(&[greet]);
    let _sessions = Sessions::hold();
    let ssh = transport(&server);
    let told = (3, "out\n".to_owned(), "bad".to_owned());
    let command = sh("echo out; echo bad >&2; exit 3");
    assert_eq!(output(&ssh, &command), told);
    assert_eq!(output(&ssh, &command.clean_env()), told);
}

/// A command that prints the process ids of itself and of a child, and then nothing more.
const SILENT: &str = "sleep 300 & echo $$ $!; wait";

fn begun(transport: &Transport) -> (lifeboat_core::transport::Running, Vec<String>) {
    let mut running = transport.spawn(&sh(SILENT)).unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(running.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    running.stdout = Some(stdout.into_inner());
    let pids: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    assert_eq!(pids.len(), 2, "{line}");
    (running, pids)
}

fn gone(pids: &[String]) -> bool {
    let alive = |pid: &String| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
    };
    !pids.iter().any(alive)
}

#[test]
fn a_dropped_command_ends_there_with_what_it_started() {
    for server in servers() {
        let _sessions = Sessions::hold();
        let (running, pids) = begun(&transport(&server));
        assert!(!gone(&pids));
        drop(running);
        until("the commands end", || gone(&pids));
    }
}

#[test]
fn a_cut_connection_is_an_error_ends_the_command_and_the_next_connects_again() {
    let server = SshServer::start();
    let _sessions = Sessions::hold();
    let ssh = transport(&server);
    let (running, pids) = begun(&ssh);
    server.kill_connections();
    let error: Error = running.wait().unwrap_err();
    assert_eq!(error.code, Code::SourceFailed, "{error:?}");
    assert!(error.message.contains("ended before"), "{error:?}");
    until("the commands end", || gone(&pids));
    // A second command that begins at once, even if the loss was not noticed yet.
    assert_eq!(output(&ssh, &sh("echo again")).1, "again\n");
}

/// Lost packets look like this: nothing reports that the connection is gone.
#[test]
fn a_connection_that_falls_silent_is_given_up() {
    let server = SshServer::start();
    let _sessions = Sessions::hold();
    let impatient = Login {
        config: Some(server.config_path()),
        ask_after_seconds: Some(1),
        ..Login::default()
    };
    let (running, pids) = begun(&through(&server, impatient));
    server.freeze_connections();
    let begun = std::time::Instant::now();
    let error: Error = running.wait().unwrap_err();
    assert_eq!(error.code, Code::SourceFailed, "{error:?}");
    // Three questions, with pauses.
    assert!(begun.elapsed().as_secs() >= 2, "{:?}", begun.elapsed());
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    server.thaw_connections();
    until("the commands end", || gone(&pids));
}

/// An output that ended is not whole if the command's exit status did not arrive.
#[test]
fn an_output_that_ends_with_the_connection_is_not_whole() {
    let server = SshServer::start();
    let _sessions = Sessions::hold();
    let mut running = transport(&server)
        .spawn(&sh("yes | head -c 100000; exec sleep 300"))
        .unwrap();
    let mut stdout = running.stdout.take().unwrap();
    let mut bytes = vec![0; 100_000];
    stdout.read_exact(&mut bytes).unwrap();
    server.kill_connections();
    assert_eq!(stdout.read_to_end(&mut bytes).unwrap(), 0);
    assert!(running.wait().is_err());
}

#[test]
fn more_commands_than_a_connection_carries_use_another() {
    let server = SshServer::start_with(&["MaxSessions 1"]);
    let _sessions = Sessions::hold();
    let ssh = transport(&server);
    let (_running, _) = begun(&ssh);
    assert_eq!(output(&ssh, &sh("echo beside")).1, "beside\n");
}

#[test]
fn a_connection_ends_with_its_last_holder() {
    let server = SshServer::start();
    let outer = Sessions::hold();
    drop(Sessions::hold());
    assert_eq!(output(&transport(&server), &sh("echo here")).1, "here\n");
    assert!(!server.connections().is_empty());
    drop(outer);
    until("the connection ends", || server.connections().is_empty());
}
