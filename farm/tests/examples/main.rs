//! Every line of `proto/EXAMPLES.md` works against `farm serve`.

mod client;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use client::Curl;

/// What a line of the page asks for.
struct Line {
    body: String,
    method: String,
    limit: Duration,
}

fn lines(page: &str) -> Vec<Line> {
    let lines = page.lines().filter(|line| line.starts_with("grpcurl "));
    let parsed = lines.map(|line| {
        let (options, rest) = line.split_once("-d '").unwrap();
        let (body, rest) = rest.split_once("' ").unwrap();
        let (server, method) = rest.split_once(' ').unwrap();
        assert_eq!(server, "localhost:7600", "{line}");
        let limit = options.split_once("-max-time ").map_or(120, |(_, number)| number.trim().parse().unwrap());
        Line { body: body.to_owned(), method: method.to_owned(), limit: Duration::from_secs(limit) }
    });
    parsed.collect()
}

#[tokio::test]
async fn the_page_of_examples_is_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("../proto/EXAMPLES.md")).unwrap();
    let clip = root.join("tests/media/edit_list.mp4");
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_farm"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder.path());
    let mut served = command.env_remove("RUST_LOG").stdout(Stdio::piped()).spawn().unwrap();
    let first = BufReader::new(served.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    let mut curl = Curl::connect(first.split_whitespace().nth(1).unwrap()).await;
    let mut id = "ID".to_owned();
    let mut seen = 0;
    for Line { body, method, limit } in lines(&page) {
        let body = body.replace("/srv/in/film.mov", clip.to_str().unwrap()).replace("\"ID\"", &format!("{id:?}"));
        let answers = curl.call(&method, &body, limit).await.unwrap_or_else(|error| panic!("{method} {body}: {error}"));
        assert!(!answers.is_empty(), "{method} answers");
        if method.ends_with("CreateJob") {
            id = answers[0]["id"].as_str().unwrap().to_owned();
        }
        if method.ends_with("WatchJob") {
            assert_eq!(answers.last().unwrap()["state"], serde_json::Value::Null);
            assert_eq!(answers.last().unwrap()["job"]["state"], "JOB_STATE_SUCCEEDED");
        }
        seen += 1;
    }
    served.kill().unwrap();
    served.wait().unwrap();
    assert_eq!(seen, 17);
}
