//! `farm doctor`.

use std::path::Path;
use std::process::{Command, Output};

use card::Library;
use serde_json::Value;
use shared::testing::broker::old_broker;
use shared::testing::s3::S3Server;
use shared::testing::{Server, free_port};

fn doctor(args: &[&str]) -> (Output, Vec<Value>) {
    doctor_with_key("", args)
}

/// With the secret of the S3 server's user.
fn doctor_with_key(secret: &str, args: &[&str]) -> (Output, Vec<Value>) {
    doctor_in(&[("AWS_ACCESS_KEY_ID", "farm-key"), ("AWS_SECRET_ACCESS_KEY", secret)], args)
}

fn doctor_in(environment: &[(&str, &str)], args: &[&str]) -> (Output, Vec<Value>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farm"));
    command.arg("doctor").args(args).arg("--json").env_remove("RUST_LOG");
    let output = command.envs(environment.iter().copied()).output().unwrap();
    let lines = String::from_utf8(output.stdout.clone()).unwrap();
    let findings = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output, findings)
}

fn grade<'a>(findings: &'a [Value], what: &str) -> &'a str {
    let finding =
        findings.iter().find(|finding| finding["what"] == what).unwrap_or_else(|| panic!("nothing of {what}"));
    finding["grade"].as_str().unwrap()
}

