//! `media.proto`: sources, packet lists, renditions, decoder configurations.

use proto::v1;

use super::{
    Wire, WireEnum, WireError, all_from_wire, all_to_wire, checked, even, nonzero, optional, plain_name, quarter_turn,
    required, timescale, wire_enum,
};
use crate::cmaf::DecoderConfig;
use crate::index::{AudioRun, Gop, ListRef};
use crate::rendition::{AudioCodec, AudioRendition, RateControl, VideoCodec, VideoRendition};
use crate::source::{AudioStream, Color, DecoderSetup, Finding, SourceInfo, Timing, Verdict, VideoStream};
use crate::time::FrameRate;

wire_enum!(Verdict: Standard, NonStandard, Unsupported, Corrupt);
wire_enum!(Timing: Packets, Decoder, Order);
wire_enum!(VideoCodec: H264, Hevc, Av1);
wire_enum!(AudioCodec: Aac, Opus);

impl Wire for ListRef {
    type Message = v1::ListRef;

    fn to_wire(&self) -> v1::ListRef {
        v1::ListRef { stream: self.stream, part: self.part, offset: self.offset, len: self.len }
    }

    fn from_wire(message: v1::ListRef) -> Result<Self, WireError> {
        let v1::ListRef { stream, part, offset, len } = message;
        let fits = |offset: &u64| offset.checked_add(len.into()).is_some();
        Ok(Self { stream, part, offset: checked("offset", offset, fits, "below the end of all objects")?, len })
    }
}

impl Wire for Gop {
    type Message = v1::Gop;

    fn to_wire(&self) -> v1::Gop {
        v1::Gop {
            start: self.start,
            first: self.first,
            last: self.last,
            end: self.end,
            frames: self.frames,
            bytes: self.bytes,
            list: Some(self.list.to_wire()),
        }
    }

    fn from_wire(message: v1::Gop) -> Result<Self, WireError> {
        let v1::Gop { start, first, last, end, frames, bytes, list } = message;
        Ok(Self { start, first, last, end, frames, bytes, list: required("list", list)? })
    }
}

impl Wire for AudioRun {
    type Message = v1::AudioRun;

    fn to_wire(&self) -> v1::AudioRun {
        v1::AudioRun { start: self.start, end: self.end, list: Some(self.list.to_wire()) }
    }

    fn from_wire(message: v1::AudioRun) -> Result<Self, WireError> {
        Ok(Self { start: message.start, end: message.end, list: required("list", message.list)? })
    }
}

impl Wire for Finding {
    type Message = v1::Finding;

    fn to_wire(&self) -> v1::Finding {
        v1::Finding { code: self.code.clone(), text: self.text.clone(), handling: self.handling.clone() }
    }

    fn from_wire(message: v1::Finding) -> Result<Self, WireError> {
        Ok(Self { code: message.code, text: message.text, handling: message.handling })
    }
}

impl Wire for Color {
    type Message = v1::Color;

    fn to_wire(&self) -> v1::Color {
        v1::Color {
            primaries: self.primaries.into(),
            transfer: self.transfer.into(),
            matrix: self.matrix.into(),
            full_range: self.full_range,
        }
    }

    fn from_wire(message: v1::Color) -> Result<Self, WireError> {
        let code_point = |field, value: u32| {
            u8::try_from(value).map_err(|_| WireError::at(field, format_args!("{value} is above 255")))
        };
        Ok(Self {
            primaries: code_point("primaries", message.primaries)?,
            transfer: code_point("transfer", message.transfer)?,
            matrix: code_point("matrix", message.matrix)?,
            full_range: message.full_range,
        })
    }
}

impl Wire for FrameRate {
    type Message = v1::Ratio;

    fn to_wire(&self) -> v1::Ratio {
        v1::Ratio { numerator: self.numerator, denominator: self.denominator }
    }

