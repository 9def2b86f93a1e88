//! What the kernel knows of processes.

use std::fs;

/// Processes that this one has started and that live.
pub fn children(of: u32) -> Vec<u32> {
    let ids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    ids.filter(|id| parent(*id) == Some(of)).collect()
}

/// `None` once the process is gone, or is only waited for. Its name, in brackets, may hold anything.
fn parent(id: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let alive = fields.next()? != "Z";
    fields.next()?.parse().ok().filter(|_| alive)
}
