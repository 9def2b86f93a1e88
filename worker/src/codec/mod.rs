//! Decoders, scalers and encoders, placed separately.

pub mod decoder;
pub mod encoder;
pub mod level;
pub mod scaler;
pub mod setup;

use ffmpeg_next::frame;
use shared::cmaf::DecoderConfig;
use shared::error::TaskError;

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

/// One rendition's encoder. Single-threaded and deterministic: the same frames give the same packets.
pub trait Encoder: Send {
    /// Takes a frame; `idr` forces a closed-GOP key frame. Returns the packets that are ready, in decode order.
    fn push(&mut self, frame: frame::Video, idr: bool) -> Result<Vec<Packet>, TaskError>;

    /// Drains. Nothing may be pushed after it.
    fn finish(&mut self) -> Result<Vec<Packet>, TaskError>;

    /// What a player needs first. The same for the encoder's whole life.
    fn decoder_config(&self) -> &DecoderConfig;

    /// Encoder and version, for the certificate.
    fn name(&self) -> &str;
}
