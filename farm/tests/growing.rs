//! `--growing`: a source that is still being written.

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

#[allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
mod support;

use support::probe::{self, Frames};
use support::{clip, folder, run, transcode_command};

/// How long the first segments may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
#[expect(clippy::disallowed_methods, reason = "segments appear in a folder")]
fn chunks_are_encoded_while_the_source_is_still_being_written() {
    let folder = folder();
    let (whole, growing, out) =
        (folder.path().join("whole.ts"), folder.path().join("growing.ts"), folder.path().join("out"));
    let mut loops = Command::new("ffmpeg");
    loops.args(["-nostdin", "-v", "error", "-stream_loop", "3", "-i"]).arg(clip("bunny_720p25.mp4"));
    run(loops.args(["-c", "copy"]).arg(&whole));
    let bytes = fs::read(&whole).unwrap();
    let (first, rest) = bytes.split_at(bytes.len() * 4 / 5);
    let mut rest = rest.chunks(1000);

    let mut writing = File::create(&growing).unwrap();
    writing.write_all(first).unwrap();
    let options = ["--growing", "4s", "--rungs", "360", "--json"];
    let mut farm = transcode_command(&growing, &out, &options).spawn().unwrap();
    let began = Instant::now();
    while !fs::read_dir(out.join("360p")).is_ok_and(|mut found| found.next().is_some()) {
        assert!(began.elapsed() < PATIENCE, "no segment is made");
        std::thread::sleep(Duration::from_millis(100));
        writing.write_all(rest.next().expect("segments should come before the end of the source")).unwrap();
        assert!(farm.try_wait().unwrap().is_none(), "the farm did not wait for the rest");
    }
    rest.for_each(|piece| writing.write_all(piece).unwrap());
    drop(writing);
    assert!(farm.wait().unwrap().success());
    let (made, expected) = (Frames::of(&out.join("master.m3u8"), "v:0"), Frames::of(&whole, "v:0"));
    assert_eq!(made.times.len(), expected.times.len());
    probe::assert_decodes(&out.join("master.m3u8"));
}
