//! The encoder of a GPU, driven directly: the same recipe as the software's, as far as the card can.

use std::path::Path;
use std::sync::Arc;

use nvidia::codec::Codec;
use nvidia::encode::{self, EncodeError, EncodeSettings};
use nvidia::surface::Format;
use shared::cmaf::DecoderConfig;
use shared::error::TaskError;
use shared::family::Family;
use shared::placement::Stage;
use shared::rendition::VideoCodec;

use super::encoder::{EncoderPlan, INITIAL_FILL};
use super::gpu::{Gpu, Trouble};
use super::{Encoder, Packet, Picture, level};

/// Of 1 (fast) to 7 (good): where quality stops being bought with half the speed for each step.
const PRESET: u8 = 5;

/// One session of NVENC from its first picture to its last.
pub struct NvencEncoder {
    gpu: Arc<Gpu>,
    encoder: encode::Encoder,
    config: DecoderConfig,
    family: Family,
    rendition: String,
    name: String,
}

impl NvencEncoder {
    /// Opens what `plan` asks for; `plain`: without the tools that a card has failed with.
    ///
    /// # Errors
    /// [`Trouble`] at [`Stage::Encode`].
    pub fn open(gpu: Arc<Gpu>, libraries: Option<&Path>, plan: &EncoderPlan, plain: bool) -> Result<Self, TaskError> {
        let nvenc = gpu.nvenc(libraries)?;
        let facts = gpu.device().facts();
        let family = Family::nvenc(facts.compute_capability);
        if let Some(pin) = plan.pin.filter(|pin| *pin != family) {
            let text = format!("{} has to be made by {pin}, and the GPU is of {family}", plan.name());
            return Err(Trouble::Refused.error(Stage::Encode, text));
        }
        let settings = EncodeSettings { plain, ..settings(plan, family.parameter_set_id().into()) };
        let encoder =
            encode::Encoder::open(gpu.device(), &nvenc, &settings).map_err(|error| trouble(plan.name(), &error))?;
        let config = match plan.rendition.codec {
            VideoCodec::H264 => DecoderConfig::from_annexb_h264(encoder.headers()),
            VideoCodec::Hevc => DecoderConfig::from_annexb_hevc(encoder.headers()),
            VideoCodec::Av1 => DecoderConfig::from_av1(encoder.headers()),
        };
        let config = config.map_err(|error| {
            Trouble::Refused.error(Stage::Encode, format!("{}: headers of NVENC: {error}", plan.name()))
        })?;
        let driver = facts.driver.as_deref().unwrap_or("unknown");
        let kind = if plain { ", plain" } else { "" };
        let name = format!("NVENC {} ({}, driver {driver}{kind})", settings.codec, facts.name);
        Ok(Self { encoder, config, family, rendition: plan.name().to_owned(), name, gpu })
    }

    fn convert(&self, packets: Vec<encode::Packet>) -> Result<Vec<Packet>, TaskError> {
        let convert = |packet: encode::Packet| {
            let data = self.config.sample_data(&packet.data).map_err(|error| {
                Trouble::Refused.error(Stage::Encode, format!("{}: packet of NVENC: {error}", self.rendition))
            })?;
            Ok(Packet { data, pts: packet.pts, idr: packet.idr })
        };
        packets.into_iter().map(convert).collect()
    }
}

impl Encoder for NvencEncoder {
    fn push(&mut self, picture: Picture, idr: bool) -> Result<Vec<Packet>, TaskError> {
        let picture = picture.to_device(&self.gpu)?;
        let pts = picture.pts.ok_or_else(|| TaskError::bug("a picture without its time"))?;
        let packets = self.encoder.push(picture.surface, pts, idr).map_err(|error| trouble(&self.rendition, &error))?;
        self.convert(packets)
    }

    fn finish(&mut self) -> Result<Vec<Packet>, TaskError> {
        let packets = self.encoder.finish().map_err(|error| trouble(&self.rendition, &error))?;
        self.convert(packets)
    }

    fn decoder_config(&self) -> &DecoderConfig {
        &self.config
    }

    fn family(&self) -> Family {
        self.family
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// What an error of NVENC's means to an attempt.
pub fn trouble(rendition: &str, error: &EncodeError) -> TaskError {
    let trouble = match error {
        EncodeError::Busy(_) => Trouble::Busy,
        EncodeError::Unsupported(_) | EncodeError::Config(_) => Trouble::Refused,
        EncodeError::Fault(_) => Trouble::Fault,
    };
    trouble.error(Stage::Encode, format!("{rendition}: {error}"))
}

/// The plan in NVENC's words.
fn settings(plan: &EncoderPlan, parameter_set: u32) -> EncodeSettings {
    let rendition = &plan.rendition;
    let (width, height, rate) = (rendition.width_px, rendition.height_px, &rendition.rate);
    let fps = plan.frames_per_second;
    let level = match rendition.codec {
        VideoCodec::H264 => Some(level::h264(width, height, fps, rate.maxrate_bps, rate.bufsize_bits).into()),
        VideoCodec::Hevc => hevc_level_idc(level::hevc(width, height, fps, rate.maxrate_bps, rate.bufsize_bits)),
        VideoCodec::Av1 => None, // its sequence header is not shared with other encoders
    };
    let buffer_bits = plan.vbv.bufsize_kbit.saturating_mul(1000);
    let (primaries, transfer, matrix) = plan.color;
    EncodeSettings {
        codec: codec(rendition.codec),
        width,
        height,
        format: Format::Nv12,
        frame_rate: (plan.frame_rate.0.unsigned_abs(), plan.frame_rate.1.unsigned_abs()),
        crf: rate.crf,
        maxrate_bps: plan.vbv.maxrate_kbps.saturating_mul(1000),
        buffer_bits,
        initial_fill_bits: (f64::from(buffer_bits) * INITIAL_FILL) as u32,
        level,
        parameter_set,
        color: encode::Color { primaries, transfer, matrix, full_range: false },
        preset: PRESET,
        plain: false,
    }
}

/// As NVIDIA's crate names it.
pub fn codec(codec: VideoCodec) -> Codec {
    match codec {
        VideoCodec::H264 => Codec::H264,
        VideoCodec::Hevc => Codec::Hevc,
        VideoCodec::Av1 => Codec::Av1,
    }
}

/// `general_level_idc` (ITU-T H.265 A.4): 30 times the level.
fn hevc_level_idc(level: &str) -> Option<u32> {
    let (major, minor) = level.split_once('.')?;
    Some(30 * major.parse::<u32>().ok()? + 3 * minor.parse::<u32>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_told_in_the_codecs_own_numbers() {
        assert_eq!(hevc_level_idc("4.0"), Some(120));
        assert_eq!(hevc_level_idc("5.1"), Some(153));
    }
}
