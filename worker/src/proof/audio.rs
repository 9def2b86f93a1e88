//! Half a second of a tone through encoder and decoder.

use shared::error::TaskError;
use shared::rendition::{AudioCodec, AudioRendition};
use shared::source::AudioStream;
use shared::time::Timescale;

use super::clip::{self, Coded};
use crate::audio::decode::{Decoded, Decoding};
use crate::audio::encode::Encoding;
use crate::audio::mix::Mixer;
use crate::audio::samples::Samples;
use crate::codec::setup::Setup;

const RATE_HZ: u32 = 48_000;
const SAMPLES: usize = 24_000;
const TONE_HZ: f32 = 440.0;
const LEVEL: f32 = 0.5;
/// What codecs need to come to speed is not compared.
const SKIPPED: usize = 4_800;
/// Below this the sound is not what went in; at these settings encoders reach 30 and more.
const LEAST_SNR_DB: f64 = 15.0;

/// Identification header (RFC 7845 5.1) of two channels at 48 kHz, nothing of which is skipped: FFmpeg's decoder wants one.
const OPUS_HEAD: &[u8; 19] = b"OpusHead\x01\x02\0\0\x80\xbb\0\0\0\0\0";

/// Encodes with the settings of production, decodes, and compares number and sound of the samples.
pub fn round_trip(codec: AudioCodec) -> Result<(), TaskError> {
    let tone = (0..SAMPLES).map(|n| LEVEL * (std::f32::consts::TAU * TONE_HZ * n as f32 / RATE_HZ as f32).sin());
    let tone: Vec<f32> = tone.collect();
    let mut encoding = Encoding::open(&rendition(codec))?;
    let mut packets = encoding.push(&Samples::new(vec![tone.clone(), tone.clone()]))?;
    packets.extend(encoding.finish()?);

    let size = encoding.frame_size();
    let coded: Vec<Coded> = (0i64..)
        .zip(packets)
        .map(|(number, data)| Coded { data, pts: number * i64::from(size), duration: size, key: true })
        .collect();
    let inputs = clip::inputs(&coded, 0)?;
    let stream = stream(codec, &encoding)?;
    let mut decoding = Decoding::open(&stream)?;
    let (mut mixer, mut found) = (Mixer::new(2), Samples::silence(2, 0));
    let entries = inputs.lists.iter().flat_map(|list| &list.packets);
    let decoded: Result<Vec<_>, _> = entries.map(|entry| decoding.decode(entry, &[], &inputs.objects)).collect();
    for one in decoded?.into_iter().flatten().chain(decoding.finish()?) {
        match one {
            Decoded::Frame(mut frame) => found.append(&mixer.mix(&mut frame)?),
            Decoded::Lost => return Err(TaskError::unsupported("trial", "the decoder does not read what was encoded")),
        }
    }
    compare(&tone, &found, usize::try_from(encoding.priming()).unwrap_or(usize::MAX))
}

fn compare(tone: &[f32], found: &Samples, priming: usize) -> Result<(), TaskError> {
    let wide = |samples: &[f32]| samples.iter().map(|sample| f64::from(*sample)).collect::<Vec<_>>();
    for channel in found.channels() {
        let Some(signal) = channel.get(priming..priming.saturating_add(SAMPLES)) else {
            let text = format!("{} samples come back of {SAMPLES} and {priming} of priming", channel.len());
            return Err(TaskError::unsupported("trial", text));
        };
        let scale = f64::from(LEVEL) / std::f64::consts::SQRT_2;
        let snr_db = clip::likeness_db(scale, &wide(&tone[SKIPPED..]), &wide(&signal[SKIPPED..]));
        if snr_db < LEAST_SNR_DB {
            let text = format!("sound comes back with {snr_db:.1} dB, at least {LEAST_SNR_DB} are expected");
            return Err(TaskError::unsupported("trial", text));
        }
    }
    Ok(())
}

fn rendition(codec: AudioCodec) -> AudioRendition {
    AudioRendition {
        name: codec.as_str().to_owned(),
        stream: 0,
        codec,
        bitrate_bps: 128_000,
        sample_rate_hz: RATE_HZ,
        channels: 2,
        language: "und".to_owned(),
        title: String::new(),
        default: true,
    }
}

fn stream(codec: AudioCodec, encoding: &Encoding) -> Result<AudioStream, TaskError> {
    let extradata = match codec {
        AudioCodec::Aac => encoding.config().payload().to_vec(),
        AudioCodec::Opus => OPUS_HEAD.to_vec(),
    };
    let (sample_rate, channels, codec) = (RATE_HZ as i32, 2, codec.as_str().to_owned());
    let setup = Setup { codec: codec.clone(), extradata, sample_rate, channels, ..Setup::default() };
    Ok(AudioStream {
        index: 0,
        codec,
        setup: setup.seal(),
        timescale: Timescale::new(RATE_HZ).ok_or_else(|| TaskError::bug("no ticks"))?,
        sample_rate_hz: RATE_HZ,
        channels: 2,
        language: "und".to_owned(),
        title: String::new(),
        default: true,
    })
}
