//! What goes wrong, as a test writes it.
//!
//! ```text
//! faults   = fault *("," fault)
//! fault    = function "@" number ["+"] "=" status    the call with this number (from 1), or all from it on, ends so
//!          | function "@" number ":hang" ["=" ms]    the call never returns, or later
//!          | "device_lost@" number                   from that call of libcuda on, every call there fails with 999
//!          | "xid=" code "@" number                  that wait for an error of a card (from 1) ends with this one
//!          | "sessions=" number [":" status]         the system allows so many encode sessions; one more ends so, or with 10
//!          | "memory=" number                        the card has so many MiB
//!          | "throttled=" number                     clocks are low for these of NVML's reasons, by their bits
//!          | "encode:corrupt"                        pictures are coded that are not those given
//!          | "encode:header"                         parameter sets are those of another generation of cards
//!          | "encode:plain"                          B-frames and look-ahead are refused, though the card says it has them
//!          | "encode:burst"                          a group of pictures comes out when its last one is in
//!          | "encode:late"                           a picture is read until its own packet is, not until its output is
//!          | "decode:corrupt"                        every 8th picture is wrong, and its status says so
//!          | "decode:wrong"                          every 8th picture is wrong, and its status says nothing
//!          | "decode:reuse"                          a surface is decoded into again as soon as it was shown
//!          | "lazy_streams"                          work on a stream is done when somebody waits for it
//! ```
//!
//! `NvEncEncodePicture@20=20, cuvidDecodePicture@7+=999, NvEncLockBitstream@5:hang`

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The faults to make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Calls that end otherwise than they would.
    pub calls: Vec<CallFault>,
    /// From which call of libcuda on the device is gone.
    pub device_lost: Option<u64>,
    /// Errors of the first card that is watched: the number of the wait for events that each ends, from 1, and its code.
    pub xids: Vec<(u64, u64)>,
    /// Limit of encode sessions in place of the card's.
    pub sessions: Option<u32>,
    /// What a session over the limit ends with in place of `NV_ENC_ERR_OUT_OF_MEMORY`.
    pub no_session: Option<u32>,
    /// Memory of each card in MiB in place of its own.
    pub memory_mib: Option<u64>,
    /// Why clocks are low in place of what every card says, in NVML's bits.
    pub throttled: Option<u64>,
    /// What the encoder does wrong.
    pub encode_corrupt: bool,
    /// Parameter sets differ from those that the settings lead to.
    pub encode_header: bool,
    /// What the card says of B-frames and look-ahead is not so.
    pub encode_plain: bool,
    /// Packets come in groups, as from a card, and not one for each picture.
    pub encode_burst: bool,
    /// An input is the card's until the packet of its own picture is read.
    pub encode_late: bool,
    /// Pictures come out wrong, and `cuvidGetDecodeStatus` tells.
    pub decode_corrupt: bool,
    /// Pictures come out wrong, and nobody tells.
    pub decode_wrong: bool,
    /// The surface that was shown last is decoded into next.
    pub decode_reuse: bool,
    /// Work on a stream waits until it is waited for.
    pub lazy_streams: bool,
}

/// One function that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFault {
    /// Its name as the header has it, without a version's suffix: `cuMemAlloc`.
    pub function: String,
    /// Which call, from 1.
    pub call: u64,
    /// All later calls too.
    pub onwards: bool,
    /// What happens.
    pub ends: Ending,
}

/// How a call that goes wrong ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With this status, and nothing else done.
    Status(i32),
    /// Not at all, or as it should after this time.
    Hang(Option<Duration>),
}

/// Text that is no fault.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a fault")]
pub struct NotAFault(String);

impl FromStr for Faults {
    type Err = NotAFault;

    fn from_str(written: &str) -> Result<Self, NotAFault> {
        let mut faults = Self::default();
        for fault in written.split(',').map(str::trim).filter(|fault| !fault.is_empty()) {
            faults.add(fault).ok_or_else(|| NotAFault(fault.to_owned()))?;
        }
        Ok(faults)
    }
}

impl Faults {
    fn add(&mut self, fault: &str) -> Option<()> {
        match fault {
            "encode:corrupt" => self.encode_corrupt = true,
            "encode:header" => self.encode_header = true,
            "encode:plain" => self.encode_plain = true,
            "encode:burst" => self.encode_burst = true,
            "encode:late" => self.encode_late = true,
            "decode:corrupt" => self.decode_corrupt = true,
            "decode:wrong" => self.decode_wrong = true,
            "decode:reuse" => self.decode_reuse = true,
            "lazy_streams" => self.lazy_streams = true,
            _ => match fault.split_once('@') {
                Some(("device_lost", call)) => self.device_lost = Some(call.parse().ok()?),
                Some((xid, wait)) if xid.starts_with("xid=") => {
                    self.xids.push((wait.parse().ok()?, xid.strip_prefix("xid=")?.parse().ok()?));
                }
                Some((function, rest)) => self.calls.push(CallFault::parse(function, rest)?),
                None => match fault.split_once('=')? {
                    ("sessions", limit) => {
                        let (number, status) = limit.split_once(':').map_or((limit, None), |(a, b)| (a, Some(b)));
                        self.sessions = Some(number.parse().ok()?);
                        self.no_session = status.map(str::parse).transpose().ok()?;
                    }
                    ("memory", number) => self.memory_mib = Some(number.parse().ok()?),
                    ("throttled", bits) => self.throttled = Some(bits.parse().ok()?),
                    _ => return None,
                },
            },
        }
        Some(())
    }

