//! Opens encoders of libavcodec's from within an encoder of libavcodec's.
//!
//! FFmpeg is a client of this library: its `hevc_nvenc` calls in here while it is being opened itself, and libavcodec holds
//! one lock around the opening of all codecs that do not say they need none. libx265 and libaom don't say so, and would wait
//! for ever for the lock that their own caller holds. So they are opened by a second copy of libavcodec, whose lock is its
//! own; all that comes after is left to the first.
#![allow(unsafe_code, reason = "loads a library")]

use std::ffi::c_int;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ffmpeg_sys_next as av;
use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL};

/// `RTLD_DEEPBIND` of glibc: the copy calls itself and not the first one.
const OWN_SYMBOLS_FIRST: c_int = 8;

type Open = unsafe extern "C" fn(*mut av::AVCodecContext, *const av::AVCodec, *mut *mut av::AVDictionary) -> c_int;

/// The second copy's `avcodec_open2`.
pub fn open() -> Result<Open, String> {
    static COPY: OnceLock<Result<(Open, Library), String>> = OnceLock::new();
    COPY.get_or_init(load).as_ref().map(|(open, _)| *open).map_err(Clone::clone)
}

fn load() -> Result<(Open, Library), String> {
    let original = original().ok_or("libavcodec is not among the mapped files")?;
    let copy = std::env::temp_dir().join(format!("libavcodec-{}.so", std::process::id()));
    fs::copy(&original, &copy).map_err(|error| format!("{}: {error}", copy.display()))?;
    let loaded = load_from(&copy).map_err(|error| error.to_string());
    // What is mapped stays after the file's name is gone.
    fs::remove_file(&copy).map_err(|error| format!("{}: {error}", copy.display()))?;
    loaded
}

fn load_from(copy: &Path) -> Result<(Open, Library), libloading::Error> {
    // SAFETY: libavcodec has no start-up code with demands on its caller, and it is in use already.
    let library = unsafe { Library::open(Some(copy), RTLD_LAZY | RTLD_LOCAL | OWN_SYMBOLS_FIRST) }?;
    // SAFETY: the type is that of avcodec.h.
    let open = unsafe { library.get::<Open>(b"avcodec_open2\0") }.map(|symbol| *symbol)?;
    Ok((open, library))
}

/// Where the libavcodec of this process was loaded from.
fn original() -> Option<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let mut files = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    files.find(|file| file.contains("/libavcodec.so")).map(PathBuf::from)
}
