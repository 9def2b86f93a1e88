//! The command as a script sees it: exit codes, and what goes to standard error.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn farm(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_farm")).args(args).env_remove("RUST_LOG").output().unwrap()
}

fn clip(name: &str) -> String {
    format!("{}/tests/media/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The last line of standard output.
fn last_word(output: &Output) -> Value {
    let text = str::from_utf8(&output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap_or_else(|| panic!("nothing said: {}", errors(output)))).unwrap()
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(root).unwrap().to_path_buf());
            }
        }
    }
    found.sort();
    found
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
    for command in ["transcode", "probe", "ladder", "play", "profile", "capacity"] {
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
    for (args, what) in [
        (&["dance"][..], "dance"),
        (&["transcode", "a.mp4", "out", "--slots", "0"], "1..=1024"),
        (&["transcode", "a.mp4"], "<OUT>"),
    ] {
        let said = errors(&farm(args));
        assert!(said.starts_with("error[usage]: ") && said.contains(what) && said.contains("\nhelp: "), "{said}");
    }
    let said = errors(&farm(&["ladder", &clip("hevc_bframes.mp4"), "--rungs", "999"]));
    assert!(said.starts_with("error[recipe]: ") && said.ends_with("\nhelp: see `farm profile show web`\n"), "{said}");
}

#[test]
fn whoever_stops_reading_ends_nothing_and_a_full_disk_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (clip("hevc_bframes.mp4"), dir.path().join("out").display().to_string());
    let commands = [
        &["probe", &source][..],
        &["ladder", &source],
        &["profile", "list"],
        &["profile", "show", "web"],
        &["transcode", &source, &out, "--preset", "ultrafast"],
    ];
    for args in commands {
        let run = |stdout: Stdio, stderr: Stdio| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_farm"));
            command.args(args).env_remove("RUST_LOG").stdout(stdout).stderr(stderr).output().unwrap()
        };
        let closed = || Stdio::from(std::io::pipe().unwrap().1);
        assert_eq!(code(&run(closed(), closed())), 0, "{args:?}");
        let full = std::fs::File::create("/dev/full").unwrap();
        let output = run(full.into(), Stdio::piped());
        assert_eq!(code(&output), 5, "{args:?}");
        assert!(errors(&output).contains("error[stdout]: standard output: "), "{args:?}: {}", errors(&output));
    }
}

#[test]
fn an_output_that_can_not_be_one_is_refused_before_anything_is_made() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let (source, file) = (clip("hevc_bframes.mp4"), dir.path().join("file"));
    std::fs::write(&file, "mine").unwrap();
    let odd = dir.path().join(std::ffi::OsStr::from_bytes(b"odd\xff"));
    for (out, what) in [(&file, "is a file and not a folder"), (&file.join("out"), "Not a directory"), (&odd, "UTF-8")]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farm"));
        let output = command.arg("transcode").arg(&source).arg(out).output().unwrap();
        let said = errors(&output);
        assert_eq!(code(&output), 5, "{said}");
        assert!(said.starts_with("error[output]: ") && said.contains(what), "{said}");
        assert_eq!(files(dir.path()), [Path::new("file")], "{}", out.display());
        assert!(!odd.try_exists().unwrap());
    }
}

