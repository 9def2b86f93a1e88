//! What the slots of these tests run: the real child with media code that misbehaves as the job's name says.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::exit;
use std::time::{Duration, Instant};

use rustix::net::{SendFlags, send};
use rustix::process::{Signal, getpid, kill_process};
use shared::cmaf::DecoderConfig;
use shared::error::TaskError;
use shared::family::Family;
use shared::source::Verdict;
use shared::task::{
    AudioReceipt, IndexReceipt, IndexReport, Progress, Receipt, SegmentInfo, Spent, StoredObject, StoryboardReceipt,
    Task, TrackPart, Work,
};
use shared::time::MediaTime;
use worker::task::{Area, Emission, Emit, Inputs};

/// The last argument of a test program that is to be a slot.
pub const AS_SLOT: &str = "as-slot";

/// Becomes a slot; does not return.
pub fn become_slot() -> ! {
    match worker::child::serve(execute) {
        Ok(()) => exit(0),
        Err(error) => {
            eprintln!("slot: {error}");
            exit(1)
        }
    }
}

fn execute(task: &Task, inputs: &Inputs, emit: &mut Emit<'_>) -> Result<Receipt, TaskError> {
    let advance = |frames, emit: &mut Emit<'_>| emit(Emission::Progress(Progress { done_ms: 40 * frames, frames }));
    advance(1, emit)?;
    match task.id.job.as_str() {
        "fine" => spin(Duration::from_millis(5)),
        "abort" => {
            eprintln!("assertion of a C library");
            std::process::abort()
        }
        "exit" => exit(3),
        "panic" => panic!("no frame can be that large"),
        "killed" => kill_process(getpid(), Signal::KILL).expect("a process may kill itself"),
        "greedy" => drop(std::hint::black_box(vec![1u8; 64 << 30])),
        "busy" => spin(Duration::MAX),
        "hang" => loop {
            std::thread::park()
        },
        "still" => loop {
            advance(1, emit)?
        },
        "endless" => {
            for frames in 2.. {
                advance(frames, emit)?
            }
        }
        "garbage" => send_raw(b"\x04\0\0\0\xff\xff\xff\xff"),
        "huge" => send_raw(&u32::MAX.to_le_bytes()),
        "escape" => store(emit, Area::Target, "../outside", b"x")?,
        "liar" => return Ok(sheets(vec![StoredObject::of("sheet.jpg", b"never stored")])),
        "stranger" => return Err(TaskError::cancelled()),
        "broken" => return Err(TaskError::input("no_frames", "nothing decodes")),
        "patient" => wait_until_it_grows(inputs.objects.source()?),
        "look" => store(emit, Area::Work, "seen.txt", look().as_bytes())?,
        "read" => return read_all(task, inputs, emit),
        other => return Err(TaskError::bug(format!("{other} is not in the play"))),
    }
    store(emit, Area::Target, "a/1.m4s", b"segment")?;
    let pid = getpid().as_raw_nonzero().get().unsigned_abs(); // lets a test see which process it was
    if let Work::Storyboard(_) = task.work {
        let sheet = StoredObject::of(pid.to_string(), b"sheet");
        store(emit, Area::Target, &sheet.key, b"sheet")?;
        return Ok(sheets(vec![sheet]));
    }
    emit(Emission::Index(IndexReport::Audio { stream: 1, runs: vec![] }))?;
    for frames in 2..100 {
        advance(frames, emit)?;
    }
    Ok(Receipt::Index(IndexReceipt {
        verdict: Verdict::Standard,
        findings: vec![],
        bytes: u64::from(pid),
        spent: Spent::default(),
    }))
}

fn store(emit: &mut Emit<'_>, area: Area, key: &str, bytes: &[u8]) -> Result<(), TaskError> {
    emit(Emission::Object { area, key: key.into(), bytes: bytes.into() })
}

fn sheets(sheets: Vec<StoredObject>) -> Receipt {
    Receipt::Storyboard(StoryboardReceipt { sheets, spent: Spent::default() })
}

fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop()
    }
}

fn send_raw(bytes: &[u8]) {
    let stdin = io::stdin();
    send(stdin.as_fd(), bytes, SendFlags::empty()).expect("the worker should listen");
    loop {
        std::thread::park()
    }
}

fn wait_until_it_grows(file: &File) {
    while file.metadata().expect("an open file has a size").len() == 0 {
        std::thread::yield_now()
    }
}

/// Every packet of every list and every tile, one after another, as one object.
fn read_all(task: &Task, inputs: &Inputs, emit: &mut Emit<'_>) -> Result<Receipt, TaskError> {
    let mut bytes = Vec::new();
    for packet in inputs.lists.iter().flat_map(|list| &list.packets) {
        bytes.extend(inputs.objects.read(packet)?);
    }
    for mut tile in &inputs.tiles {
        tile.read_to_end(&mut bytes).map_err(|error| TaskError::bug(error.to_string()))?;
    }
    let object = StoredObject::of("all.bin", &bytes);
    emit(Emission::Object { area: Area::Target, key: object.key.clone(), bytes })?;
    Ok(match &task.work {
        Work::Audio(work) => Receipt::Audio(AudioReceipt {
            part: TrackPart {
                rendition: work.rendition.name.clone(),
                timescale: work.stream.timescale,
                config: DecoderConfig::Aac(vec![0x11, 0x90]),
                segments: vec![SegmentInfo {
                    number: 0,
                    start: 0,
                    duration: 1,
                    samples: 1,
                    first_sample_end: 1,
                    object,
                }],
                encoder: "none".into(),
                family: Family::Software,
                making: Default::default(),
            },
            samples: 1,
            start: MediaTime::new(0, work.stream.timescale),
            priming: 0,
            filled: 0,
            dropped: 0,
            decode_errors: 0,
            spent: Spent::default(),
        }),
        _ => sheets(vec![object]),
    })
}

/// What this process can see of the world.
fn look() -> String {
    let mut seen = String::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let fd = entry.unwrap().file_name().into_string().unwrap();
        match std::fs::read_link(format!("/proc/self/fd/{fd}")) {
            Ok(target) if target.starts_with("/proc") => {} // the folder that is being read
            Ok(target) => writeln!(seen, "fd {fd} {}", target.display()).unwrap(),
            Err(error) => writeln!(seen, "fd {fd} {error}").unwrap(),
        }
    }
    for (name, _) in std::env::vars_os() {
        writeln!(seen, "env {}", name.display()).unwrap();
    }
    writeln!(seen, "cwd {}", std::env::current_dir().unwrap().display()).unwrap();
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    for name in ["Max address space", "Max core file size", "Max open files"] {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        writeln!(seen, "{}", line.split_whitespace().collect::<Vec<_>>().join(" ")).unwrap();
    }
    seen
}
