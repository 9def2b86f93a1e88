//! What is tried on a GPU; inside a slot.

use std::sync::Arc;
use std::time::Instant;

use nvidia::Device;
use nvidia::encode::EncodeError;
use nvidia::scale::{Picture as HostPicture, Reference, Scaler, Siting, Size, Source, Transform, Window};
use nvidia::surface::Format;
use shared::error::TaskError;
use shared::placement::{DecodeBy, EncodeBy, Placement, ScaleBy, Stage};

use super::Absence;
use super::card::{CODECS, Card, FFMPEG, KERNELS, Measured, PLAIN};
use crate::codec::backend::Backend;
use crate::codec::gpu::{Gpu, Trouble};
use crate::codec::nvenc::trouble;
use crate::proof::source::SOURCE_KINDS;
use crate::proof::video::{self, Clip};
use crate::slot::request::GpuOrder;

/// Tells which GPUs there are.
pub(super) const LOOK: &str = "look";
pub(super) const SESSIONS: &str = "sessions";
const SPEED: &str = "speed";

/// How the names begin of what shows that a card which has proven itself is alive.
const ALIVE: &str = "alive-";

/// Everything that is tried on each, in order.
pub(super) const NAMES: [&str; 18] = [
    KERNELS,
    "decode-h264",
    "decode-hevc",
    "decode-hevc-10",
    "decode-vp9",
    "decode-vp9-10",
    "decode-av1",
    "decode-av1-10",
    "encode-h264",
    "encode-hevc",
    "encode-av1",
    "plain-encode-h264",
    "plain-encode-hevc",
    "plain-encode-av1",
    "ffmpeg-encode-h264",
    "ffmpeg-encode-hevc",
    SESSIONS,
    SPEED,
];

/// Sessions that are opened at once to count them: more than the few that cards without professional licence have.
const MOST_SESSIONS: usize = 16;
const SOURCE_PX: (u32, u32) = (322, 182);
const TARGETS: [Size; 2] = [Size { width: 208, height: 118 }, Size { width: 96, height: 54 }];

/// Where the stages of a trial run.
pub(super) fn placement(name: &str) -> Placement {
    let software = Placement::SOFTWARE;
    match name.split_once("encode-") {
        Some(("", _)) => Placement { encode: EncodeBy::Nvenc, scale: ScaleBy::Cuda, ..software },
        Some((PLAIN, _)) => Placement { encode: EncodeBy::PlainNvenc, scale: ScaleBy::Cuda, ..software },
        Some((FFMPEG, _)) => Placement { encode: EncodeBy::FfmpegNvenc, ..software },
        _ if name == SPEED => Placement { encode: EncodeBy::Nvenc, scale: ScaleBy::Cuda, ..software },
        _ if name.starts_with("decode-") => Placement { decode: DecodeBy::Nvdec, ..software },
        _ => software,
    }
}

/// The trials any of which makes this one needless: it is a way round where all of them have failed.
pub(super) fn instead_of(name: &str) -> impl Iterator<Item = String> {
    let plain = name.strip_prefix(PLAIN).map(|direct| vec![direct.to_owned()]);
    let ffmpeg = name.strip_prefix(FFMPEG).map(|direct| vec![direct.to_owned(), format!("{PLAIN}{direct}")]);
    plain.or(ffmpeg).into_iter().flatten()
}

/// What shows that a card still does what it did, and where its stages run: one picture through all of them. `None`: it
/// never did anything.
pub(super) fn alive(card: &Card) -> Option<(String, Placement)> {
    let scale = if card.is_able(KERNELS) { ScaleBy::Cuda } else { ScaleBy::Software };
    let placements = CODECS.map(|codec| {
        let decodes = card.is_able(&format!("decode-{}", codec.as_str()));
        let decode = if decodes { DecodeBy::Nvdec } else { DecodeBy::Software };
        let encode = card.encoder(codec).unwrap_or_default();
        (format!("{ALIVE}{}", codec.as_str()), Placement { decode, scale, encode })
    });
    let stages = |placement: &Placement| [Stage::Encode, Stage::Decode].map(|stage| placement.has_on_gpu(stage));
    let best = placements.into_iter().rev().max_by_key(|(_, placement)| stages(placement));
    best.filter(|(_, placement)| placement.needs_gpu())
}

/// Tries one thing; returns what was found, as JSON.
pub(crate) fn try_out(name: &str, order: &GpuOrder) -> Result<String, TaskError> {
    let codec = |text: &str| CODECS.into_iter().find(|codec| codec.as_str() == text);
    let backend = || Backend::new(Some(order.clone()));
    let unknown = || TaskError::bug(format!("{name} is not tried on a GPU"));
    match name {
        LOOK => return look(),
        KERNELS => kernels(order)?,
        SESSIONS => return sessions(order),
        SPEED => return speed(&backend()),
        _ => {
            if let Some(wanted) = name.strip_prefix("decode-") {
                let kind = SOURCE_KINDS.iter().find(|kind| kind.name == wanted).ok_or_else(unknown)?;
                video::decodes_alike(kind, &backend())?;
                return Ok(String::new());
            }
            let (kind, text) = name.rsplit_once('-').ok_or_else(unknown)?;
            let clip = if name.starts_with(ALIVE) { Clip::ONE } else { Clip::USUAL };
            match kind {
                "encode" | "plain-encode" | "ffmpeg-encode" | "alive" => {
                    video::round_trip(codec(text).ok_or_else(unknown)?, clip, &backend())?;
                }
                _ => return Err(unknown()),
            }
        }
    }
    Ok(String::new())
}

