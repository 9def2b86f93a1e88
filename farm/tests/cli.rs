//! The command as a script sees it: exit codes, and what goes to standard error.

use std::process::{Command, Output};

fn farm(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_farm")).args(args).env_remove("RUST_LOG").output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn help_lists_the_exit_codes_and_every_command_has_an_example() {
    let help = farm(&["--help"]);
    assert_eq!(code(&help), 0);
    let text = String::from_utf8(help.stdout).unwrap();
    for line in ["Exit codes:", "3  the source was refused: corrupt", "6  interrupted"] {
        assert!(text.contains(line), "{text}");
    }
    for command in ["transcode", "probe", "ladder", "play", "profile"] {
        let help = farm(&[command, "--help"]);
        assert_eq!(code(&help), 0);
        assert!(String::from_utf8(help.stdout).unwrap().contains(&format!("  farm {command} ")), "{command}");
    }
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    for args in
        [&[][..], &["dance"], &["play"], &["play", "out", "--port", "70000"], &["--log-level", "=", "play", "out"]]
    {
        let output = farm(args);
        assert_eq!(code(&output), 2, "{args:?}: {}", errors(&output));
        assert!(!errors(&output).is_empty(), "{args:?}");
    }
}

#[test]
fn playing_what_is_not_there_says_how_to_make_it() {
    let output = farm(&["play", "/nowhere/at/all"]);
    assert_eq!(code(&output), 5);
    assert_eq!(
        errors(&output),
        "error[no_presentation]: /nowhere/at/all: there is no master.m3u8 in this folder\n\
         help: `farm transcode SOURCE /nowhere/at/all` makes one\n"
    );
}

#[test]
fn a_taken_port_is_a_usage_error() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("master.m3u8"), "#EXTM3U\n").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = farm(&["play", dir.path().to_str().unwrap(), "--port", &port]);
    assert_eq!(code(&output), 2);
    assert!(errors(&output).starts_with("error[listen]: 127.0.0.1:"), "{}", errors(&output));
}

#[test]
fn a_profile_that_is_shown_is_valid() {
    let shown = farm(&["profile", "show", "web"]);
    assert_eq!(code(&shown), 0);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.toml");
    std::fs::write(&file, &shown.stdout).unwrap();
    let valid = farm(&["profile", "validate", file.to_str().unwrap()]);
    assert_eq!(code(&valid), 0, "{}", errors(&valid));

    std::fs::write(&file, "name = 'mine'\ncolour = 'red'\n").unwrap();
    let wrong = farm(&["profile", "validate", file.to_str().unwrap()]);
    assert_eq!(code(&wrong), 2);
    assert!(errors(&wrong).contains("colour: there is no such key"), "{}", errors(&wrong));
    assert_eq!(code(&farm(&["profile", "show", "nonsense"])), 2);
}

#[test]
fn a_refused_source_ends_with_its_verdict_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (empty, text) = (dir.path().join("empty.mp4"), dir.path().join("text.mp4"));
    std::fs::write(&empty, "").unwrap();
    std::fs::write(&text, "this is no video\n".repeat(1000)).unwrap();
    for source in [&empty, &text] {
        let output = farm(&["probe", "--json", source.to_str().unwrap()]);
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((code(&output), &said["verdict"]), (3, &"CORRUPT".into()), "{said}");
        assert_eq!(said["error"]["exit"], 3);
        assert!(errors(&output).contains("\nhelp: "), "{}", errors(&output));
    }
    let missing = farm(&["probe", "/nowhere/clip.mp4"]);
    assert_eq!(code(&missing), 5);
    assert!(errors(&missing).starts_with("error[source]: /nowhere/clip.mp4: "), "{}", errors(&missing));
}
