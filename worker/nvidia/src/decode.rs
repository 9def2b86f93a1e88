//! NVDEC: packets to pictures in device memory, in the order in which they are shown.
//!
//! ```text
//! push ─▶ parser ─┬─▶ sequence: what is coded, an engine for it
//! (a packet)      ├─▶ decode: one picture, in coding order ─▶ engine
//!                 └─▶ display: one picture, in showing order ─▶ map ─▶ copy into a pool's surface ─▶ next_picture
//! ```
//!
//! | file | what |
//! |---|---|
//! | `decode/api.rs` | the library's functions and structures |
//! | `decode/caps.rs` | what the card can |
//! | `decode/sequence.rs` | what the stream says of its pictures |
//! | `decode/engine.rs` | one hardware decoder and its output |
//! | `decode/decoder.rs` | the parser and what it calls |
//!
//! Pictures are copied out of the decoder, within the device: one copy of 3 MB takes some 20 µs of a T4's memory, and for
//! it a picture may be kept as long as one likes, outlive its decoder and be registered with NVENC, and the parser may show
//! as many at once as it wants.

mod api;
mod caps;
mod decoder;
mod engine;
mod error;
mod sequence;

pub use api::Cuvid;
pub use caps::{DecodeCapabilities, capabilities};
pub use decoder::{Decoder, Picture};
pub use error::DecodeError;
