//! Clips as a decoder wants them: one access unit after another, without a container.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nvidia::Codec;

use crate::ffmpeg;

/// The coded pictures of a clip.
pub struct Stream {
    pub codec: Codec,
    /// In coding order: Annex B, VP9 frames or AV1 temporal units.
    pub packets: Vec<Vec<u8>>,
    /// The same as a file that FFmpeg reads.
    pub file: PathBuf,
}

impl Stream {
    /// The first `most` packets of a clip, which are written to a file in `scratch` as well. `None`: a codec that no card
    /// has, or no video.
    ///
    /// # Errors
    /// FFmpeg can't read it.
    pub fn of(clip: &Path, most: usize, scratch: &Path) -> Result<Option<Self>> {
        let Ok(name) = ffmpeg::codec(clip) else { return Ok(None) };
        let (codec, filter, format) = match name.as_str() {
            "h264" => (Codec::H264, Some("h264_mp4toannexb,h264_metadata=aud=insert"), "h264"),
            "hevc" => (Codec::Hevc, Some("hevc_mp4toannexb,hevc_metadata=aud=insert"), "hevc"),
            "vp9" => (Codec::Vp9, None, "ivf"),
            "av1" => (Codec::Av1, None, "ivf"),
            _ => return Ok(None),
        };
        let file = scratch.join(format!("stream.{format}"));
        let mut command = ffmpeg::command(["-y".as_ref(), "-i".as_ref(), clip.as_os_str()]);
        command.args(["-map", "0:v:0", "-c", "copy", "-frames:v", &most.to_string()]);
        command.args(filter.iter().flat_map(|filter| ["-bsf:v", filter])).args(["-f", format]).arg(&file);
        ffmpeg::output(command)?;
        let bytes = std::fs::read(&file)?;
        let packets = match codec {
            Codec::H264 => access_units(&bytes, |first| first & 0x1f == 9),
            Codec::Hevc => access_units(&bytes, |first| first >> 1 & 0x3f == 35),
            Codec::Vp9 | Codec::Av1 => ivf_frames(&bytes)?,
        };
        ensure!(!packets.is_empty(), "no packets");
        Ok(Some(Self { codec, packets, file }))
    }

    /// Bytes of all packets.
    pub fn bytes(&self) -> u64 {
        self.packets.iter().map(|packet| packet.len() as u64).sum()
    }
}

/// Cuts Annex B bytes before each access unit delimiter, which `is_delimiter` knows by the first byte of its NAL unit.
fn access_units(bytes: &[u8], is_delimiter: impl Fn(u8) -> bool) -> Vec<Vec<u8>> {
    let starts: Vec<usize> = bytes
        .windows(4)
        .enumerate()
        .filter(|(_, four)| four[..3] == [0, 0, 1] && is_delimiter(four[3]))
        // The zero byte of a long start code belongs to it.
        .map(|(place, _)| if place > 0 && bytes[place - 1] == 0 { place - 1 } else { place })
        .collect();
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    starts.iter().zip(ends).map(|(&start, end)| bytes[start..end].to_vec()).collect()
}

/// Frames of an IVF file: 32 bytes of header, then 12 bytes before each frame, of which 4 are its size.
fn ivf_frames(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut rest = bytes.get(32..).filter(|_| bytes.starts_with(b"DKIF")).context("not an IVF file")?;
    let mut frames = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<12>() {
        let size = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let (frame, after) = after.split_at_checked(size).context("an IVF frame is cut off")?;
        frames.push(frame.to_vec());
        rest = after;
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annex_b_is_cut_before_delimiters_with_start_codes_of_both_lengths() {
        let bytes = [0, 0, 0, 1, 9, 0xf0, 0, 0, 1, 0x65, 1, 2, 0, 0, 1, 9, 0xf0, 0, 0, 1, 0x41, 3];
        let units = access_units(&bytes, |first| first & 0x1f == 9);
        assert_eq!(units, [bytes[..12].to_vec(), bytes[12..].to_vec()]);
    }

    #[test]
    fn ivf_that_is_cut_off_is_an_error() {
        let mut bytes = b"DKIF".to_vec();
        bytes.resize(32, 0);
        bytes.extend([2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 8]);
        assert_eq!(ivf_frames(&bytes).unwrap(), [vec![7, 8]]);
        bytes.pop();
        assert!(ivf_frames(&bytes).is_err());
    }
}
