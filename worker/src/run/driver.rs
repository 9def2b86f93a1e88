//! Whether this host has NVIDIA's driver, told without loading it: that is for slots.

use std::env;
use std::path::Path;

/// What the kernel module shows while it is loaded, to containers too; the last is that of Windows.
const SIGNS: [&str; 3] = ["/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg"];
/// What a slot loads first.
const LIBRARY: &str = "libcuda.so.1";

/// Whether slots may find a GPU. A driver that wakes only when it is loaded may be missed: then nobody waits for its trial, and
/// what it can do is used when it is known.
pub fn is_here() -> bool {
    let folders = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let is_there = |path: &Path| path.try_exists().is_ok_and(|is_there| is_there);
    SIGNS.iter().any(|sign| is_there(Path::new(sign)))
        || env::split_paths(&folders).any(|folder| is_there(&folder.join(LIBRARY)))
}
