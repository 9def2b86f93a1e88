//! Late loading: which of NVIDIA's libraries are there, and in words an operator can act on, why one is not.
//!
//! libcuda is found by the loader's own search (`LD_LIBRARY_PATH`, `ld.so.cache`) because cudarc loads it; the two video
//! libraries come from a folder that is named, or else by the same search.
#![allow(unsafe_code)]

use std::error::Error;
use std::ffi::{CStr, OsStr, c_int, c_uint};
use std::path::Path;
use std::sync::OnceLock;

use cudarc::driver::sys;

/// The CUDA version that the oldest driver we work with calls its own: 530.41.03, the first that knows NVENC's API 12.1.
const OLDEST_CUDA: c_int = 12010;

/// Something of NVIDIA's that isn't there, or can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}; {advice}")]
pub struct Lack {
    /// The library or the device.
    pub what: String,
    /// What was seen.
    pub why: String,
    /// What to do.
    pub advice: String,
}

impl Lack {
    /// `what` can't be used because of `why`; `advice` says what to do.
    pub fn new(what: impl Into<String>, why: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), advice: advice.into() }
    }
}

/// Loads libcuda and starts it.
///
/// # Errors
/// The driver isn't there, is older than we work with, or finds no device that it can use.
pub fn cuda_present() -> Result<(), Lack> {
    static PRESENT: OnceLock<()> = OnceLock::new();
    if PRESENT.get().is_none() {
        start_cuda()?;
        PRESENT.get_or_init(|| ());
    }
    Ok(())
}

/// Whether there is a driver at all, whatever it says.
pub fn driver_present() -> bool {
    // SAFETY: loading libcuda runs nothing but its own initialisers.
    unsafe { sys::is_culib_present() }
}

fn start_cuda() -> Result<(), Lack> {
    if !driver_present() {
        return Err(Lack::new(
            "libcuda.so.1",
            "no such library on the loader's path",
            "install NVIDIA's driver; in a container, start it with the NVIDIA runtime (`--gpus all`, or nvidia.com/gpu)",
        ));
    }
    // SAFETY: it would panic only if the library weren't there.
    let library = unsafe { sys::culib() };
    young_enough(cuda_version(library)?)?;
    type Init = unsafe extern "C" fn(c_uint) -> c_int;
    // SAFETY: that is the function's signature.
    let init: libloading::Symbol<Init> = unsafe { library.get(b"cuInit\0") }.map_err(incomplete)?;
    // SAFETY: 0 is the one flag there is.
    match unsafe { init(0) } {
        0 => Ok(()),
        code => Err(not_started(code)),
    }
}

/// The newest CUDA that the driver knows: 1000 × major + 10 × minor.
fn cuda_version(library: &libloading::Library) -> Result<c_int, Lack> {
    type Version = unsafe extern "C" fn(*mut c_int) -> c_int;
    // SAFETY: that is the function's signature.
    let ask: libloading::Symbol<Version> = unsafe { library.get(b"cuDriverGetVersion\0") }.map_err(incomplete)?;
    let mut version = 0;
    // SAFETY: it writes one integer, and may be called before cuInit.
    match unsafe { ask(&raw mut version) } {
        0 => Ok(version),
        code => Err(not_started(code)),
    }
}

fn young_enough(version: c_int) -> Result<(), Lack> {
    if version >= OLDEST_CUDA {
        return Ok(());
    }
    let why = format!("the driver is too old, it knows CUDA {}", dotted(version));
    Err(Lack::new("libcuda.so.1", why, format!("install driver 530.41.03 (CUDA {}) or newer", dotted(OLDEST_CUDA))))
}

fn dotted(version: c_int) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

