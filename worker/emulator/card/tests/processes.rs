//! What several processes share: the ledger, and the sessions of a system.

use std::env;
use std::fs;
use std::io::{Read, stdin};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use card::{Session, variable, violation};

/// Runs one of the ignored tests as a child with a variable set; its standard input is held open.
fn child(test: &str, name: &str, value: &Path) -> Child {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "--nocapture", test]).env(name, value);
    child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_session_that_another_process_has_is_taken_until_it_dies() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = child("holds_one", variable::SESSIONS, folder.path());
    let mut said = [0; 4];
    while &said != b"sat!" {
        said.rotate_left(1);
        first.stdout.as_mut().unwrap().read_exact(&mut said[3..]).unwrap();
    }
    let second = child("holds_one", variable::SESSIONS, folder.path()).wait_with_output().unwrap();
    assert!(!second.status.success(), "the one session is taken");
    first.kill().unwrap();
    first.wait().unwrap();
    let third = child("holds_one", variable::SESSIONS, folder.path()).wait_with_output().unwrap();
    assert!(third.status.success(), "the one session is free again");
}

#[test]
#[ignore = "run as a child"]
fn holds_one() {
    let _session = Session::take(1).unwrap();
    println!("sat!");
    // Until the parent closes it, or ends this.
    stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn lines_of_many_writers_never_mix() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger");
    let writers = [(); 3].map(|()| child("writes", variable::VIOLATIONS, &ledger));
    for writer in writers {
        assert!(writer.wait_with_output().unwrap().status.success());
    }
    let lines = fs::read_to_string(&ledger).unwrap();
    let line = format!("cuInit: {}", "x".repeat(300));
    assert_eq!(lines.lines().filter(|written| *written == line).count(), 3 * 4 * 100);
    assert_eq!(lines.lines().count(), 3 * 4 * 100);
}

#[test]
fn a_ledger_that_can_not_be_written_ends_the_process_at_the_first_call() {
    let folder = tempfile::tempdir().unwrap();
    let asked = child("asks", variable::VIOLATIONS, folder.path()).wait_with_output().unwrap();
    assert_eq!(asked.status.signal(), Some(6), "a folder is no ledger");
    let asked = child("asks", variable::VIOLATIONS, &folder.path().join("ledger")).wait_with_output().unwrap();
    assert!(asked.status.success());
}

#[test]
#[ignore = "run as a child"]
fn asks() {
    assert_eq!(card::cards()[0].name, "NVIDIA L4");
}

#[test]
#[ignore = "run as a child"]
fn writes() {
    let write = || (0..100).for_each(|_| violation!("cuInit", "{}", "x".repeat(300)));
    thread::scope(|scope| (0..4).for_each(|_| _ = scope.spawn(write)));
}
