//! Packets that a trial has made, as the production decoders read them: a file without a name, and a list of places in it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};

use rustix::fs::{MemfdFlags, memfd_create};
use shared::error::{ErrorKind, TaskError};
use shared::index::{PacketEntry, PacketList, Place};

use crate::task::{Inputs, Objects};

/// One coded picture or audio frame.
pub struct Coded {
    /// Its bytes.
    pub data: Vec<u8>,
    /// Presentation time.
    pub pts: i64,
    /// Ticks that it is shown.
    pub duration: u32,
    /// Decoding may start here.
    pub key: bool,
}

/// What a decoder is given, in decode order. Decode times count from `first_dts` on, a duration each.
pub fn inputs(coded: &[Coded], first_dts: i64) -> Result<Inputs, TaskError> {
    let failed = |error: io::Error| TaskError::new(ErrorKind::Exhausted, "trial_memory", error.to_string());
    let mut file = File::from(memfd_create("trial", MemfdFlags::CLOEXEC).map_err(|error| failed(error.into()))?);
    let (mut offset, mut dts) = (0, first_dts);
    let mut list = PacketList::default();
    for Coded { data, pts, duration, key } in coded {
        file.write_all(data).map_err(failed)?;
        let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let (place, pts, duration) = (Place::Source, *pts, *duration);
        list.packets.push(PacketEntry { place, offset, size, pts, dts, duration, key: *key, discard: false });
        offset += u64::from(size);
        dts += i64::from(duration);
    }
    Ok(Inputs { lists: vec![list], objects: Objects(HashMap::from([(Place::Source, file)])), ..Inputs::default() })
}

/// How alike two signals are: the energy of `wanted` (or the square of its full range) over that of the difference, in
/// decibels; 0 if they have different lengths.
pub fn likeness_db(full_scale: f64, wanted: &[f64], found: &[f64]) -> f64 {
    if wanted.len() != found.len() || wanted.is_empty() {
        return 0.0;
    }
    let error: f64 = wanted.iter().zip(found).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / wanted.len() as f64;
    10.0 * (full_scale.powi(2) / error.max(1e-9)).log10()
}
