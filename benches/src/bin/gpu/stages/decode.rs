//! What NVDEC can, and whether its pictures are libavcodec's, sample by sample: decoding is exact by definition.

use std::path::Path;

use anyhow::Result;
use nvidia::Device;
use nvidia::decode::{Cuvid, DecodeCapabilities, DecodeError, capabilities};

use crate::bench::{Bench, decode};
use crate::ffmpeg::Pictures;
use crate::findings::Findings;
use crate::picture::Copied;
use crate::stream::Stream;

/// Packets of a clip that are decoded: enough for several groups of pictures.
const MOST_PACKETS: usize = 300;
/// The same where nobody waits for a card.
const MOST_PACKETS_QUICK: usize = 24;
/// Files with these beginnings are damaged or no video, and made to be so.
const DAMAGED: [&str; 2] = ["bad_", "refused_"];

/// Asks, then compares every clip.
pub fn run(bench: &Bench, findings: &mut Findings) -> Result<()> {
    let device = bench.device()?;
    let cuvid = Cuvid::load(None)?;
    let able = capabilities(&device, &cuvid)?;
    for one in &able {
        let DecodeCapabilities { codec, depth, smallest, largest, engines, .. } = one;
        let sizes = format!("{}x{} to {}x{}", smallest.0, smallest.1, largest.0, largest.1);
        findings.note(format!("{codec}, {depth} bit"), format!("{sizes}, {engines} engines"));
    }
    for clip in bench.clips()? {
        let name = clip.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if DAMAGED.iter().any(|beginning| name.starts_with(beginning)) {
            continue;
        }
        match compare(bench, &device, &cuvid, &clip) {
            Ok(Outcome::Other) => {}
            Ok(Outcome::Left(why)) => findings.note(name, format!("left out: {why}")),
            Ok(Outcome::Compared { codec, pictures, different, largest }) => {
                let found = format!("{codec}: {pictures} pictures, {different} differ, by {largest} at most");
                findings.check(name, different == 0 && pictures > 0, found);
            }
            Err(error) => findings.check(name, false, format!("{error:#}")),
        }
    }
    Ok(())
}

/// What became of a clip.
enum Outcome {
    /// No codec of NVDEC.
    Other,
    /// This card or this comparison can't.
    Left(String),
    Compared {
        codec: String,
        pictures: u64,
        different: u64,
        largest: u16,
    },
}

fn compare(bench: &Bench, device: &Device, cuvid: &Cuvid, clip: &Path) -> Result<Outcome> {
    let most = if bench.quick { MOST_PACKETS_QUICK } else { MOST_PACKETS };
    let stream = match Stream::of(clip, most, &bench.scratch) {
        Ok(Some(stream)) => stream,
        Ok(None) => return Ok(Outcome::Other),
        Err(error) => return Ok(Outcome::Left(format!("FFmpeg does not repack it: {error:#}"))),
    };
    let mut wanted = match Pictures::of(&stream.file) {
        Ok(pictures) => pictures,
        Err(error) => return Ok(Outcome::Left(format!("{error:#}"))),
    };
    let depth = wanted.depth;
    let (mut different, mut largest) = (0, 0);
    let decoded = decode(device, cuvid, &stream, |_, surface| {
        let got = Copied::of(&surface)?;
        let difference = match wanted.next_picture()? {
            Some(planes) => got.difference(&planes, depth).unwrap_or(u16::MAX),
            None => u16::MAX,
        };
        different += u64::from(difference > 0);
        largest = largest.max(difference);
        Ok(())
    });
    let pictures = match decoded {
        Ok(pictures) => pictures,
        Err(error) => match error.downcast_ref::<DecodeError>() {
            Some(DecodeError::Unsupported(why)) => return Ok(Outcome::Left(format!("this card can't: {why}"))),
            _ => return Err(error),
        },
    };
    while wanted.next_picture()?.is_some() {
        different += 1; // which the card did not give
        largest = u16::MAX;
    }
    let codec = format!("{}, {depth} bit", stream.codec);
    Ok(Outcome::Compared { codec, pictures, different, largest })
}