#[test]
fn a_host_that_runs_these_tests_is_fit_and_its_storage_is_tried() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("place");
    let (output, findings) = doctor(&["--storage", place.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{findings:#?}");
    for what in ["cpu h264", "cpu aac", "cpu hevc", "cpu av1", "cpu opus", "cpu sources", "storage"] {
        assert_eq!(grade(&findings, what), "ok", "{findings:#?}");
    }
    for what in ["memory", "scratch space", "open files"] {
        assert_ne!(grade(&findings, what), "bad", "{findings:#?}");
    }
}

#[test]
fn what_is_missing_is_said_with_what_to_do() {
    let (output, findings) =
        doctor(&["--nats", "nats://127.0.0.1:9", "--etcd", "http://127.0.0.1:9", "--storage", "/proc/nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    for what in ["NATS", "etcd", "storage"] {
        assert_eq!(grade(&findings, what), "bad");
        let finding = findings.iter().find(|finding| finding["what"] == what).unwrap();
        assert!(!finding["advice"].as_str().unwrap().is_empty(), "{finding}");
    }
}

/// Grade, what was seen and what to do, of everything of this name, in order.
fn told(findings: &[Value], what: &str) -> Vec<[String; 3]> {
    let told = |finding: &Value| ["grade", "text", "advice"].map(|field| finding[field].as_str().unwrap().to_owned());
    findings.iter().filter(|finding| finding["what"] == what).map(told).collect()
}

fn nats(jetstream: bool) -> Option<Server> {
    let port = free_port();
    Server::start("nats-server", port, |folder| {
        let mut args = format!("-a 127.0.0.1 -p {port}");
        if jetstream {
            args += &format!(" -js -sd {}/store", folder.display());
        }
        args.split(' ').map(str::to_owned).collect()
    })
}

fn etcd() -> Option<Server> {
    let [client, peer] = [free_port(), free_port()];
    Server::start("etcd", client, |folder| {
        let places = format!(
            "--data-dir={}/data --listen-client-urls=http://127.0.0.1:{client} \
             --advertise-client-urls=http://127.0.0.1:{client} --listen-peer-urls=http://127.0.0.1:{peer} \
             --initial-advertise-peer-urls=http://127.0.0.1:{peer} --initial-cluster=default=http://127.0.0.1:{peer}",
            folder.display()
        );
        places.split_whitespace().map(str::to_owned).collect()
    })
}

#[test]
fn servers_that_are_right_are_said_to_be_and_of_others_what_is_wrong_and_what_to_do() {
    let (Some(good), Some(plain), Some(etcd)) = (nats(true), nats(false), etcd()) else { return };
    let Some(mut s3) = S3Server::start() else { return };
    let at = |scheme: &str, port: u16| format!("{scheme}://127.0.0.1:{port}");
    let brokers = [good.port(), plain.port(), old_broker("2.9.10")].map(|port| at("nats", port));
    let places = ["s3://media/farm", "s3://closed/farm", "s3://nowhere/farm"];
    let mut args = vec!["--s3-endpoint".to_owned(), at("http", s3.server().port())];
    args.extend(brokers.into_iter().flat_map(|broker| ["--nats".to_owned(), broker]));
    args.extend(["--etcd".to_owned(), at("http", etcd.port()), "--etcd".to_owned(), at("http", free_port())]);
    let on_places = places.into_iter().flat_map(|place| ["--storage".to_owned(), place.to_owned()]);
    let args: Vec<String> = args.into_iter().chain(on_places).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();

    let (output, findings) = doctor_with_key("farm-secret", &args);
    assert_eq!(output.status.code(), Some(1), "{findings:#?}");
    let expected = [
        ("NATS", "ok", "new enough", ""),
        ("NATS", "bad", "no JetStream", "-js"),
        ("NATS", "bad", "nats-server 2.9.10: run 2.10 or later", "sync_interval: always"),
        ("etcd", "ok", "takes writes", ""),
        ("etcd", "bad", "", "start etcd 3.4 or later"),
        ("storage", "ok", "writes, reads, lists, deletes", ""),
        ("storage", "bad", "s3://closed/farm", "allow these credentials to read, write, list and delete"),
        ("storage", "bad", "s3://nowhere/farm", "these credentials"), // who may not make buckets is not told which there are
    ];
    let told_all = ["NATS", "etcd", "storage"].into_iter().flat_map(|what| told(&findings, what)).collect::<Vec<_>>();
    assert_eq!(told_all.len(), expected.len(), "{findings:#?}");
    for ((what, grade, text, advice), told) in expected.into_iter().zip(told_all) {
        let right = told[0] == grade && told[1].contains(text) && told[2].contains(advice);
        assert!(right && advice.is_empty() == told[2].is_empty(), "{what}: {told:?}");
    }

    let endpoint = at("http", s3.server().port());
    let (_, findings) = doctor_with_key("guessed", &["--s3-endpoint", &endpoint, "--storage", "s3://media/farm"]);
    let [grade, text, advice] = &told(&findings, "storage")[0];
    assert!(grade == "bad" && !text.contains("guessed"), "{text}");
    assert!(advice.contains("check the credentials in the environment"), "{advice}");
}

/// On a machine with these cards and these of the driver's libraries, which are stand-ins; the cards complain of nothing.
fn doctor_with_cards(cards: &str, libraries: &[Library], environment: &[(&str, &str)]) -> (Output, Vec<Value>) {
    let driver = tempfile::tempdir().unwrap();
    card::folder(driver.path(), &card::folder::built().unwrap(), libraries).unwrap();
    let ledger = driver.path().join("ledger");
    card::settings::set(driver.path(), cards, "", &ledger).unwrap();
    let place = ("LD_LIBRARY_PATH", driver.path().to_str().unwrap());
    let told = doctor_in(&[environment, &[place]].concat(), &[]);
    assert_eq!(std::fs::read_to_string(ledger).unwrap_or_default(), "", "what the cards complain of");
    told
}

#[test]
fn of_each_gpu_it_is_said_what_it_does_and_none_is_no_fault() {
    let (output, findings) = doctor(&[]);
    assert_eq!(output.status.code(), Some(0), "{findings:#?}");
    assert!(findings.iter().any(|finding| finding["what"].as_str().unwrap().starts_with("gpu")), "{findings:#?}");

    let (output, findings) = doctor_with_cards("l4,h200", &Library::ALL, &[]);
    assert_eq!(output.status.code(), Some(0), "{findings:#?}");
    let expected = [
        ("gpu 0", "NVIDIA L4, 22.49 GiB, driver that knows CUDA"),
        ("gpu 0 decode", "h264, hevc, hevc-10, vp9, vp9-10, av1, av1-10 (4 engines)"),
        ("gpu 0 scale", "every sample as on the host"),
        ("gpu 0 encode", "h264, hevc, av1 (2 engines, 16 sessions,"),
        ("gpu 1", "NVIDIA H200"),
        ("gpu 1 decode", "h264, hevc, hevc-10, vp9, vp9-10 (7 engines); in software: av1, av1-10"),
        ("gpu 1 encode", "this kind of card has no encoder: the CPUs encode what it decodes"),
    ];
    for (what, text) in expected {
        let [grade, seen, _] = &told(&findings, what)[0];
        assert!(grade == "ok" && seen.starts_with(text), "{what}: {seen}");
    }
}

#[test]
fn a_gpu_that_cannot_be_used_is_told_with_what_to_do() {
    let without_video = [("NVIDIA_DRIVER_CAPABILITIES", "compute,utility")];
    let (output, findings) = doctor_with_cards("t4", &[Library::Cuda], &without_video);
    assert_eq!(output.status.code(), Some(0), "software does it all: {findings:#?}");
    for (what, library) in [("gpu 0 decode", "libnvcuvid.so.1"), ("gpu 0 encode", "libnvidia-encode.so.1")] {
        let [grade, seen, advice] = &told(&findings, what)[0];
        assert!(grade == "warn" && seen.starts_with(library), "{what}: {seen}");
        assert!(advice.contains("lacks `video`: set it to compute,video,utility"), "{what}: {advice}");
    }
    assert_eq!(grade(&findings, "gpu 0"), "warn");

    let (_, findings) = doctor_with_cards("none", &Library::ALL, &[]);
    let [grade, seen, advice] = &told(&findings, "gpu")[0];
    assert!(grade == "warn" && seen.contains("finds no device") && advice.contains("nvidia-smi -L"), "{findings:#?}");
}

/// Settings in a file of their own.
fn settings(folder: &Path, text: &str) -> String {
    let file = folder.join("settings.toml");
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn the_settings_of_a_program_are_tried_as_the_program_would_use_them() {
    let (Some(nats), Some(etcd)) = (nats(true), etcd()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let urls = format!("urls = [\"nats://127.0.0.1:{}\"]", nats.port());

    let scratch = folder.path().join("not/made/yet");
    let worker = format!(
        "name = \"w\"\n[nats]\n{urls}\n[worker]\nslots = 3\nscratch = {scratch:?}\n[worker.gpu]\nenabled = \"off\"\n"
    );
    let (output, findings) = doctor(&["--config", &settings(folder.path(), &worker)]);
    assert_eq!(output.status.code(), Some(0), "{findings:#?}");
    assert!(told(&findings, "settings")[0][1].ends_with("of a worker"));
    assert!(told(&findings, "memory")[0][1].ends_with("for 3 slots"), "{findings:#?}");
    assert!(told(&findings, "gpu")[0][1].contains("switched off"), "{findings:#?}");
    assert_eq!((grade(&findings, "NATS"), grade(&findings, "cpu h264")), ("ok", "ok"));
    assert!(!scratch.try_exists().unwrap(), "nothing is made");

    let work = folder.path().join("work");
    let coordinator = format!(
        "[api.places]\nwork = {work:?}\n[etcd]\nendpoints = [\"http://127.0.0.1:{}\"]\nprefix = \"/other\"\n[nats]\n{urls}\n",
        etcd.port()
    );
    let (output, findings) = doctor(&["--config", &settings(folder.path(), &coordinator)]);
    assert_eq!(output.status.code(), Some(0), "{findings:#?}");
    for (what, text) in
        [("settings", "of a coordinator"), ("etcd", "takes writes below /other"), ("storage", "deletes")]
    {
        let [grade, seen, _] = &told(&findings, what)[0];
        assert!(grade == "ok" && seen.ends_with(text), "{what}: {seen}");
    }
    assert!(told(&findings, "cpu h264").is_empty(), "a coordinator has no codecs");

    for (wrong, words) in [
        ("nme = \"w\"\n", "unknown field `nme`"),
        ("[api]\nprofile_dir = \"/nowhere\"\n", "api.places.work"),
        ("name = \"w\"\n[nats]\nurls = [\"nats://me:hush@127.0.0.1:4222\"]\n", "no login belongs there"),
    ] {
        let (output, findings) = doctor(&["--config", &settings(folder.path(), wrong)]);
        assert_eq!(output.status.code(), Some(1), "{findings:#?}");
        let [grade, seen, _] = &told(&findings, "settings")[0];
        assert!(grade == "bad" && seen.contains(words), "{seen}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("hush"), "a login is shown");
    }
}