#[test]
fn every_character_of_a_name_arrives() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("-a b%20#?&=+'\"<>\u{fc}\n.mp4");
    std::fs::copy(clip("hevc_bframes.mp4"), &source).unwrap();
    let out = dir.path().join("out %41#1?x:y");
    let mut command = Command::new(env!("CARGO_BIN_EXE_farm"));
    let output = command.arg("transcode").arg(&source).arg(&out).args(["--preset", "ultrafast"]).output().unwrap();
    assert_eq!(code(&output), 0, "{}", errors(&output));
    assert!(out.join("presentation.json").try_exists().unwrap());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn a_source_that_goes_away_is_missing_and_not_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("a.mp4"), dir.path().join("out"));
    std::fs::copy(clip("bunny_720p25.mp4"), &source).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_farm"));
    command.arg("transcode").arg(&source).arg(&out).args(["--json", "--slots", "1", "--segment", "2s"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.contains(r#""event":"source""#)).unwrap();
    std::fs::remove_file(&source).unwrap();
    let last: Value = serde_json::from_str(&lines.last().unwrap()).unwrap();
    assert_eq!((child.wait().unwrap().code(), &last["code"]), (Some(5), &"source_missing".into()), "{last}");
    assert!(!out.try_exists().unwrap(), "{last}");
}

/// Where this system lets a test mount something.
#[test]
fn a_full_disk_stops_the_run_and_keeps_what_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=2m tmpfs "$1" || exit 99
        "$2" transcode "$3" "$1/out" --json --segment 2s; echo $?
        mount -o remount,size=64m "$1" && "$2" transcode "$3" "$1/out" --json --segment 2s; echo $?"#;
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", script, "sh"]).arg(dir.path());
    let output = command.args([env!("CARGO_BIN_EXE_farm"), &clip("bunny_720p25.mp4")]).output().unwrap();
    if !output.status.success() {
        eprintln!("SKIPPED a_full_disk_stops_the_run_and_keeps_what_is_finished: {}", errors(&output));
        return;
    }
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let first = lines.iter().position(Value::is_number).unwrap();
    let (failed, status) = (&lines[first - 1], &lines[first]);
    let kept = ["store_full", "publish_failed", "state"].contains(&failed["code"].as_str().unwrap());
    assert!(kept && *status == 5 && failed["help"].as_str().unwrap().contains("continues"), "{failed}");
    assert_eq!((&lines[first + 1]["continued"], lines.last().unwrap()), (&true.into(), &0.into()), "{said}");
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
    let empty = dir.path().join("empty.mp4");
    std::fs::write(&empty, "").unwrap();
    let refused = [
        (empty.display().to_string(), 3, "CORRUPT"),
        (clip("refused_text.mp4"), 3, "CORRUPT"),
        (clip("refused_no_moov.mp4"), 3, "CORRUPT"),
        (clip("refused_vvc.mp4"), 4, "UNSUPPORTED"),
    ];
    let out = dir.path().join("made/for/it");
    for (source, exit, verdict) in refused {
        let output = farm(&["probe", "--json", &source]);
        let said = last_word(&output);
        assert_eq!((code(&output), &said["verdict"], &said["error"]["exit"]), (exit, &verdict.into(), &exit.into()));

        let output = farm(&["transcode", &source, out.to_str().unwrap(), "--json"]);
        let said = last_word(&output);
        assert_eq!(
            (code(&output), &said["event"], &said["verdict"]),
            (exit, &"failed".into(), &verdict.into()),
            "{said}"
        );
        assert!(errors(&output).starts_with("error[") && errors(&output).contains("\nhelp: "), "{}", errors(&output));
        assert!(!dir.path().join("made").try_exists().unwrap(), "{source} left something");
    }
    let missing = farm(&["probe", "/nowhere/clip.mp4"]);
    assert_eq!(code(&missing), 5);
    assert!(errors(&missing).starts_with("error[source]: /nowhere/clip.mp4: "), "{}", errors(&missing));
}

#[test]
fn what_is_made_is_recognised_and_only_ours_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (clip("hevc_bframes.mp4"), dir.path().to_str().unwrap());
    std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    let transcode =
        |more: &[&str]| farm(&[&["transcode", &source, out, "--json", "--preset", "ultrafast"], more].concat());

    let made = transcode(&[]);
    assert_eq!(code(&made), 0, "{}", errors(&made));
    assert_eq!(last_word(&made)["event"], "done");
    assert!(!dir.path().join(".farm").try_exists().unwrap());
    let first = files(dir.path());

    let again = transcode(&[]);
    assert_eq!((code(&again), &last_word(&again)["already_made"]), (0, &true.into()));

    let other = transcode(&["--segment", "2s"]);
    assert_eq!((code(&other), &last_word(&other)["code"]), (5, &"output_differs".into()));
    assert!(errors(&other).contains("--fresh"), "{}", errors(&other));
    assert_eq!(files(dir.path()), first);

    let fresh = transcode(&["--rungs", "360", "--fresh"]);
    assert_eq!(code(&fresh), 0, "{}", errors(&fresh));
    let second = files(dir.path());
    assert!(second.contains(&"notes.txt".into()) && second.contains(&"360p/playlist.m3u8".into()), "{second:?}");
    assert!(!second.iter().any(|file| file.starts_with("720p")), "{second:?}");
}

