//! Between the farm's types and `proto`: the only place that checks wire values.
//!
//! What is decoded is sound in itself: ids are ids, timescales and denominators are not zero, keys stay below their
//! prefix, enum values are known. Whether it fits the plan is for others to judge. An error names the field, like
//! `work.renditions[1].width_px: 1281 is not even`.
//!
//! | file | holds |
//! |---|---|
//! | `wire/media.rs` | `media.proto`: sources, lists, renditions, decoder configurations |
//! | `wire/task.rs` | `task.proto`: tasks |
//! | `wire/placement.rs` | `task.proto`: on what a chunk is made |
//! | `wire/report.rs` | `task.proto`: reports and receipts |
//! | `wire/fleet.rs` | `task.proto`: heartbeats and directives |

mod fleet;
mod media;
mod placement;
mod report;
mod task;

use std::fmt::Display;

use prost::Message;

use crate::fleet::{Directive, Heartbeat};
use crate::placement::Placement;
use crate::storage::is_plain_key;
use crate::task::{Task, TaskReport};
use crate::time::Timescale;

/// Bytes that are not what they should be.
#[derive(Debug, thiserror::Error)]
#[error("wire: {0}")]
pub struct WireError(pub String);

/// Longest message that is read. The receipt of a 10 h audio track has 0.6 MiB; a message of empty parts grows to 50 times
/// its size in memory.
pub const LARGEST_MESSAGE_BYTES: usize = 8 << 20;

/// A task as it crosses between processes (`farm.v1.Task`).
pub fn encode_task(task: &Task) -> Vec<u8> {
    task.to_wire().encode_to_vec()
}

/// Reads what [`encode_task`] wrote.
pub fn decode_task(bytes: &[u8]) -> Result<Task, WireError> {
    Task::from_wire(decode("task", bytes)?)
}

/// A report as it crosses between processes (`farm.v1.TaskReport`).
pub fn encode_report(report: &TaskReport) -> Vec<u8> {
    report.to_wire().encode_to_vec()
}

/// Reads what [`encode_report`] wrote.
pub fn decode_report(bytes: &[u8]) -> Result<TaskReport, WireError> {
    TaskReport::from_wire(decode("report", bytes)?)
}

/// A placement as it crosses to a slot (`farm.v1.Placement`).
pub fn encode_placement(placement: &Placement) -> Vec<u8> {
    placement.to_wire().encode_to_vec()
}

/// Reads what [`encode_placement`] wrote.
pub fn decode_placement(bytes: &[u8]) -> Result<Placement, WireError> {
    Placement::from_wire(decode("placement", bytes)?)
}

/// A heartbeat as it crosses between processes (`farm.v1.Heartbeat`).
pub fn encode_heartbeat(heartbeat: &Heartbeat) -> Vec<u8> {
    heartbeat.to_wire().encode_to_vec()
}

/// Reads what [`encode_heartbeat`] wrote.
pub fn decode_heartbeat(bytes: &[u8]) -> Result<Heartbeat, WireError> {
    Heartbeat::from_wire(decode("heartbeat", bytes)?)
}

/// A directive as it crosses between processes (`farm.v1.Directive`).
pub fn encode_directive(directive: &Directive) -> Vec<u8> {
    directive.to_wire().encode_to_vec()
}

/// Reads what [`encode_directive`] wrote.
pub fn decode_directive(bytes: &[u8]) -> Result<Directive, WireError> {
    Directive::from_wire(decode("directive", bytes)?)
}

fn decode<M: Message + Default>(what: &str, bytes: &[u8]) -> Result<M, WireError> {
    if bytes.len() > LARGEST_MESSAGE_BYTES {
        return Err(WireError::at(
            what,
            format_args!("{} bytes, at most {LARGEST_MESSAGE_BYTES} are read", bytes.len()),
        ));
    }
    M::decode(bytes).map_err(|error| WireError::at(what, error))
}