    fn from_wire(message: v1::Ratio) -> Result<Self, WireError> {
        let v1::Ratio { numerator, denominator } = message;
        Ok(Self { numerator, denominator: nonzero("denominator", denominator)? })
    }
}

/// Sample aspect ratio, width ÷ height.
impl Wire for (u32, u32) {
    type Message = v1::Ratio;

    fn to_wire(&self) -> v1::Ratio {
        v1::Ratio { numerator: self.0, denominator: self.1 }
    }

    fn from_wire(message: v1::Ratio) -> Result<Self, WireError> {
        Ok((nonzero("numerator", message.numerator)?, nonzero("denominator", message.denominator)?))
    }
}

impl Wire for VideoStream {
    type Message = v1::VideoStream;

    fn to_wire(&self) -> v1::VideoStream {
        v1::VideoStream {
            index: self.index,
            codec: self.codec.clone(),
            setup: self.setup.0.clone(),
            timescale: self.timescale.get(),
            width_px: self.width_px,
            height_px: self.height_px,
            sample_aspect: Some(self.sample_aspect.to_wire()),
            rotation: self.rotation,
            mirrored: self.mirrored,
            frame_rate: Some(self.frame_rate.to_wire()),
            interlaced: self.interlaced,
            pixel_format: self.pixel_format.clone(),
            color: Some(self.color.to_wire()),
            timing: self.timing.code(),
        }
    }

    fn from_wire(message: v1::VideoStream) -> Result<Self, WireError> {
        Ok(Self {
            index: message.index,
            codec: message.codec,
            setup: DecoderSetup(message.setup),
            timescale: timescale("timescale", message.timescale)?,
            width_px: nonzero("width_px", message.width_px)?,
            height_px: nonzero("height_px", message.height_px)?,
            sample_aspect: required("sample_aspect", message.sample_aspect)?,
            rotation: quarter_turn("rotation", message.rotation)?,
            mirrored: message.mirrored,
            frame_rate: required("frame_rate", message.frame_rate)?,
            interlaced: message.interlaced,
            pixel_format: message.pixel_format,
            color: required("color", message.color)?,
            timing: Timing::from_code("timing", message.timing)?,
        })
    }
}

impl Wire for AudioStream {
    type Message = v1::AudioStream;

    fn to_wire(&self) -> v1::AudioStream {
        v1::AudioStream {
            index: self.index,
            codec: self.codec.clone(),
            setup: self.setup.0.clone(),
            timescale: self.timescale.get(),
            sample_rate_hz: self.sample_rate_hz,
            channels: self.channels,
            language: self.language.clone(),
            title: self.title.clone(),
            default: self.default,
        }
    }

    fn from_wire(message: v1::AudioStream) -> Result<Self, WireError> {
        Ok(Self {
            index: message.index,
            codec: message.codec,
            setup: DecoderSetup(message.setup),
            timescale: timescale("timescale", message.timescale)?,
            sample_rate_hz: message.sample_rate_hz,
            channels: message.channels,
            language: message.language,
            title: message.title,
            default: message.default,
        })
    }
}

impl Wire for SourceInfo {
    type Message = v1::SourceInfo;

    fn to_wire(&self) -> v1::SourceInfo {
        v1::SourceInfo {
            container: self.container.clone(),
            size_bytes: self.size_bytes,
            mark: self.mark.clone(),
            declared_ms: self.declared_ms,
            verdict: self.verdict.code(),
            findings: all_to_wire(&self.findings),
            video: self.video.as_ref().map(Wire::to_wire),
            audio: all_to_wire(&self.audio),
            ignored: self.ignored.clone(),
        }
    }

    fn from_wire(message: v1::SourceInfo) -> Result<Self, WireError> {
        Ok(Self {
            container: message.container,
            size_bytes: message.size_bytes,
            mark: message.mark,
            declared_ms: message.declared_ms,
            verdict: Verdict::from_code("verdict", message.verdict)?,
            findings: all_from_wire("findings", message.findings)?,
            video: optional("video", message.video)?,
            audio: all_from_wire("audio", message.audio)?,
            ignored: message.ignored,
        })
    }
}

