//! What the stand-in does when it is used rightly, and what its faults do.
#![allow(unsafe_code)]

use std::env;
use std::ffi::CStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::ptr::{null, null_mut};

use crate::client::{Cuda, Split};
use card::Library;

/// Runs one of the ignored tests below as a child; what the ledger says then.
fn child(test: &str, card: &str, faults: &str) -> (Output, String) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger");
    let mut child = Command::new(env::current_exe().unwrap());
    card::play(child.args(["--ignored", "--exact", &format!("work::{test}")]), folder.path(), card, faults, &ledger);
    let output = child.output().unwrap();
    (output, fs::read_to_string(&ledger).unwrap_or_default())
}

fn assert_well(test: &str, card: &str, faults: &str) {
    let (output, ledger) = child(test, card, faults);
    assert!(output.status.success(), "{faults}: {}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(ledger, "", "{faults}");
}

#[test]
fn a_launch_runs_the_kernel_of_the_host_build() {
    assert_well("splits_pairs", "l4", "");
    assert_well("splits_pairs", "t4,h200", "lazy_streams");
}

#[test]
#[ignore = "run as a child"]
fn splits_pairs() {
    let cuda = Cuda::ready();
    let (module, split) = cuda.split();
    let stream = cuda.made(|place| cuda.create_stream(place, 1));
    let (pairs, first, second) = (cuda.memory(32), cuda.memory(16), cuda.memory(16));
    let given: Vec<u8> = (0..32).collect();
    assert_eq!(cuda.up(pairs, given.as_ptr(), 32), 0);
    let split_of = Split { pairs, first, second, pairs_pitch: 8, plane_pitch: 4, width: 4, height: 4 };
    assert_eq!(cuda.launch(split, stream, &split_of), 0);
    let mut got = [0; 16];
    assert_eq!(cuda.down_on(got.as_mut_ptr(), second, 16, stream), 0);
    assert_eq!(cuda.synchronize(stream), 0);
    assert_eq!(got.to_vec(), given.iter().copied().filter(|value| value % 2 == 1).collect::<Vec<_>>());
    for memory in [pairs, first, second] {
        assert_eq!(cuda.free(memory), 0);
    }
    assert_eq!((cuda.destroy_stream(stream), cuda.unload_module(module), cuda.release(0)), (0, 0, 0));
}

#[test]
fn lazy_streams_show_who_does_not_wait() {
    assert_well("reads_without_waiting", "l4", "lazy_streams");
}

#[test]
#[ignore = "run as a child"]
fn reads_without_waiting() {
    let cuda = Cuda::ready();
    let streams = [0; 2].map(|_| cuda.made(|place| cuda.create_stream(place, 1)));
    let event = cuda.made(|place| cuda.create_event(place, 2));
    let (memory, mut pinned) = (cuda.memory(1), null_mut());
    assert_eq!((cuda.fill(memory, 1, 1), cuda.allocate_pinned(&mut pinned, 1)), (0, 0));
    let read = || {
        let mut byte = 0;
        assert_eq!(cuda.down(&mut byte, memory, 1), 0);
        byte
    };
    assert_eq!(cuda.fill_on(memory, 2, 1, streams[0]), 0);
    assert_eq!(read(), 1, "nobody waited for the stream");
    assert_eq!(cuda.synchronize(streams[0]), 0);
    assert_eq!(read(), 2);
    // The second stream waits for the first, and waiting for the second is enough.
    assert_eq!((cuda.fill_on(memory, 3, 1, streams[0]), cuda.record(event, streams[0])), (0, 0));
    assert_eq!(cuda.wait_event(streams[1], event, 0), 0);
    assert_eq!(cuda.down_on(pinned, memory, 1, streams[1]), 0);
    // SAFETY: it is one byte long and lives.
    assert_eq!(unsafe { pinned.read() }, 0);
    assert_eq!(cuda.synchronize(streams[1]), 0);
    // SAFETY: as above.
    assert_eq!(unsafe { pinned.read() }, 3);
    assert_eq!((cuda.free(memory), cuda.free_pinned(pinned), cuda.destroy_event(event)), (0, 0, 0));
    assert_eq!(streams.map(|stream| cuda.destroy_stream(stream)), [0, 0]);
}

#[test]
fn the_host_can_not_read_device_memory() {
    let (output, _) = child("reads_device_memory", "l4", "");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(11));
}

#[test]
#[ignore = "run as a child, which dies"]
fn reads_device_memory() {
    let memory = Cuda::ready().memory(1);
    // SAFETY: it is mapped, and closed: this process ends here.
    std::hint::black_box(unsafe { (memory as *const u8).read_volatile() });
}

#[test]
fn faults_end_calls_and_a_lost_device_ends_all() {
    assert_well("third_allocation_fails", "l4", "cuMemAlloc@3=2");
    assert_well("third_allocation_fails", "l4", "memory=2");
    assert_well("device_is_lost", "l4", "device_lost@6");
    assert_well("device_is_lost", "l4", "cuMemAlloc@3=999");
    assert_well("no_device", "none", "");
}

#[test]
#[ignore = "run as a child"]
fn third_allocation_fails() {
    let cuda = Cuda::ready();
    let memory = [cuda.memory(1 << 20), cuda.memory(1 << 20)];
    assert_eq!(cuda.allocate(&mut 0, 1), 2);
    assert_eq!(memory.map(|memory| cuda.free(memory)), [0, 0]);
    assert_eq!(cuda.free(cuda.memory(1 << 20)), 0);
}

#[test]
#[ignore = "run as a child"]
fn device_is_lost() {
    let cuda = Cuda::ready();
    let memory = [cuda.memory(1), cuda.memory(1)];
    assert_eq!(cuda.allocate(&mut 0, 1), 999);
    assert_eq!(cuda.free(memory[0]), 999);
    let mut name = null();
    assert_eq!(cuda.error_name(999, &mut name), 0);
    // SAFETY: the call succeeded.
    assert_eq!(unsafe { CStr::from_ptr(name) }, c"CUDA_ERROR_UNKNOWN");
}

#[test]
#[ignore = "run as a child"]
fn no_device() {
    assert_eq!(Cuda::load().init(0), 100);
}

/// MD5 of each frame after FFmpeg's filters.
fn frames(filters: &str, library: Option<(&Path, &str, &Path)>) -> String {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=322x242:d=0.4", "-vf", filters]);
    if let Some((folder, faults, ledger)) = library {
        card::play(ffmpeg.args(["-init_hw_device", "cuda"]), folder, "t4", faults, ledger);
    }
    let output = ffmpeg.args(["-f", "framemd5", "-"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn ffmpeg_uploads_and_downloads_what_it_had() {
    let folder = tempfile::tempdir().unwrap();
    card::folder(folder.path(), &card::folder::built().unwrap(), &[Library::Cuda]).unwrap();
    let ledger = folder.path().join("ledger");
    let plain = frames("format=nv12", None);
    assert_eq!(plain.lines().filter(|line| !line.starts_with('#')).count(), 10);
    for faults in ["", "lazy_streams"] {
        let through =
            frames("format=nv12,hwupload_cuda,hwdownload,format=nv12", Some((folder.path(), faults, &ledger)));
        assert_eq!(through, plain);
    }
    assert_eq!(fs::read_to_string(&ledger).unwrap(), "");
}
