//! One encode session: what cards of the GeForce kind have only a few of, over all processes of a machine.
#![allow(unsafe_code)]

use std::ffi::CStr;

use nvidia_video_codec_sdk::sys::nvEncodeAPI::{GUID, NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS, NVENCAPI_VERSION};

use super::api::{Handle, Nvenc, Status, versioned};
use super::error::EncodeError;
use crate::device::Device;
use crate::raw::field;

/// `NV_ENC_DEVICE_TYPE_CUDA`.
const CUDA: u32 = 1;

/// An open session; closed when dropped.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) nvenc: Nvenc,
    pub(super) device: Device,
    pub(super) handle: Handle,
}

// SAFETY: the driver lets a session be used by any thread that has the device's context, one at a time; every use goes
// through whoever owns this, and binds the context first.
unsafe impl Send for Session {}

impl Session {
    /// Opens a session on the device and makes its context current on this thread.
    pub(super) fn open(device: &Device, nvenc: &Nvenc) -> Result<Self, EncodeError> {
        type Parameters = NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS;
        device.bind()?;
        let mut parameters = versioned::<Parameters>();
        parameters.set(field!(Parameters, deviceType), CUDA);
        parameters.set(field!(Parameters, device), device.context());
        parameters.set(field!(Parameters, apiVersion), NVENCAPI_VERSION);
        let mut handle = std::ptr::null_mut();
        // SAFETY: the parameters are whole, and the context lives as long as the device that the session keeps.
        let status = unsafe { (nvenc.open)(parameters.pointer(), &raw mut handle) };
        // A session that failed to open is to be closed too if there is a handle: dropping it does that.
        let session = (!handle.is_null()).then(|| Self { nvenc: *nvenc, device: device.clone(), handle });
        match status {
            0 => session.ok_or_else(|| EncodeError::Fault("NvEncOpenEncodeSessionEx gives no session".to_owned())),
            status => Err(EncodeError::of("NvEncOpenEncodeSessionEx", status, "")),
        }
    }

    /// An error for anything but success, with what the driver says of it.
    pub(super) fn check(&self, call: &str, status: Status) -> Result<(), EncodeError> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: the session is open.
        let said = unsafe { (self.nvenc.last_error)(self.handle) };
        let said = if said.is_null() {
            String::new()
        } else {
            // SAFETY: it is a string of the driver's, which stays until the next call of this session.
            unsafe { CStr::from_ptr(said) }.to_string_lossy().into_owned()
        };
        Err(EncodeError::of(call, status, said.trim()))
    }

    /// The codecs that this card encodes.
    pub(super) fn codecs(&self) -> Result<Vec<GUID>, EncodeError> {
        let mut count = 0;
        // SAFETY: the session is open; it writes one integer.
        self.check("NvEncGetEncodeGUIDCount", unsafe { (self.nvenc.codec_count)(self.handle, &raw mut count) })?;
        let mut codecs = vec![GUID::default(); count as usize];
        // SAFETY: the session is open; it writes at most `count` of them, and how many.
        let status = unsafe { (self.nvenc.codecs)(self.handle, codecs.as_mut_ptr(), count, &raw mut count) };
        self.check("NvEncGetEncodeGUIDs", status)?;
        codecs.truncate(count as usize);
        Ok(codecs)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Err(fault) = self.device.bind() {
            tracing::warn!(%fault, "an encode session is closed without its device");
        }
        // SAFETY: the session is open, and nobody has it after this.
        let status = unsafe { (self.nvenc.destroy)(self.handle) };
        if status != 0 {
            tracing::warn!(status, "an encode session does not close");
        }
    }
}