impl Wire for RateControl {
    type Message = v1::RateControl;

    fn to_wire(&self) -> v1::RateControl {
        v1::RateControl { crf: self.crf, maxrate_bps: self.maxrate_bps, bufsize_bits: self.bufsize_bits }
    }

    fn from_wire(message: v1::RateControl) -> Result<Self, WireError> {
        Ok(Self {
            crf: checked("crf", message.crf, |crf| (0.0..=63.0).contains(crf), "0 to 63")?, // 63: of AV1
            maxrate_bps: nonzero("maxrate_bps", message.maxrate_bps)?,
            bufsize_bits: nonzero("bufsize_bits", message.bufsize_bits)?,
        })
    }
}

impl Wire for VideoRendition {
    type Message = v1::VideoRendition;

    fn to_wire(&self) -> v1::VideoRendition {
        v1::VideoRendition {
            name: self.name.clone(),
            codec: self.codec.code(),
            width_px: self.width_px,
            height_px: self.height_px,
            rate: Some(self.rate.to_wire()),
            preset: self.preset.clone(),
        }
    }

    fn from_wire(message: v1::VideoRendition) -> Result<Self, WireError> {
        Ok(Self {
            name: plain_name("name", message.name)?,
            codec: VideoCodec::from_code("codec", message.codec)?,
            width_px: even("width_px", message.width_px)?,
            height_px: even("height_px", message.height_px)?,
            rate: required("rate", message.rate)?,
            preset: message.preset,
        })
    }
}

impl Wire for AudioRendition {
    type Message = v1::AudioRendition;

    fn to_wire(&self) -> v1::AudioRendition {
        v1::AudioRendition {
            name: self.name.clone(),
            stream: self.stream,
            codec: self.codec.code(),
            bitrate_bps: self.bitrate_bps,
            sample_rate_hz: self.sample_rate_hz,
            channels: self.channels,
            language: self.language.clone(),
            title: self.title.clone(),
            default: self.default,
        }
    }

    fn from_wire(message: v1::AudioRendition) -> Result<Self, WireError> {
        Ok(Self {
            name: plain_name("name", message.name)?,
            stream: message.stream,
            codec: AudioCodec::from_code("codec", message.codec)?,
            bitrate_bps: nonzero("bitrate_bps", message.bitrate_bps)?,
            sample_rate_hz: nonzero("sample_rate_hz", message.sample_rate_hz)?,
            channels: checked("channels", message.channels, |channels| matches!(channels, 1 | 2), "1 or 2")?,
            language: message.language,
            title: message.title,
            default: message.default,
        })
    }
}

impl Wire for DecoderConfig {
    type Message = v1::DecoderConfig;

    fn to_wire(&self) -> v1::DecoderConfig {
        use v1::decoder_config::Config;
        let config = match self.clone() {
            Self::Avc(payload) => Config::Avc(payload),
            Self::Hevc(payload) => Config::Hevc(payload),
            Self::Av1(payload) => Config::Av1(payload),
            Self::Aac(payload) => Config::Aac(payload),
            Self::Opus(payload) => Config::Opus(payload),
        };
        v1::DecoderConfig { config: Some(config) }
    }

    /// Refuses what no init segment could be written from.
    fn from_wire(message: v1::DecoderConfig) -> Result<Self, WireError> {
        use v1::decoder_config::Config;
        let config = match message.config.ok_or_else(|| WireError::at("config", "missing"))? {
            Config::Avc(payload) => Self::Avc(payload),
            Config::Hevc(payload) => Self::Hevc(payload),
            Config::Av1(payload) => Self::Av1(payload),
            Config::Aac(payload) => Self::Aac(payload),
            Config::Opus(payload) => Self::Opus(payload),
        };
        config.codecs().map_err(|error| WireError::at("config", error))?;
        Ok(config)
    }
}
