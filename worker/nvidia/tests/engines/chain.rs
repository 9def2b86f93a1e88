//! Decoder, scaler and encoders together: nothing leaves the device between the first packet and the last.

use nvidia::decode::{Cuvid, Decoder};
use nvidia::encode::{EncodeSettings, Encoder, Nvenc, Packet};
use nvidia::scale::{Siting, Size, Source, Transform, Window};
use nvidia::{Codec, Device, Format, Scaler};

use crate::decode::{COUNT, Clip, H264, Recipe};
use crate::encode::settings;
use crate::{decoded, ffmpeg, on, psnr};

/// The source's, and the first rung's.
const SOURCE: (u32, u32) = (640, 360);
/// The second rung's.
const HALF: (u32, u32) = (320, 180);

/// A rung's encoder and what came out of it.
struct Rung {
    encoder: Encoder,
    packets: Vec<Packet>,
}

impl Rung {
    fn open(device: &Device, nvenc: &Nvenc, codec: Codec, (width, height): (u32, u32)) -> Self {
        let (maxrate_bps, level) = (20_000_000, None);
        let settings = EncodeSettings { width, height, crf: 10.0, maxrate_bps, level, ..settings(codec) };
        Self { encoder: Encoder::open(device, nvenc, &settings).unwrap(), packets: Vec::new() }
    }
}

/// The whole clip through all of it: the packets of both rungs.
fn transcode(clip: &Clip) -> [Vec<Packet>; 2] {
    let device = Device::open(0).unwrap();
    let (cuvid, nvenc) = (Cuvid::load(None).unwrap(), Nvenc::load(None).unwrap());
    let size = Size { width: SOURCE.0, height: SOURCE.1 };
    let window = Window { left: 0, top: 0, size };
    let source = Source { format: Format::Nv12, bits: 8, size, window, full_range: false, siting: Siting::Left };
    let half = Size { width: HALF.0, height: HALF.1 };
    let mut decoder = Decoder::open(&device, &cuvid, clip.codec).unwrap();
    let mut scaler = Scaler::new(&device, &source, &Transform::NONE, &[size, half]).unwrap();
    let mut rungs = [Rung::open(&device, &nvenc, Codec::H264, SOURCE), Rung::open(&device, &nvenc, Codec::Hevc, HALF)];
    let packets = clip.packets.iter().map(|(data, pts)| (Some(&data[..]), *pts)).chain([(None, 0)]);
    let mut first = true;
    for (data, pts) in packets {
        decoder.push(data, pts).unwrap();
        while let Some(picture) = decoder.next_picture() {
            let scaled = scaler.push(&picture.surface).unwrap();
            for (rung, surface) in rungs.iter_mut().zip(scaled) {
                rung.packets.extend(rung.encoder.push(surface, picture.pts, first).unwrap());
            }
            first = false;
        }
    }
    rungs.map(|mut rung| {
        rung.packets.extend(rung.encoder.finish().unwrap());
        rung.packets
    })
}

#[test]
fn a_ladder_is_made_without_leaving_the_device() {
    on("l4", "lazy_streams", "chain::a_ladder_is_made_without_leaving_the_device", |folder| {
        let clip = Clip::make(folder, &Recipe { size: SOURCE, ..H264 });
        let [whole, half] = transcode(&clip);
        for packets in [&whole, &half] {
            let mut times: Vec<i64> = packets.iter().map(|packet| packet.pts).collect();
            times.sort_unstable();
            let mut wanted: Vec<i64> = clip.packets.iter().map(|(_, pts)| *pts).collect();
            wanted.sort_unstable();
            assert_eq!(times, wanted);
        }
        let got = decoded(folder, Codec::H264, &whole, "nv12");
        assert_eq!(got.len(), COUNT * clip.pictures[0].len());
        let quality = psnr(got.iter().zip(clip.pictures.iter().flatten()));
        assert!(quality > 38.0, "{quality} dB");

        let path = folder.join("pictures.nv12");
        std::fs::write(&path, clip.pictures.concat()).unwrap();
        let input = ["-f", "rawvideo", "-s", "640x360", "-pix_fmt", "nv12", "-i", path.to_str().unwrap()];
        let output = ["-vf", "scale=320:180:flags=lanczos", "-f", "rawvideo", "-pix_fmt", "nv12", "-"];
        let wanted = ffmpeg(&[&input[..], &output[..]].concat());
        let got = decoded(folder, Codec::Hevc, &half, "nv12");
        assert_eq!(got.len(), wanted.len());
        let quality = psnr(got.iter().zip(&wanted));
        assert!(quality > 36.0, "{quality} dB");
    });
}

#[test]
fn a_decoded_picture_is_encoded_as_it_is() {
    on("t4", "", "chain::a_decoded_picture_is_encoded_as_it_is", |folder| {
        let clip = Clip::make(folder, &Recipe { size: SOURCE, ..H264 });
        let device = Device::open(0).unwrap();
        let mut decoder = Decoder::open(&device, &Cuvid::load(None).unwrap(), clip.codec).unwrap();
        let mut rung = Rung::open(&device, &Nvenc::load(None).unwrap(), Codec::H264, SOURCE);
        for (data, pts) in &clip.packets {
            decoder.push(Some(data), *pts).unwrap();
            while let Some(picture) = decoder.next_picture() {
                rung.packets.extend(rung.encoder.push(picture.surface, picture.pts, false).unwrap());
            }
        }
        drop(decoder);
        rung.packets.extend(rung.encoder.finish().unwrap());
        let got = decoded(folder, Codec::H264, &rung.packets, "nv12");
        let quality = psnr(got.iter().zip(clip.pictures.iter().flatten()));
        assert!(rung.packets.len() > COUNT / 2 && quality > 38.0, "{} packets, {quality} dB", rung.packets.len());
    });
}
