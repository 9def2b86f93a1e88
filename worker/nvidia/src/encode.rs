//! NVENC: pictures in device memory to packets.
//!
//! | file | what |
//! |---|---|
//! | `encode/api.rs` | the library's functions and structures |
//! | `encode/session.rs` | one of the card's sessions |
//! | `encode/caps.rs` | what the card can |
//! | `encode/settings.rs`, `encode/config.rs` | what is asked for, and the same for the driver |
//! | `encode/inputs.rs` | pictures as the driver knows them |
//! | `encode/flight.rs` | which packet may be waited for |
//! | `encode/encoder.rs` | pictures in, packets out |
//!
//! Linux has no asynchronous mode: handing a picture in returns at once, waiting for a packet blocks. With enough
//! pictures in flight one thread does both, and the engine never waits for it.

mod api;
mod caps;
mod config;
mod encoder;
mod error;
mod flight;
mod inputs;
mod session;
mod settings;

pub use api::Nvenc;
pub use caps::{CodecCapabilities, capabilities, sessions};
pub use encoder::{Encoder, Packet};
pub use error::EncodeError;
pub use settings::{Color, EncodeSettings};