    /// What happens to this call of that function.
    fn ending(&self, function: &str, call: u64) -> Option<Ending> {
        let hit = |fault: &&CallFault| {
            fault.function == function && (fault.call == call || fault.onwards && call > fault.call)
        };
        self.calls.iter().find(hit).map(|fault| fault.ends)
    }
}

impl CallFault {
    /// `rest` is what follows the `@`.
    fn parse(function: &str, rest: &str) -> Option<Self> {
        let (call, ends) = match rest.split_once(":hang") {
            Some((call, "")) => (call, Ending::Hang(None)),
            Some((call, time)) => {
                let time = Duration::from_millis(time.strip_prefix('=')?.parse().ok()?);
                (call, Ending::Hang(Some(time)))
            }
            None => {
                let (call, status) = rest.split_once('=')?;
                (call, Ending::Status(status.parse().ok()?))
            }
        };
        let (call, onwards) = call.strip_suffix('+').map_or((call, false), |call| (call, true));
        let call = call.parse().ok().filter(|call| *call > 0)?;
        (!function.is_empty()).then(|| Self { function: function.to_owned(), call, onwards, ends })
    }
}

/// Counts a call of the function and makes the fault that was asked for: hangs, or gives the status to return at once.
///
/// Every exported function begins with it; the name is the one of the header without a version's suffix.
pub fn strike(function: &'static str) -> Option<i32> {
    static CALLS: Mutex<Option<HashMap<&'static str, u64>>> = Mutex::new(None);
    let faults = crate::faults();
    if faults.calls.is_empty() {
        return None;
    }
    let call = {
        let mut calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
        let count = calls.get_or_insert_default().entry(function).or_default();
        *count += 1;
        *count
    };
    match faults.ending(function, call)? {
        Ending::Status(status) => Some(status),
        Ending::Hang(time) => {
            hang(time);
            None
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a fault that a test asks for: a call that takes its time")]
fn hang(time: Option<Duration>) {
    std::thread::sleep(time.unwrap_or(Duration::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let written = "NvEncEncodePicture@20=20, NvEncLockBitstream@5:hang,cuvidDecodePicture@7+=999,\
                       cuLaunchKernel@2:hang=50,device_lost@30,sessions=1,memory=256,encode:corrupt,encode:header,\
                       encode:burst,encode:late,decode:corrupt,decode:wrong,decode:reuse,lazy_streams,\
                       xid=79@3,throttled=32,encode:plain";
        let faults: Faults = written.parse().unwrap();
        assert_eq!(faults.calls.len(), 4);
        assert_eq!(faults.ending("NvEncEncodePicture", 20), Some(Ending::Status(20)));
        assert_eq!(faults.ending("NvEncEncodePicture", 19), None);
        assert_eq!(faults.ending("NvEncEncodePicture", 21), None);
        assert_eq!(faults.ending("NvEncLockBitstream", 5), Some(Ending::Hang(None)));
        assert_eq!(faults.ending("cuvidDecodePicture", 8), Some(Ending::Status(999)));
        assert_eq!(faults.ending("cuLaunchKernel", 2), Some(Ending::Hang(Some(Duration::from_millis(50)))));
        assert_eq!((faults.device_lost, faults.sessions, faults.memory_mib), (Some(30), Some(1), Some(256)));
        assert!(faults.encode_corrupt && faults.encode_header && faults.encode_burst && faults.lazy_streams);
        assert!(faults.decode_corrupt && faults.decode_wrong && faults.encode_late && faults.decode_reuse);
        assert!(faults.encode_plain);
        assert_eq!((faults.xids.as_slice(), faults.throttled), (&[(3, 79)][..], Some(32)));
        let full: Faults = "sessions=2:21".parse().unwrap();
        assert_eq!((full.sessions, full.no_session), (Some(2), Some(21)));
        assert_eq!("".parse(), Ok(Faults::default()));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for text in [
            "cuInit",
            "cuInit@0=1",
            "cuInit@x=1",
            "@1=1",
            "cuInit@1",
            "cuInit@1:hang5",
            "sessions",
            "sessions=1:",
            "bang=1",
            "xid=@1",
        ] {
            assert_eq!(text.parse::<Faults>(), Err(NotAFault(text.to_owned())));
        }
    }
}
