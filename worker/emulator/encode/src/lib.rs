//! A stand-in for `libnvidia-encode.so.1` that checks every call and encodes on the host.
//!
//! ```text
//! api ──► session, caps, presets      what is asked before there is anything to encode
//!     ──► setup ──► settings          what to encode, and how: taken out of the client's structs
//!     ──► buffers, resources          what the client gives and gets
//!     ──► encode ──► picture ──► order ──► engine ──► recipe      a picture goes in …
//!     ──► output                      … and a packet comes out
//! ```
//!
//! It answers as a card does, which refuses little, and writes into the [ledger](card::ledger) what a careful client would
//! not have done. Which card it plays and what goes wrong is said in [`card`]'s variables. Pictures on the device are read
//! through the libcuda that the program has loaded: a stand-in, or the real one.
//!
//! The encoders inside are libavcodec's libx264, libx265 and libaom (whose packets come one for one, with AV1). What comes
//! out is what a card's client can rely on: so many packets as pictures, in coding order, IDRs where they were asked for,
//! the B-frames of a group before the next P. Two ways of a card are played: packets with a constant delay, or whole groups
//! when their last picture is in (`encode:burst`). In bursts nothing is coded as B: H.264's pictures come in the order of
//! B-frames all the same (see `reorder`), those of HEVC and AV1 in display order. What it cannot show is a card's rate control, its
//! speed, and the bytes of its headers. Not played: picture types decided by the client, 4:4:4, RGB, interlaced, several
//! slices, ids of HEVC's parameter sets, a ppsId other than the spsId.
#![deny(unsafe_code)]

mod api;
mod buffers;
mod caps;
mod cuda;
mod encode;
mod engine;
mod frame;
mod given;
mod headers;
mod opening;
mod order;
mod output;
mod packet;
mod picture;
mod presets;
mod recipe;
mod registry;
mod reorder;
mod resources;
mod sequence;
mod session;
mod settings;
mod setup;
mod status;
mod versions;
