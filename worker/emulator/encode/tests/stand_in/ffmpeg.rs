//! Debian's FFmpeg, a client of API 11.1 that was written for the real driver and used on it for years.

use std::path::Path;
use std::process::Command;

use crate::machine::{Machine, Run, decode, likeness};

const PICTURES: u32 = 40;
const ALIKE_DB: f64 = 35.0;

/// Encodes a video with these arguments.
pub fn encode(machine: &Machine, card: &str, faults: &str, source: &Path, arguments: &str, to: &Path) -> Run {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-nostdin", "-y", "-i"]).arg(source);
    ffmpeg.args(arguments.split_whitespace()).arg(to);
    machine.run(ffmpeg, card, faults)
}

/// Encodes with all of these settings, in both ways of a card, and says what was wrong with what came out. A setting is
/// FFmpeg's arguments and the kinds of the first pictures with constant delay.
fn wrong(format: &str, ending: &str, settings: &[(&str, &str)]) -> Vec<String> {
    let machine = Machine::new();
    let source = machine.source(PICTURES, format);
    let coded = machine.path(&format!("coded.{ending}"));
    let mut wrong = Vec::new();
    for (arguments, first) in settings {
        // Without B-frames a burst is one picture.
        let ways = if first.contains('b') { &["", "encode:burst"][..] } else { &[""] };
        for faults in ways {
            let run = encode(&machine, "l4", faults, &source, arguments, &coded);
            let mut complain = |what: String| wrong.push(format!("{arguments} [{faults}]: {what}"));
            if !run.ok || !run.ledger.is_empty() {
                complain(format!("{run:?}"));
                continue;
            }
            let ((kinds, complaints), likeness) = (decode(&coded), likeness(&coded, &source));
            if kinds.len() != PICTURES as usize {
                complain(format!("{} pictures", kinds.len()));
            }
            if !complaints.is_empty() {
                complain(complaints);
            }
            if likeness < ALIKE_DB {
                complain(format!("{likeness} dB"));
            }
            let idrs =
                |kinds: &str| kinds.chars().enumerate().filter(|(_, k)| *k == 'I').map(|(n, _)| n).collect::<Vec<_>>();
            if faults.is_empty() && !kinds.starts_with(first) {
                complain(format!("{kinds} and not {first}"));
            } else if idrs(kinds.get(..first.len()).unwrap_or_default()) != idrs(first) {
                complain(format!("{kinds}: IDRs are not where they are in {first}"));
            }
        }
    }
    wrong
}

#[test]
fn h264_comes_out_as_it_was_asked_for() {
    let wrong = wrong(
        "yuv420p",
        "mp4",
        &[
            ("-c:v h264_nvenc -preset p1 -b:v 3M", "Ippppppp"),
            ("-c:v h264_nvenc -preset p3 -b:v 3M -bf 1", "Ibpbpbpbp"),
            ("-c:v h264_nvenc -preset p4 -b:v 3M -bf 3 -g 10", "IbbbpbbbppIbbbp"),
            ("-c:v h264_nvenc -preset p7 -rc vbr -cq 24 -maxrate 4M -bf 2 -rc-lookahead 8", "Ibbpbbp"),
            ("-c:v h264_nvenc -preset p5 -rc cbr -b:v 3M -bf 3 -profile:v high -level 3.1", "Ibbbpbbbp"),
            ("-c:v h264_nvenc -preset p2 -rc constqp -qp 25 -coder cavlc -profile:v baseline", "Ippp"),
            ("-c:v h264_nvenc -preset p6 -b:v 3M -bf 3 -b_ref_mode middle", "Ibbbpbbbp"),
            ("-c:v h264_nvenc -b:v 3M -tune ull -aud 1", "Ippp"),
            ("-c:v h264_nvenc -b:v 3M -bf 2 -forced-idr 1 -force_key_frames 0.2,0.5", "IbbpbpIbbpbbpbpI"),
        ],
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn hevc_comes_out_as_it_was_asked_for() {
    let wrong = wrong(
        "nv12",
        "mp4",
        &[
            ("-c:v hevc_nvenc -preset p1 -b:v 3M", "Ippppppp"),
            ("-c:v hevc_nvenc -preset p4 -b:v 3M -bf 3 -g 20", "Ibbbpbbbp"),
            ("-c:v hevc_nvenc -preset p5 -rc constqp -qp 25 -bf 2", "Ibbpbbp"),
            ("-c:v hevc_nvenc -preset p7 -rc vbr -cq 24 -rc-lookahead 8 -level 4.1", "Ibbbpbbbp"),
        ],
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn hevc_has_ten_bits() {
    let setting = ("-pix_fmt p010le -c:v hevc_nvenc -profile:v main10 -rc constqp -qp 24 -bf 2", "Ibbpbbp");
    let wrong = wrong("yuv420p10le", "mp4", &[setting]);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_stream_without_global_headers_carries_its_own() {
    let setting = ("-c:v h264_nvenc -bf 2 -g 20 -b:v 3M", "Ibbp");
    let wrong = wrong("nv12", "ts", &[setting]);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pictures_are_read_where_they_lie_on_the_device() {
    let mut found = wrong(
        "nv12",
        "mp4",
        &[
            ("-init_hw_device cuda -vf hwupload_cuda -c:v h264_nvenc -b:v 3M -bf 3", "Ibbbp"),
            ("-init_hw_device cuda -vf hwupload_cuda -c:v hevc_nvenc -b:v 3M -bf 2", "Ibbp"),
        ],
    );
    let ten = "-init_hw_device cuda -vf format=p010le,hwupload_cuda -c:v hevc_nvenc -profile:v main10 -b:v 3M";
    found.extend(wrong("yuv420p10le", "mp4", &[(ten, "Ibbbp")]));
    assert!(found.is_empty(), "{}", found.join("\n"));
}