/// What the loader said: the outer error only names the call.
fn words(error: &libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

fn incomplete(error: libloading::Error) -> Lack {
    Lack::new("libcuda.so.1", words(&error), "this is not NVIDIA's driver: see which file the loader finds")
}

/// What a status of `cuInit` means to an operator.
fn not_started(code: c_int) -> Lack {
    let (why, advice) = match code {
        34 => ("it is the stub that programs are linked against", "take the toolkit's stubs off the library path"),
        100 => (
            "it finds no device",
            "see `nvidia-smi -L`, NVIDIA_VISIBLE_DEVICES and CUDA_VISIBLE_DEVICES; a GPU that is to be divided (MIG) has \
             none before it has parts (`nvidia-smi mig -lgi`)",
        ),
        802 => (
            "the system is not ready: on a machine with NVSwitch, the fabric manager does not run",
            "start nvidia-fabricmanager of the driver's own version, and see its log",
        ),
        803 => {
            ("its version is not that of the kernel module", "reboot, or load the module that belongs to the library")
        }
        804 => ("it is too new for this device's driver", "take the CUDA compatibility package off the library path"),
        _ => ("it does not start", "see `nvidia-smi` and the kernel's log for NVRM and Xid"),
    };
    Lack::new("libcuda.so.1", format!("{why} (CUDA status {code})"), advice)
}

/// A library that was loaded late. It is never unloaded: threads of the driver may still be inside.
#[derive(Debug, Clone, Copy)]
pub struct Library {
    name: &'static str,
    library: &'static libloading::Library,
}

impl Library {
    /// Loads `name` from `folder`, or from where the loader looks.
    ///
    /// # Errors
    /// It isn't there; for the libraries that containers get only with the capability `video`, the words say so.
    pub fn open(name: &'static str, folder: Option<&Path>) -> Result<Self, Lack> {
        let path = folder.map_or_else(|| Path::new(name).to_owned(), |folder| folder.join(name));
        // SAFETY: NVIDIA's libraries may be loaded at any time, from any thread.
        match unsafe { libloading::Library::new(&path) } {
            Ok(library) => Ok(Self { name, library: Box::leak(Box::new(library)) }),
            Err(error) => {
                let capabilities = std::env::var_os("NVIDIA_DRIVER_CAPABILITIES");
                let words = words(&error);
                let why = words.strip_prefix(&format!("{name}: ")).unwrap_or(&words);
                Err(Lack::new(name, why, video_advice(capabilities.as_deref())))
            }
        }
    }

    /// A function of the library.
    ///
    /// # Errors
    /// The library has none of that name: the driver is older than we work with.
    ///
    /// # Safety
    /// `F` is a function pointer of the signature that the name has in NVIDIA's headers, with statuses as integers.
    pub unsafe fn function<F: Copy>(&self, name: &CStr) -> Result<F, Lack> {
        // SAFETY: the caller keeps the promise; the library stays loaded for ever.
        match unsafe { self.library.get::<F>(name.to_bytes_with_nul()) } {
            Ok(function) => Ok(*function),
            Err(error) => Err(Lack::new(self.name, words(&error), "install driver 530.41.03 or newer")),
        }
    }
}

/// What to do where a video library is missing, by what the container was given (`NVIDIA_DRIVER_CAPABILITIES`).
fn video_advice(capabilities: Option<&OsStr>) -> String {
    let Some(given) = capabilities.map(OsStr::to_string_lossy) else {
        return "install the driver's video libraries (Debian: libnvcuvid1, libnvidia-encode1); \
                in a container, start it with NVIDIA_DRIVER_CAPABILITIES=compute,video,utility"
            .to_owned();
    };
    if given.split(',').any(|capability| matches!(capability.trim(), "video" | "all")) {
        return format!("NVIDIA_DRIVER_CAPABILITIES={given} asks for it, so install it on the host");
    }
    format!("NVIDIA_DRIVER_CAPABILITIES={given} lacks `video`: set it to compute,video,utility")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_named_with_where_it_was_looked_for() {
        let lack = Library::open("libnvcuvid.so.1", Some(Path::new("/nowhere"))).unwrap_err();
        assert_eq!(lack.what, "libnvcuvid.so.1");
        assert!(lack.why.contains("/nowhere/libnvcuvid.so.1"), "{lack}");
        assert!(lack.advice.contains("video"), "{lack}");
    }

    #[test]
    fn a_container_without_the_capability_is_told_so() {
        let advice = |given: Option<&str>| video_advice(given.map(OsStr::new));
        assert!(advice(Some("compute,utility")).contains("lacks `video`"));
        assert!(advice(Some("compute, video")).contains("on the host"));
        assert!(advice(Some("all")).contains("on the host"));
        assert!(advice(None).contains("libnvidia-encode1"));
    }

    #[test]
    fn every_status_at_the_start_has_its_own_advice() {
        let advice: Vec<String> =
            [34, 100, 802, 803, 804, 999].into_iter().map(|code| not_started(code).advice).collect();
        let mut apart = advice.clone();
        apart.sort();
        apart.dedup();
        assert_eq!(apart.len(), advice.len());
        assert!(not_started(100).to_string().contains("100"));
    }

    #[test]
    fn a_driver_that_is_too_old_is_told_how_old() {
        assert!(young_enough(12010).is_ok() && young_enough(13000).is_ok());
        let lack = young_enough(11040).unwrap_err();
        assert!(lack.why.contains("CUDA 11.4") && lack.advice.contains("530.41.03 (CUDA 12.1)"), "{lack}");
    }

    #[test]
    fn what_a_library_lacks_is_the_drivers_age() {
        let library = Library::open("libc.so.6", None).unwrap();
        // SAFETY: the signature of a function that is never there is never used.
        let lack = unsafe { library.function::<unsafe extern "C" fn()>(c"NvEncodeAPICreateInstance") }.unwrap_err();
        assert!(lack.why.contains("NvEncodeAPICreateInstance") && lack.advice.contains("530"), "{lack}");
    }
}
