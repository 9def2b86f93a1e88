//! Pictures as NVENC knows them: memory is registered when it is seen first, and mapped while a picture in it is in flight.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_void;
use std::sync::Arc;

use nvidia_video_codec_sdk::sys::nvEncodeAPI::{NV_ENC_MAP_INPUT_RESOURCE, NV_ENC_REGISTER_RESOURCE};

use super::api::versioned;
use super::error::EncodeError;
use super::session::Session;
use crate::device::Memory;
use crate::raw::field;
use crate::surface::{Format, Surface};

/// `NV_ENC_INPUT_RESOURCE_TYPE_CUDADEVICEPTR`.
const DEVICE_POINTER: u32 = 1;

/// What a session knows of, by address.
#[derive(Debug, Default)]
pub(super) struct Inputs(HashMap<u64, Registered>);

#[derive(Debug)]
struct Registered {
    resource: *mut c_void,
    mapped: *mut c_void,
    /// How many pictures in flight are in it: the same one may be pushed twice. Mapped as long as there are any.
    flying: usize,
    /// Lives longer than the registration.
    _memory: Arc<Memory>,
}

impl Inputs {
    /// The picture as NVENC reads it, until it is unmapped as often as it was mapped.
    pub(super) fn map(&mut self, session: &Session, surface: &Surface) -> Result<*mut c_void, EncodeError> {
        type Parameters = NV_ENC_MAP_INPUT_RESOURCE;
        let registered = self.register(session, surface)?;
        if registered.flying == 0 {
            let mut parameters = versioned::<Parameters>();
            parameters.set(field!(Parameters, registeredResource), registered.resource);
            // SAFETY: the session is open, and the resource is registered with it.
            let status = unsafe { (session.nvenc.map)(session.handle, parameters.pointer()) };
            session.check("NvEncMapInputResource", status)?;
            registered.mapped = parameters.get(field!(Parameters, mappedResource));
        }
        registered.flying += 1;
        Ok(registered.mapped)
    }

    /// One picture in it has landed, or never left.
    pub(super) fn unmap(&mut self, session: &Session, surface: &Surface) -> Result<(), EncodeError> {
        let Some(registered) = self.0.get_mut(&surface.layout().luma) else { return Ok(()) };
        registered.flying = registered.flying.saturating_sub(1);
        if registered.flying > 0 {
            return Ok(());
        }
        // SAFETY: the session is open, and the picture is mapped: it was in flight until now.
        session.check("NvEncUnmapInputResource", unsafe { (session.nvenc.unmap)(session.handle, registered.mapped) })
    }

    /// Forgets all of them; none is mapped. The first error, if any.
    pub(super) fn release(&mut self, session: &Session) -> Result<(), EncodeError> {
        let mut released = Ok(());
        for (_, registered) in self.0.drain() {
            // SAFETY: it is registered, and not mapped.
            let status = unsafe { (session.nvenc.unregister)(session.handle, registered.resource) };
            released = released.and(session.check("NvEncUnregisterResource", status));
        }
        released
    }

    fn register(&mut self, session: &Session, surface: &Surface) -> Result<&mut Registered, EncodeError> {
        type Parameters = NV_ENC_REGISTER_RESOURCE;
        let layout = surface.layout();
        let vacant = match self.0.entry(layout.luma) {
            Entry::Occupied(occupied) => return Ok(occupied.into_mut()),
            Entry::Vacant(vacant) => vacant,
        };
        let mut parameters = versioned::<Parameters>();
        parameters.set(field!(Parameters, resourceType), DEVICE_POINTER);
        parameters.set(field!(Parameters, width), layout.width);
        parameters.set(field!(Parameters, height), layout.height);
        parameters.set(field!(Parameters, pitch), layout.pitch as u32);
        parameters.set(field!(Parameters, resourceToRegister), layout.luma);
        parameters.set(field!(Parameters, bufferFormat), buffer_format(layout.format));
        // SAFETY: the session is open; the memory is as large as said, and is kept longer than the registration.
        let status = unsafe { (session.nvenc.register)(session.handle, parameters.pointer()) };
        session.check("NvEncRegisterResource", status)?;
        let resource = parameters.get(field!(Parameters, registeredResource));
        let mapped = std::ptr::null_mut();
        Ok(vacant.insert(Registered { resource, mapped, flying: 0, _memory: Arc::clone(surface.memory()) }))
    }
}

/// `NV_ENC_BUFFER_FORMAT_NV12` or `…_YUV420_10BIT`.
pub(super) fn buffer_format(format: Format) -> u32 {
    match format {
        Format::Nv12 => 0x1,
        Format::P016 => 0x1_0000,
    }
}