/// A type and the message it crosses as.
trait Wire: Sized {
    type Message;

    fn to_wire(&self) -> Self::Message;

    /// Checks every field.
    fn from_wire(message: Self::Message) -> Result<Self, WireError>;
}

/// An enum without data and the number it crosses as.
trait WireEnum: Sized {
    fn code(self) -> i32;

    /// Neither 0 nor numbers of a later version are known.
    fn from_code(field: &str, code: i32) -> Result<Self, WireError>;
}

/// Enums whose variants have the same names on both sides.
macro_rules! wire_enum {
    ($name:ident: $($variant:ident),+) => {
        impl WireEnum for $name {
            fn code(self) -> i32 {
                match self {
                    $(Self::$variant => proto::v1::$name::$variant.into(),)+
                }
            }

            fn from_code(field: &str, code: i32) -> Result<Self, WireError> {
                match proto::v1::$name::try_from(code) {
                    $(Ok(proto::v1::$name::$variant) => Ok(Self::$variant),)+
                    Ok(proto::v1::$name::Unspecified) | Err(_) => {
                        Err(WireError::at(field, format_args!("{code} is no known {}", stringify!($name))))
                    }
                }
            }
        }
    };
}
use wire_enum;

impl WireError {
    fn at(field: &str, why: impl Display) -> Self {
        Self(format!("{field}: {why}"))
    }

    fn within(self, field: impl Display) -> Self {
        Self(format!("{field}.{}", self.0))
    }
}

fn required<T: Wire>(field: &str, message: Option<T::Message>) -> Result<T, WireError> {
    optional(field, message)?.ok_or_else(|| WireError::at(field, "missing"))
}

fn optional<T: Wire>(field: &str, message: Option<T::Message>) -> Result<Option<T>, WireError> {
    message.map(T::from_wire).transpose().map_err(|error| error.within(field))
}

fn all_to_wire<T: Wire>(values: &[T]) -> Vec<T::Message> {
    values.iter().map(T::to_wire).collect()
}

fn all_from_wire<T: Wire>(field: &str, messages: Vec<T::Message>) -> Result<Vec<T>, WireError> {
    let read = |(index, message)| {
        T::from_wire(message).map_err(|error: WireError| error.within(format_args!("{field}[{index}]")))
    };
    messages.into_iter().enumerate().map(read).collect()
}

/// The value, if `fits`.
fn checked<T: Display>(field: &str, value: T, fits: impl FnOnce(&T) -> bool, want: &str) -> Result<T, WireError> {
    if fits(&value) { Ok(value) } else { Err(WireError::at(field, format_args!("{value} is not {want}"))) }
}

fn nonzero<T: Display + PartialEq + Default>(field: &str, value: T) -> Result<T, WireError> {
    checked(field, value, |value| *value != T::default(), "above 0")
}

/// Width or height of something that is encoded.
fn even(field: &str, value: u32) -> Result<u32, WireError> {
    nonzero(field, checked(field, value, |value| value.is_multiple_of(2), "even")?)
}

fn quarter_turn(field: &str, degrees: u32) -> Result<u32, WireError> {
    checked(field, degrees, |degrees| matches!(degrees, 0 | 90 | 180 | 270), "0, 90, 180 or 270")
}

fn timescale(field: &str, ticks_per_second: u32) -> Result<Timescale, WireError> {
    Timescale::new(ticks_per_second).ok_or_else(|| WireError::at(field, "0 is no timescale"))
}

/// Part of a path and of a playlist: nothing that needs quoting.
fn plain_name(field: &str, text: String) -> Result<String, WireError> {
    let plain = |text: &String| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let fits = |text: &String| (1..=64).contains(&text.len()) && plain(text);
    checked(field, text, fits, "1 to 64 of a-z, 0-9 and -")
}

/// An object key that can't leave the prefix it is meant for.
fn object_key(field: &str, key: String) -> Result<String, WireError> {
    checked(field, key, |key| is_plain_key(key), "an object key")
}
