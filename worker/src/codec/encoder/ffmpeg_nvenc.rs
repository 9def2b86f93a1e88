//! NVENC as FFmpeg drives it: what it is asked for, and what its errors mean. It numbers its parameter sets 0, as x264 does.

use ffmpeg_next::{Dictionary, Error, encoder};
use shared::error::TaskError;
use shared::placement::Stage;
use shared::rendition::VideoCodec;

use super::EncoderPlan;
use crate::codec::gpu::Trouble;
use crate::codec::level;

/// Pictures until NVENC would put a key frame by itself: none asks for as many.
const LONGEST_GOP: u32 = 1 << 20;

/// FFmpeg's name of the encoder.
pub(super) fn library(plan: &EncoderPlan) -> &'static str {
    match plan.rendition.codec {
        VideoCodec::H264 => "h264_nvenc",
        VideoCodec::Hevc => "hevc_nvenc",
        VideoCodec::Av1 => "av1_nvenc",
    }
}

/// The settings of [`super::super::nvenc`] in FFmpeg's words. The slot sees one GPU, so it is number 0.
pub(super) fn options(plan: &EncoderPlan) -> Dictionary<'static> {
    let rendition = &plan.rendition;
    let (width, height, rate) = (rendition.width_px, rendition.height_px, &rendition.rate);
    let mut options: Dictionary = [
        ("preset", "p5"),
        ("tune", "hq"),
        ("rc", "vbr"),
        ("multipass", "qres"),
        ("spatial-aq", "1"),
        ("forced-idr", "1"),
        ("no-scenecut", "1"),
        ("gpu", "0"),
    ]
    .into_iter()
    .collect();
    options.set("cq", &rate.crf.to_string());
    let fps = plan.frames_per_second;
    match rendition.codec {
        VideoCodec::H264 => {
            let level = level::h264(width, height, fps, rate.maxrate_bps, rate.bufsize_bits);
            options.set("profile", "high");
            options.set("level", &format!("{}.{}", level / 10, level % 10));
        }
        VideoCodec::Hevc => {
            options.set("profile", "main");
            options.set("level", level::hevc(width, height, fps, rate.maxrate_bps, rate.bufsize_bits));
        }
        VideoCodec::Av1 => {}
    }
    options
}

/// Rate and distance of key frames.
pub(super) fn limit(plan: &EncoderPlan, encoder: &mut encoder::video::Video) {
    encoder.set_gop(LONGEST_GOP);
    encoder.set_bit_rate(0);
    encoder.set_max_bit_rate(plan.vbv.maxrate_kbps as usize * 1000);
}

/// Running out of memory is how FFmpeg tells that no session is free.
pub(super) fn error(what: &str, error: Error) -> TaskError {
    let trouble = match error {
        Error::Other { errno } if errno == rustix::io::Errno::NOMEM.raw_os_error() => Trouble::Busy,
        Error::Other { errno } if errno == rustix::io::Errno::NOSYS.raw_os_error() => Trouble::Refused,
        Error::EncoderNotFound | Error::InvalidData => Trouble::Refused,
        Error::Other { errno } if errno == rustix::io::Errno::INVAL.raw_os_error() => Trouble::Refused,
        _ => Trouble::Fault,
    };
    trouble.error(Stage::Encode, format!("{what}: {error}"))
}
