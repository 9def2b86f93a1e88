//! What the index task tells the decoders of later tasks about a stream: FFmpeg's codec parameters as plain integers.
//!
//! Workers of one version write and read it; the coordinator passes it on unread.

use prost::Message;
use shared::error::TaskError;
use shared::source::DecoderSetup;

/// The fields of `AVCodecParameters` that decoders read. Colour and geometry of pictures travel in `VideoStream`.
#[derive(Clone, PartialEq, Message)]
pub struct Setup {
    /// FFmpeg's name of the codec (not of a decoder).
    #[prost(string, tag = "1")]
    pub codec: String,
    /// The container's own code for the codec.
    #[prost(uint32, tag = "2")]
    pub tag: u32,
    /// Codec-private data.
    #[prost(bytes = "vec", tag = "3")]
    pub extradata: Vec<u8>,
    /// Pixel or sample format number.
    #[prost(sint32, tag = "4")]
    pub format: i32,
    /// As the container says.
    #[prost(int64, tag = "5")]
    pub bit_rate: i64,
    /// As the container says.
    #[prost(sint32, tag = "6")]
    pub bits_per_coded_sample: i32,
    /// As the container says.
    #[prost(sint32, tag = "7")]
    pub bits_per_raw_sample: i32,
    /// Codec profile.
    #[prost(sint32, tag = "8")]
    pub profile: i32,
    /// Codec level.
    #[prost(sint32, tag = "9")]
    pub level: i32,
    /// Video only.
    #[prost(sint32, tag = "10")]
    pub width: i32,
    /// Video only.
    #[prost(sint32, tag = "11")]
    pub height: i32,
    /// Video only: frames of reordering.
    #[prost(sint32, tag = "12")]
    pub video_delay: i32,
    /// Audio only.
    #[prost(sint32, tag = "13")]
    pub sample_rate: i32,
    /// Audio only.
    #[prost(sint32, tag = "14")]
    pub channels: i32,
    /// Audio only: native channel mask, 0 if the order is unknown.
    #[prost(uint64, tag = "15")]
    pub channel_mask: u64,
    /// Audio only.
    #[prost(sint32, tag = "16")]
    pub block_align: i32,
    /// Audio only.
    #[prost(sint32, tag = "17")]
    pub frame_size: i32,
    /// Audio only.
    #[prost(sint32, tag = "18")]
    pub initial_padding: i32,
    /// Audio only.
    #[prost(sint32, tag = "19")]
    pub trailing_padding: i32,
    /// Audio only.
    #[prost(sint32, tag = "20")]
    pub seek_preroll: i32,
    /// Video only: a packet that a decoder must see before any other, wherever it starts. FFmpeg's H.264 decoder works
    /// around bugs of the x264 version that the first packet of a stream, and no other, names.
    #[prost(bytes = "vec", tag = "21")]
    pub preamble: Vec<u8>,
}

impl Setup {
    /// As it travels in a task.
    pub fn seal(&self) -> DecoderSetup {
        DecoderSetup(self.encode_to_vec())
    }

    /// Reads what [`Self::seal`] wrote.
    pub fn open(sealed: &DecoderSetup) -> Result<Self, TaskError> {
        Self::decode(sealed.0.as_slice()).map_err(|error| TaskError::bug(format!("decoder setup: {error}")))
    }
}
