//! Decoders: surfaces that pictures are decoded into, and frames in device memory that they are mapped to.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{c_int, c_uint};
use std::sync::Arc;

use card::{Decodes, violation};

use crate::call::{
    DECODERS, INVALID_VALUE, MAP_FAILED, NOT_SUPPORTED, OUT_OF_MEMORY, Refusal, Status, UNKNOWN, call, locked,
};
use crate::caps;
use crate::cuda::cuda;
use crate::picture::{Decoded, Picture};
use crate::raw::{Area, CreateInfo, DecodeStatus, PictureParameters, Processing, ReconfigureInfo};
use crate::surface::Layout;

/// With the faults `decode:…`, each picture with a number that is a multiple of this is wrong.
const WRONG_EACH: u64 = 8;
/// What is in a frame that was unmapped.
const GONE: u8 = 0x5a;

/// `CUvideodecoder`.
pub struct Decoder {
    format: &'static Decodes,
    context: u64,
    layout: Layout,
    largest: (u64, u64),
    surfaces: Vec<Surface>,
    outputs: usize,
    /// Frames that clients hold: their surface, and how often they were mapped.
    mapped: HashMap<u64, (usize, u32)>,
    /// Frames that they don't.
    idle: Vec<u64>,
    decoded: u64,
}

#[derive(Clone, Default)]
struct Surface {
    picture: Option<Arc<Picture>>,
    wrong: bool,
}

fn layout(
    coded: (u64, u64),
    display: Area,
    target: (u64, u64),
    format: &Decodes,
    wide: bool,
) -> Result<Layout, Refusal> {
    let length = |value: u64| usize::try_from(value).map_err(|_| Refusal::from(INVALID_VALUE));
    let (coded, target) = ((length(coded.0)?, length(coded.1)?), (length(target.0)?, length(target.1)?));
    let edge = |value: i16| usize::try_from(value).unwrap_or(0);
    let (left, top, right, bottom) = (edge(display.left), edge(display.top), edge(display.right), edge(display.bottom));
    // An empty rectangle is the whole picture.
    let whole = right <= left || bottom <= top;
    let shown = if whole { (0, 0, coded.0, coded.1) } else { (left, top, right - left, bottom - top) };
    Ok(Layout { shown, target, depth: format.depth, wide })
}

impl Decoder {
    fn new(info: &CreateInfo) -> Result<Self, Refusal> {
        let cuda = cuda()?;
        let context = cuda.current()?;
        let format = caps::admit(cuda.card()?, info)?;
        let target = (info.target_width, info.target_height);
        let layout = layout((info.width, info.height), info.display, target, format, info.output_format == 1)?;
        Ok(Self {
            format,
            context,
            layout,
            largest: (info.max_width.max(info.width), info.max_height.max(info.height)),
            surfaces: vec![Surface::default(); info.decode_surfaces as usize],
            outputs: (info.output_surfaces as usize).max(1),
            mapped: HashMap::new(),
            idle: Vec::new(),
            decoded: 0,
        })
    }

    fn surface(&mut self, index: c_int) -> Result<&mut Surface, Refusal> {
        let count = self.surfaces.len();
        let surface = usize::try_from(index).ok().and_then(|index| self.surfaces.get_mut(index));
        surface.ok_or_else(|| {
            Refusal::wrong(INVALID_VALUE, format_args!("there is no surface {index}, the decoder has {count}"))
        })
    }

    fn decode(&mut self, parameters: &PictureParameters) -> Result<(), Refusal> {
        self.surface(parameters.index)?;
        if self.mapped.values().any(|(mapped, _)| c_int::try_from(*mapped) == Ok(parameters.index)) {
            violation!("cuvidDecodePicture", "surface {} is mapped", parameters.index);
        }
        let Some(picture) = Picture::taken(parameters.bitstream) else {
            // Without a parser nobody knows the headers.
            return Err(NOT_SUPPORTED.into());
        };
        if parameters.second_field == 0 {
            self.decoded += 1;
        }
        let faults = card::faults();
        let hit = self.decoded.is_multiple_of(WRONG_EACH);
        if hit && faults.decode_corrupt {
            picture.fail();
        }
        let wrong = hit && (faults.decode_corrupt || faults.decode_wrong);
        *self.surface(parameters.index)? = Surface { picture: Some(picture), wrong };
        Ok(())
    }

    fn status(&mut self, index: c_int) -> Result<u32, Refusal> {
        // Decoders are asked about surfaces that don't exist by careful clients too.
        let surface = usize::try_from(index).ok().and_then(|index| self.surfaces.get(index)).ok_or(INVALID_VALUE)?;
        Ok(surface.picture.as_ref().map_or(0, |picture| picture.decoded() as u32))
    }

    fn map(&mut self, index: c_int, stream: usize) -> Result<u64, Refusal> {
        let surface = self.surface(index)?.clone();
        let place = index as usize;
        let known = self.mapped.iter_mut().find(|(_, (mapped, _))| *mapped == place);
        if let Some((address, (_, times))) = known {
            *times += 1;
            return Ok(*address);
        }
        let Some(picture) = surface.picture else {
            return Err(Refusal::wrong(INVALID_VALUE, format_args!("surface {index} was never decoded into")));
        };
        let Some(frame) = picture.frame() else {
            if picture.decoded() == Decoded::Well {
                let what = format_args!("the picture in surface {index} was not shown yet, which the stand-in needs");
                return Err(Refusal::wrong(MAP_FAILED, what));
            }
            return Err(MAP_FAILED.into());
        };
        if self.mapped.len() == self.outputs {
            let what = format_args!("{} frames are mapped, as many as the decoder has", self.outputs);
            return Err(Refusal::wrong(MAP_FAILED, what));
        }
        let mut bytes = self.layout.fill(&frame);
        if surface.wrong {
            bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
        }
        let cuda = cuda()?;
        let address = cuda.within(self.context, || {
            let address = self.idle.pop().map_or_else(|| cuda.allocate(bytes.len()), Ok)?;
            cuda.copy(address, &bytes, stream).map(|()| address)
        })?;
        self.mapped.insert(address, (place, 1));
        Ok(address)
    }

