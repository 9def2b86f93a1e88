//! Decoders, scalers and encoders, placed separately: each stage says where it wants its pictures, and a picture moves
//! between host and GPU only when a stage asks for it.

pub mod backend;
pub mod cuda_scaler;
pub mod decoder;
pub mod encoder;
pub mod gpu;
pub mod level;
pub mod nvdec;
pub mod nvenc;
pub mod picture;
pub mod scaler;
pub mod setup;

use shared::cmaf::DecoderConfig;
use shared::error::TaskError;
use shared::family::Family;

pub use picture::Picture;

/// An encoded frame, in decode order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// As the codec's CMAF sample wants it (length-prefixed NAL units, OBUs).
    pub data: Vec<u8>,
    /// Presentation time in ticks of the stream.
    pub pts: i64,
    /// Starts a closed GOP.
    pub idr: bool,
}

/// The same moment for every rung, largest first: 4:2:0, 8 bit, limited range.
pub type Pictures = Vec<Picture>;

/// A chunk's packets to pictures.
pub trait Decode {
    /// The next picture in presentation order; `None` at the end. Damage is counted, not fatal.
    fn next_picture(&mut self) -> Result<Option<Picture>, TaskError>;

    /// Packets and frames the decoder complained about so far.
    fn errors(&self) -> u64;
}

/// One decoded picture to one for each rung.
pub trait Scale {
    /// Takes a picture; returns those that are ready (deinterlacing holds one back).
    fn push(&mut self, picture: Picture) -> Result<Vec<Pictures>, TaskError>;

    /// The pictures held back.
    fn finish(&mut self) -> Result<Vec<Pictures>, TaskError>;
}

/// One rendition's encoder. Deterministic: the same pictures give the same packets.
pub trait Encoder: Send {
    /// Takes a picture; `idr` forces a closed-GOP key frame. Returns the packets that are ready, in decode order.
    fn push(&mut self, picture: Picture, idr: bool) -> Result<Vec<Packet>, TaskError>;

    /// Drains. Nothing may be pushed after it.
    fn finish(&mut self) -> Result<Vec<Packet>, TaskError>;

    /// What a player needs first. The same for the encoder's whole life.
    fn decoder_config(&self) -> &DecoderConfig;

    /// Encoder and version, for the certificate.
    fn name(&self) -> &str;

    /// Whose parameter sets [`Self::decoder_config`] holds.
    fn family(&self) -> Family;
}
