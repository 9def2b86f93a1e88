//! The host: cores, memory, scratch space, open files.

use std::path::Path;

use indicatif::HumanBytes;
use rustix::process::{Resource, getrlimit};

use super::{Finding, Grade};

/// A slot that encodes four rungs of 1080p takes so much.
const SLOT_BYTES: u64 = 450 << 20;
/// Room for the intermediate objects of a film, and less than which a short clip may fail.
const ROOMY_BYTES: u64 = 20 << 30;
const LEAST_BYTES: u64 = 1 << 30;
/// Files that a worker has open for a slot.
const FILES_PER_SLOT: u64 = 128;

/// For a worker of so many slots.
pub(super) fn look(scratch: &Path, slots: usize) -> Vec<Finding> {
    let slots = slots as u64;
    vec![memory(slots), space(scratch), files(slots)]
}

fn memory(slots: u64) -> Finding {
    let advice = "use fewer slots, or a host with more memory";
    let table = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = table.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let Some(bytes) = kib.map(|kib| kib * 1024) else {
        return Finding::new("memory", Grade::Warn, "the system does not say how much is free", advice);
    };
    let text = format!("{} free for {slots} slots", HumanBytes(bytes));
    let grade = match bytes {
        bytes if bytes >= slots * SLOT_BYTES => Grade::Ok,
        bytes if bytes >= SLOT_BYTES => Grade::Warn,
        _ => Grade::Bad,
    };
    Finding::new("memory", grade, text, advice)
}

fn space(scratch: &Path) -> Finding {
    // A worker makes its folder when it needs it.
    let scratch = scratch.ancestors().find(|folder| folder.try_exists().is_ok_and(|there| there)).unwrap_or(scratch);
    let what = "scratch space";
    let place = scratch.display();
    let advice = "free some, or name another folder with --scratch and TMPDIR";
    if let Err(error) = tempfile::tempfile_in(scratch) {
        return Finding::new(what, Grade::Bad, format!("{place}: {error}"), advice);
    }
    match rustix::fs::statvfs(scratch) {
        Err(error) => Finding::new(what, Grade::Bad, format!("{place}: {error}"), advice),
        Ok(found) => {
            let bytes = found.f_bavail * found.f_frsize;
            let grade = match bytes {
                ROOMY_BYTES.. => Grade::Ok,
                LEAST_BYTES.. => Grade::Warn,
                _ => Grade::Bad,
            };
            Finding::new(what, grade, format!("{} free in {place}", HumanBytes(bytes)), advice)
        }
    }
}

fn files(slots: u64) -> Finding {
    let wanted = 256 + slots * FILES_PER_SLOT;
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let grade = if most >= wanted { Grade::Ok } else { Grade::Warn };
    Finding::new("open files", grade, format!("{most} allowed, {wanted} wanted"), "raise it: `ulimit -n`, LimitNOFILE=")
}
