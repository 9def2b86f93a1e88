//! Encoders through libavcodec: x264, x265 and SVT-AV1, each on one thread and with nothing of the clock in its bytes; and
//! NVENC as FFmpeg drives it, where it works and [`super::nvenc`] does not.

mod ffmpeg_nvenc;

use ffmpeg_next::{Dictionary, Error, Packet as AvPacket, codec, encoder, format, frame, picture};
use shared::cmaf::DecoderConfig;
use shared::error::{ErrorKind, TaskError};
use shared::family::Family;
use shared::rendition::{VideoCodec, VideoRendition};
use shared::task::VideoTask;

use super::{Encoder, Packet, Picture, level};
use crate::av;
use crate::task::ffmpeg_error;

/// Share of the decoder buffer that is full when a chunk begins.
pub(super) const INITIAL_FILL: f64 = 0.9;

/// What libavcodec calls it.
const SVT_AV1: &str = "libsvtav1";

/// What every chunk's encoder of a rendition is opened with.
#[derive(Debug, Clone)]
pub struct EncoderPlan {
    pub(super) rendition: VideoRendition,
    /// The family that has to make it.
    pub pin: Option<Family>,
    pub(super) timescale: i32,
    pub(super) frames_per_second: f64,
    pub(super) frame_rate: (i32, i32),
    pub(super) color: (u8, u8, u8),
    pub(super) vbv: Vbv,
}

/// Buffer model of one chunk, such that chunks join: see [`Vbv::of_chunk`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Vbv {
    /// Kilobits per second.
    pub maxrate_kbps: u32,
    /// Kilobits.
    pub bufsize_kbit: u32,
}

impl Vbv {
    /// Declared are `R` bits per second into a buffer of `B` bits. A chunk of `seconds` that others follow is encoded
    /// with a buffer `b = B ÷ (1 + f)`, of which `f` is full at its start, and the rate `R − f·b ÷ seconds`: it takes
    /// at most `R · seconds` bits, so the next chunk finds the joined buffer as full as this one did. The last chunk
    /// (`None`) owes nobody anything and has the whole rate.
    pub fn of_chunk(maxrate_bps: u32, bufsize_bits: u32, seconds: Option<f64>) -> Self {
        let buffer = f64::from(bufsize_bits) / (1.0 + INITIAL_FILL);
        let owed = seconds.map_or(0.0, |seconds| INITIAL_FILL * buffer / seconds.max(0.1));
        let rate = (f64::from(maxrate_bps) - owed).max(f64::from(maxrate_bps) / 4.0);
        Self { maxrate_kbps: (rate / 1000.0) as u32, bufsize_kbit: (buffer / 1000.0) as u32 }
    }
}

impl EncoderPlan {
    /// For rendition number `rung` of a chunk.
    pub fn new(task: &VideoTask, rung: usize) -> Self {
        let rendition = task.renditions[rung].clone();
        let rate = task.stream.frame_rate;
        let seconds = task.end.map(|end| task.stream.timescale.seconds(end - task.start));
        let frame_rate = (i32::try_from(rate.numerator).unwrap_or(25), i32::try_from(rate.denominator).unwrap_or(1));
        Self {
            vbv: Vbv::of_chunk(rendition.rate.maxrate_bps, rendition.rate.bufsize_bits, seconds),
            timescale: i32::try_from(task.stream.timescale.get()).unwrap_or(i32::MAX),
            frames_per_second: rate.per_second(),
            frame_rate,
            color: (task.color.primaries, task.color.transfer, task.color.matrix),
            pin: task.pins.get(&rendition.name).copied(),
            rendition,
        }
    }

    /// What a track to which `encoder` gives a chunk needs first: its parameter sets, and beside them those of software if
    /// they go together. Software steps in wherever a GPU fails, and an init segment that has its sets need not grow then.
    pub fn track_config(&self, encoder: &dyn Encoder) -> DecoderConfig {
        let own = encoder.decoder_config();
        if encoder.family().is_software() || self.rendition.codec == VideoCodec::Av1 {
            return own.clone();
        }
        // Where there is no such software it will not step in either.
        let software = Libav::open(&Self { pin: None, ..self.clone() }).ok();
        software.and_then(|software| own.union(&software.config).ok()).unwrap_or_else(|| own.clone())
    }