#[test]
fn an_interrupted_run_keeps_what_is_finished_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (clip("bunny_720p25.mp4"), dir.path().join("out"));
    let command = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farm"));
        command.args([
            "transcode",
            &source,
            out.to_str().unwrap(),
            "--json",
            "--slots",
            "1",
            "--segment",
            "2s",
            "--rungs",
            "360",
        ]);
        command.env_remove("RUST_LOG").stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let mut first = command().spawn().unwrap();
    let mut lines = BufReader::new(first.stdout.take().unwrap()).lines();
    lines.find(|line| line.as_ref().unwrap().contains(r#""event":"rendition""#)).unwrap().unwrap();
    let second = command().output().unwrap();
    assert_eq!((code(&second), &last_word(&second)["code"]), (5, &"output_busy".into()), "two farms in one folder");
    let interrupt = Command::new("kill").args(["-INT", &first.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    let last: Value = serde_json::from_str(&lines.map(Result::unwrap).last().unwrap()).unwrap();
    assert_eq!((first.wait().unwrap().code(), &last["code"]), (Some(6), &"interrupted".into()), "{last}");
    assert!(out.join(".farm/state.redb").try_exists().unwrap());

    let rest = command().output().unwrap();
    assert_eq!(code(&rest), 0, "{}", errors(&rest));
    let said = str::from_utf8(&rest.stdout).unwrap();
    assert!(said.lines().next().unwrap().contains(r#""continued":true"#), "{said}");
    assert!(last_word(&rest)["duration_seconds"].as_f64().unwrap() >= 14.0);
}

#[test]
fn a_probe_that_is_stopped_leaves_nothing() {
    let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = dir.path().join("long.ts");
    std::fs::write(&source, std::fs::read(clip("start_131s.ts")).unwrap().repeat(200)).unwrap();
    for signal in ["-TERM", "-INT"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farm"));
        command.arg("probe").arg(&source).env("TMPDIR", scratch.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        while std::fs::read_dir(scratch.path()).unwrap().next().is_none() {
            assert!(child.try_wait().unwrap().is_none(), "it has ended");
        }
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(6), "{signal}");
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "{signal}");
    }
}

#[test]
fn capacity_is_told_with_where_its_figures_come_from() {
    let asked = ["capacity", "14400", "--source", "1920x1080@25", "--node-price", "0.5"];
    let text = String::from_utf8(farm(&asked).stdout).unwrap();
    assert!(text.contains("1080p 720p 480p 360p, h264 veryfast") && text.contains("benches/RESULTS.md"), "{text}");
    let answer = last_word(&farm(&[&asked[..], &["--json"]].concat()));
    assert_eq!(answer["speed"]["origin"]["kind"], "measured", "{answer}");
    assert!((answer["plan"]["units_average"].as_f64().unwrap() - 9.2).abs() < 0.1, "{answer}");
    let answer = last_word(&farm(&["capacity", "14400", "--gpu", "l4", "--json"]));
    assert_eq!((&answer["speed"]["origin"]["kind"], &answer["nodes"]["units"]), (&"published".into(), &1.into()));
    let refused = farm(&["capacity", "100", "--profile", "hevc"]);
    assert_eq!(code(&refused), 2);
    let said = errors(&refused);
    assert!(said.contains("error[speed_unknown]") && said.contains("hevc with the preset"), "{said}");
    assert!(
        ["farm transcode", "divided by the cores", "--speed", "--server"].iter().all(|word| said.contains(word)),
        "{said}"
    );
    let given = last_word(&farm(&["capacity", "100", "--profile", "hevc", "--speed", "0.5", "--json"]));
    assert_eq!(given["speed"]["origin"]["kind"], "given", "{given}");
}