/// Every GPU that the slot sees, or why there is none, as JSON.
fn look() -> Result<String, TaskError> {
    to_json(&cards().map_err(|nvidia::Lack { what, why, advice }| {
        let driver = nvidia::load::driver_present();
        Absence { why: format!("{what}: {why}"), advice, driver }
    }))
}

fn cards() -> Result<Vec<Card>, nvidia::Lack> {
    (0..Device::count()?)
        .map(|ordinal| {
            let facts = Device::open(ordinal)?.facts().clone();
            Ok(Card {
                uuid: facts.uuid,
                name: facts.name,
                pci_bus_id: facts.pci_bus_id,
                compute_capability: facts.compute_capability,
                memory_bytes: facts.memory_bytes,
                driver: facts.driver,
                cuda: facts.cuda,
                mig: facts.mig,
                ..Card::default()
            })
        })
        .collect()
}

fn to_json(found: &impl serde::Serialize) -> Result<String, TaskError> {
    serde_json::to_string(found).map_err(|error| TaskError::bug(error.to_string()))
}

/// Our kernels, bit by bit against the same on the host.
fn kernels(order: &GpuOrder) -> Result<(), TaskError> {
    let gpu = Gpu::open(&order.uuid)?;
    for (format, bits) in [(Format::Nv12, 8), (Format::P016, 10)] {
        let size = Size { width: SOURCE_PX.0, height: SOURCE_PX.1 };
        let window = Window { left: 0, top: 0, size };
        let source = Source { format, bits, size, window, full_range: false, siting: Siting::Left };
        let picture = noise(format, size);
        let unfit = |error: nvidia::scale::ScaleError| Trouble::Fault.error(Stage::Scale, error.to_string());
        let wanted = Reference::new(&source, &Transform::NONE, &TARGETS).and_then(|mut host| host.push(&picture));
        let wanted = wanted.map_err(unfit)?;
        let surface = gpu.surface(format, size.width, size.height)?;
        let fault = |fault: nvidia::Fault| gpu.fault(Stage::Scale, "kernels", &fault);
        surface.upload((picture.luma(), picture.pitch()), (picture.chroma(), picture.pitch())).map_err(fault)?;
        let mut scaler = Scaler::new(gpu.device(), &source, &Transform::NONE, &TARGETS).map_err(unfit)?;
        for (surface, wanted) in scaler.push(&surface).map_err(unfit)?.iter().zip(&wanted) {
            let layout = surface.layout();
            let mut found = HostPicture::new(layout.format, layout.width, layout.height);
            let pitch = found.pitch();
            let (luma, chroma) = found.planes_mut();
            surface.download((luma, pitch), (chroma, pitch)).map_err(fault)?;
            if found != *wanted {
                let text = format!("kernels give other pictures of {format:?} than the same code on the host");
                return Err(Trouble::Fault.error(Stage::Scale, text));
            }
        }
    }
    Ok(())
}

/// The same noise each time (a linear congruential generator).
fn noise(format: Format, size: Size) -> HostPicture {
    let mut picture = HostPicture::new(format, size.width, size.height);
    let mut state = 1u32;
    let (luma, chroma) = picture.planes_mut();
    for pair in [luma, chroma].into_iter().flat_map(|plane| plane.chunks_exact_mut(2)) {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let sample = (state >> 16) as u16;
        let sample = if format == Format::P016 { sample & 0xffc0 } else { sample };
        pair.copy_from_slice(&sample.to_le_bytes());
    }
    picture
}

/// How many sessions and engines there are.
fn sessions(order: &GpuOrder) -> Result<String, TaskError> {
    let gpu = Arc::new(Gpu::open(&order.uuid)?);
    let mut measured = Measured::default();
    if let Ok(cuvid) = gpu.cuvid(order.libraries.as_deref())
        && let Ok(decoders) = nvidia::decode::capabilities(gpu.device(), &cuvid)
    {
        measured.decode_engines = decoders.iter().map(|one| one.engines).max().unwrap_or(0);
    }
    if let Ok(nvenc) = gpu.nvenc(order.libraries.as_deref())
        && let Ok(encoders) = nvidia::encode::capabilities(gpu.device(), &nvenc)
    {
        measured.encode_engines = encoders.iter().map(|one| one.engines).max().unwrap_or(0);
        let failed = |error: EncodeError| trouble("sessions", &error);
        let open = nvidia::encode::sessions(gpu.device(), &nvenc, MOST_SESSIONS).map_err(failed)?;
        measured.sessions = u32::try_from(open).unwrap_or(u32::MAX);
    }
    to_json(&measured)
}

/// Pictures a second through one session, with the settings of production.
fn speed(backend: &Backend) -> Result<String, TaskError> {
    let began = Instant::now();
    let frames = video::encode_large(backend)?;
    let encode_fps = f64::from(frames) / began.elapsed().as_secs_f64().max(1e-3);
    to_json(&Measured { encode_fps: encode_fps as u32, ..Measured::default() })
}