    /// Name of the rendition.
    pub fn name(&self) -> &str {
        &self.rendition.name
    }

    fn library(&self) -> &'static str {
        match self.rendition.codec {
            VideoCodec::H264 => "libx264",
            VideoCodec::Hevc => "libx265",
            VideoCodec::Av1 => SVT_AV1,
        }
    }

    fn options(&self) -> Dictionary<'static> {
        let mut options = Dictionary::new();
        let VideoRendition { width_px, height_px, rate, preset, .. } = &self.rendition;
        options.set("preset", preset);
        options.set("crf", &rate.crf.to_string());
        let Vbv { maxrate_kbps, bufsize_kbit } = self.vbv;
        let vbv = format!("vbv-maxrate={maxrate_kbps}:vbv-bufsize={bufsize_kbit}:vbv-init={INITIAL_FILL}");
        let fps = self.frames_per_second;
        match self.rendition.codec {
            VideoCodec::H264 => {
                let level = level::h264(*width_px, *height_px, fps, rate.maxrate_bps, rate.bufsize_bits);
                // x264 writes the lowest profile that has the tools in use: without 8 × 8 transforms (`ultrafast`) that is
                // not the High of GPUs, and no track could have both.
                let gop = "keyint=infinite:min-keyint=1:scenecut=0:open-gop=0:stitchable=1:threads=1:8x8dct=1";
                // Other ids, fewer reference frames and no reordering: as unlike as one track bears.
                let stand_in = format!(":sps-id={}:ref=1:bframes=0", Family::StandIn.parameter_set_id());
                let family = if self.pin == Some(Family::StandIn) { &stand_in } else { "" };
                options.set("profile", "high");
                options.set("forced-idr", "1");
                options.set("x264-params", &format!("{gop}:level={level}:{vbv}{family}"));
            }
            VideoCodec::Hevc => {
                let level = level::hevc(*width_px, *height_px, fps, rate.maxrate_bps, rate.bufsize_bits);
                let gop = "keyint=-1:min-keyint=1:scenecut=0:open-gop=0:pools=none:frame-threads=1:wpp=0";
                options.set("forced-idr", "1");
                options.set("x265-params", &format!("{gop}:info=0:log-level=none:level-idc={level}:{vbv}"));
            }
            VideoCodec::Av1 => {
                // Key frames are closed (irefresh-type) and come where they are asked for: asking works only with a
                // finite keyint.
                let gop = "keyint=9999:irefresh-type=2:enable-force-key-frames=1:scd=0:lp=1";
                options.set("svtav1-params", &format!("{gop}:mbr={maxrate_kbps}"));
            }
        }
        options
    }
}

/// One libavcodec encoder from its first frame to its last.
pub struct Libav {
    driven: Driven,
    encoder: encoder::Video,
    config: DecoderConfig,
    name: String,
    /// A picture has gone in.
    begun: bool,
}

/// Which of libavcodec's encoders, for messages and for what an error means.
struct Driven {
    library: &'static str,
    rendition: String,
    family: Family,
}

impl Driven {
    fn error(&self, what: &str, error: Error) -> TaskError {
        if self.family == Family::FfmpegNvenc {
            return ffmpeg_nvenc::error(&format!("{} for {}: {what}", self.library, self.rendition), error);
        }
        let text = format!("{} for {}: {what}", self.library, self.rendition);
        ffmpeg_error(ErrorKind::Unsupported, "encoder", &text, error)
    }
}