    fn unmap(&mut self, address: u64) -> Result<(), Refusal> {
        let Some((_, times)) = self.mapped.get_mut(&address) else {
            // A card takes it without a word.
            return Err(Refusal::wrong(0, format_args!("{address:#x} is no mapped frame, or was unmapped")));
        };
        *times -= 1;
        if *times > 0 {
            return Ok(());
        }
        self.mapped.remove(&address);
        self.idle.push(address);
        let cuda = cuda()?;
        cuda.within(self.context, || cuda.fill(address, GONE, self.layout.bytes()))
    }

    fn reconfigure(&mut self, info: &ReconfigureInfo) -> Result<(), Refusal> {
        let (width, height) = (u64::from(info.width), u64::from(info.height));
        if width > self.largest.0 || height > self.largest.1 || !(1..=32).contains(&info.decode_surfaces) {
            return Err(INVALID_VALUE.into());
        }
        caps::size(self.format, width, height)?;
        let target = (u64::from(info.target_width), u64::from(info.target_height));
        if target.0 == 0 || target.1 == 0 {
            return Err(OUT_OF_MEMORY.into());
        }
        let mapped = self.mapped.len();
        self.release()?;
        self.layout = layout((width, height), info.display, target, self.format, self.layout.wide)?;
        self.surfaces = vec![Surface::default(); info.decode_surfaces as usize];
        if mapped > 0 {
            return Err(Refusal::wrong(0, format_args!("{mapped} frames are still mapped")));
        }
        Ok(())
    }

    /// Gives all memory back.
    fn release(&mut self) -> Result<(), Refusal> {
        let addresses: Vec<u64> = self.mapped.drain().map(|(address, _)| address).chain(self.idle.drain(..)).collect();
        let cuda = cuda()?;
        cuda.within(self.context, || addresses.into_iter().try_for_each(|address| cuda.free(address)))
    }
}

fn given<T>(pointer: Option<T>) -> Result<T, Refusal> {
    pointer.ok_or_else(|| Refusal::wrong(INVALID_VALUE, format_args!("a null pointer")))
}

/// # Safety
///
/// Pointers are null or to what their types say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuvidCreateDecoder(decoder: Option<&mut u64>, info: Option<&CreateInfo>) -> Status {
    call("cuvidCreateDecoder", || {
        let (decoder, info) = (given(decoder)?, given(info)?);
        *decoder = DECODERS.add(Decoder::new(info)?);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuvidDestroyDecoder(decoder: u64) -> Status {
    call("cuvidDestroyDecoder", || {
        locked(&*DECODERS.remove(decoder)?, |decoder| {
            let mapped = decoder.mapped.len();
            decoder.release()?;
            if mapped > 0 {
                return Err(Refusal::wrong(0, format_args!("{mapped} frames are still mapped")));
            }
            Ok(())
        })
    })
}

/// # Safety
///
/// Pointers are null or to what their types say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuvidDecodePicture(decoder: u64, parameters: Option<&PictureParameters>) -> Status {
    call("cuvidDecodePicture", || {
        let decoder = DECODERS.get(decoder)?;
        let parameters = given(parameters)?;
        cuda()?.current()?;
        locked(&*decoder, |decoder| decoder.decode(parameters))
    })
}

/// # Safety
///
/// Pointers are null or to what their types say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuvidGetDecodeStatus(decoder: u64, index: c_int, status: Option<&mut DecodeStatus>) -> Status {
    call("cuvidGetDecodeStatus", || {
        let decoder = DECODERS.get(decoder)?;
        let status = given(status)?;
        status.status = locked(&*decoder, |decoder| decoder.status(index))?;
        Ok(())
    })
}

/// # Safety
///
/// Pointers are null or to what their types say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuvidReconfigureDecoder(decoder: u64, info: Option<&ReconfigureInfo>) -> Status {
    call("cuvidReconfigureDecoder", || {
        let decoder = DECODERS.get(decoder)?;
        let info = given(info)?;
        cuda()?.current()?;
        locked(&*decoder, |decoder| decoder.reconfigure(info))
    })
}

/// # Safety
///
/// Pointers are null or to what their types say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuvidMapVideoFrame64(
    decoder: u64,
    index: c_int,
    address: Option<&mut u64>,
    pitch: Option<&mut c_uint>,
    processing: Option<&Processing>,
) -> Status {
    call("cuvidMapVideoFrame64", || {
        let decoder = DECODERS.get(decoder)?;
        let (address, pitch) = (given(address)?, given(pitch)?);
        cuda()?.current()?;
        let stream = processing.map_or(0, |processing| processing.stream);
        locked(&*decoder, |decoder| {
            *address = decoder.map(index, stream)?;
            *pitch = c_uint::try_from(decoder.layout.pitch()).map_err(|_| UNKNOWN)?;
            Ok(())
        })
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuvidUnmapVideoFrame64(decoder: u64, address: u64) -> Status {
    call("cuvidUnmapVideoFrame64", || {
        let decoder = DECODERS.get(decoder)?;
        cuda()?.current()?;
        locked(&*decoder, |decoder| decoder.unmap(address))
    })
}