impl Libav {
    /// Opens the software encoder that `plan` asks for, on one thread.
    ///
    /// # Errors
    /// `family_unavailable` if another family has to make the rendition.
    pub fn open(plan: &EncoderPlan) -> Result<Self, TaskError> {
        let family = plan.pin.unwrap_or_default();
        if !matches!((family, plan.rendition.codec), (Family::Software, _) | (Family::StandIn, VideoCodec::H264)) {
            let (name, codec) = (plan.name(), plan.rendition.codec.as_str());
            let text = format!("{name} has to be made by {family}, and no such {codec} encoder is here");
            return Err(TaskError::unsupported("family_unavailable", text));
        }
        let driven = Driven { library: plan.library(), rendition: plan.name().to_owned(), family };
        Self::open_with(plan, driven, plan.options())
    }

    /// Opens a GPU's encoder as FFmpeg drives it.
    ///
    /// # Errors
    /// [`Trouble`](super::gpu::Trouble) at the stage that encodes.
    pub fn open_nvenc(plan: &EncoderPlan) -> Result<Self, TaskError> {
        let (library, rendition) = (ffmpeg_nvenc::library(plan), plan.name().to_owned());
        let driven = Driven { library, rendition, family: Family::FfmpegNvenc };
        Self::open_with(plan, driven, ffmpeg_nvenc::options(plan))
    }

    fn open_with(plan: &EncoderPlan, driven: Driven, options: Dictionary<'_>) -> Result<Self, TaskError> {
        let library = encoder::find_by_name(driven.library).ok_or_else(|| match driven.family {
            Family::FfmpegNvenc => driven.error("there is none in this FFmpeg", Error::EncoderNotFound),
            _ => {
                let text = format!("this FFmpeg has no {}: install a build that has it", driven.library);
                TaskError::unsupported("encoder", text)
            }
        })?;
        let mut context = codec::Context::new_with_codec(library);
        av::set_color(&mut context, plan.color.0, plan.color.1, plan.color.2);
        context.set_flags(codec::Flags::GLOBAL_HEADER | codec::Flags::CLOSED_GOP);
        context.set_threading(codec::threading::Config::count(1));
        let mut video = context.encoder().video().map_err(|error| driven.error("context", error))?;
        video.set_width(plan.rendition.width_px);
        video.set_height(plan.rendition.height_px);
        video.set_format(format::Pixel::YUV420P);
        video.set_time_base((1, plan.timescale));
        video.set_frame_rate(Some(plan.frame_rate));
        video.set_aspect_ratio((1, 1));
        if driven.family == Family::FfmpegNvenc {
            ffmpeg_nvenc::limit(plan, &mut video);
        }
        let encoder = video.open_with(options).map_err(|error| driven.error("open", error))?;
        let headers = av::extradata(&encoder);
        let config = match plan.rendition.codec {
            VideoCodec::H264 => DecoderConfig::from_annexb_h264(&headers),
            VideoCodec::Hevc => DecoderConfig::from_annexb_hevc(&headers),
            VideoCodec::Av1 => DecoderConfig::from_av1(&headers),
        };
        let config = config.map_err(|error| TaskError::bug(format!("{} headers: {error}", driven.library)))?;
        let name = format!("{} (libavcodec {})", driven.library, av::codec_version());
        Ok(Self { driven, encoder, config, name, begun: false })
    }

    fn receive(&mut self) -> Result<Vec<Packet>, TaskError> {
        let mut packets = Vec::new();
        let mut packet = AvPacket::empty();
        loop {
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => packets.push(self.convert(&packet)?),
                Err(Error::Eof) => return Ok(packets),
                Err(Error::Other { errno }) if errno == ffmpeg_next::error::EAGAIN => return Ok(packets),
                Err(error) => return Err(self.driven.error("encode", error)),
            }
        }
    }

    fn convert(&self, packet: &AvPacket) -> Result<Packet, TaskError> {
        let data = self
            .config
            .sample_data(packet.data().unwrap_or_default())
            .map_err(|error| TaskError::bug(format!("{} packet: {error}", self.driven.library)))?;
        let pts = packet.pts().ok_or_else(|| TaskError::bug("a packet left the encoder without its time"))?;
        Ok(Packet { data, pts, idr: packet.is_key() })
    }
}

impl Encoder for Libav {
    fn push(&mut self, picture: Picture, idr: bool) -> Result<Vec<Packet>, TaskError> {
        let mut frame = picture.to_host()?;
        frame.set_kind(if idr { picture::Type::I } else { picture::Type::None });
        self.encoder.send_frame(&frame).map_err(|error| self.driven.error("encode", error))?;
        self.begun = true;
        self.receive()
    }

    fn finish(&mut self) -> Result<Vec<Packet>, TaskError> {
        self.encoder.send_eof().map_err(|error| self.driven.error("drain", error))?;
        self.receive()
    }

    fn decoder_config(&self) -> &DecoderConfig {
        &self.config
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn family(&self) -> Family {
        self.driven.family
    }
}

/// SVT-AV1 (1.4) never comes back when it is closed before its first picture, as in a chunk that can't be decoded: it gets one.
impl Drop for Libav {
    fn drop(&mut self) {
        if self.begun || self.driven.library != SVT_AV1 {
            return;
        }
        let mut grey = frame::Video::new(format::Pixel::YUV420P, self.encoder.width(), self.encoder.height());
        (0..grey.planes()).for_each(|plane| grey.data_mut(plane).fill(128));
        grey.set_pts(Some(0));
        // Nothing is left to try where it is refused.
        let _ = self.encoder.send_frame(&grey);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use shared::rendition::RateControl;

    use super::*;

    fn plan(codec: VideoCodec, preset: &str) -> EncoderPlan {
        let rate = RateControl { crf: 23.0, maxrate_bps: 3_000_000, bufsize_bits: 6_000_000 };
        let (name, preset) = ("720".into(), preset.into());
        EncoderPlan {
            vbv: Vbv::of_chunk(rate.maxrate_bps, rate.bufsize_bits, Some(6.0)),
            rendition: VideoRendition { name, codec, width_px: 1280, height_px: 720, rate, preset },
            pin: None,
            timescale: 12_800,
            frames_per_second: 25.0,
            frame_rate: (25, 1),
            color: (1, 1, 1),
        }
    }

    #[test]
    fn an_encoder_that_no_picture_has_come_to_is_closed_all_the_same() {
        for codec in [VideoCodec::H264, VideoCodec::Hevc, VideoCodec::Av1] {
            let plan = plan(codec, if codec == VideoCodec::Av1 { "12" } else { "ultrafast" });
            let (closed, wait) = mpsc::channel();
            std::thread::spawn(move || {
                drop(Libav::open(&plan).unwrap());
                closed.send(()).unwrap();
            });
            assert_eq!(wait.recv_timeout(Duration::from_secs(30)), Ok(()), "{codec:?}");
        }
    }

    #[test]
    fn joined_chunks_keep_the_declared_buffer() {
        let (rate, buffer) = (5_000_000.0, 10_000_000.0);
        for seconds in [2.0, 6.0, 24.0] {
            let vbv = Vbv::of_chunk(5_000_000, 10_000_000, Some(seconds));
            let (r, b) = (f64::from(vbv.maxrate_kbps) * 1000.0, f64::from(vbv.bufsize_kbit) * 1000.0);
            assert!(r * seconds + INITIAL_FILL * b <= rate * seconds + 2000.0 * seconds, "{seconds} s take too much");
            assert!(b * (1.0 + INITIAL_FILL) <= buffer + 2000.0);
        }
        assert_eq!(Vbv::of_chunk(5_000_000, 10_000_000, None).maxrate_kbps, 5_000);
    }

    /// Whatever a card began, software goes on with, so its sets say what those of cards do.
    #[test]
    fn every_speed_has_the_profile_and_level_of_gpus() {
        let presets = ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"];
        for (codec, told) in [(VideoCodec::H264, "avc1.64001f"), (VideoCodec::Hevc, "hvc1.1.6.L93.90")] {
            for preset in presets {
                let software = Libav::open(&plan(codec, preset)).unwrap();
                assert_eq!(software.decoder_config().codecs().unwrap(), told, "{preset}");
            }
        }
    }
}
