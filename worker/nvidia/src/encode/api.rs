//! libnvidia-encode: its functions, found late.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::mem::MaybeUninit;
use std::path::Path;

use nvidia_video_codec_sdk::sys::nvEncodeAPI as sdk;
use nvidia_video_codec_sdk::sys::nvEncodeAPI::{
    GUID, NV_ENC_CAPS_PARAM, NV_ENC_CONFIG, NV_ENC_CREATE_BITSTREAM_BUFFER, NV_ENC_INITIALIZE_PARAMS,
    NV_ENC_LOCK_BITSTREAM, NV_ENC_MAP_INPUT_RESOURCE, NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS, NV_ENC_PIC_PARAMS,
    NV_ENC_PRESET_CONFIG, NV_ENC_REGISTER_RESOURCE, NV_ENC_SEQUENCE_PARAM_PAYLOAD, NV_ENCODE_API_FUNCTION_LIST,
    NVENCAPI_MAJOR_VERSION, NVENCAPI_MINOR_VERSION,
};

use crate::load::{Lack, Library};
use crate::raw::{Field, Raw, field};

/// The library.
const LIBRARY: &str = "libnvidia-encode.so.1";

/// `NVENCSTATUS`, as an integer: newer drivers have statuses that no enumeration of ours knows.
pub(super) type Status = u32;

/// An encode session, to the driver.
pub(super) type Handle = *mut c_void;

/// Structures that begin with the version that the driver knows them by.
pub(super) trait Versioned {
    /// The value of its first field.
    const VERSION: u32;
}

macro_rules! versioned {
    ($($structure:ty, $bytes:literal bytes, $version:expr;)+) => {
        $(
            // As the C compiler lays it out (Video Codec SDK 12.1, 64-bit Linux).
            const _: () = assert!(size_of::<$structure>() == $bytes);
            impl Versioned for $structure {
                const VERSION: u32 = $version;
            }
        )+
    };
}

versioned! {
    NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS, 1552 bytes, sdk::NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS_VER;
    NV_ENC_CAPS_PARAM, 256 bytes, sdk::NV_ENC_CAPS_PARAM_VER;
    NV_ENC_CONFIG, 3584 bytes, sdk::NV_ENC_CONFIG_VER;
    NV_ENC_PRESET_CONFIG, 5128 bytes, sdk::NV_ENC_PRESET_CONFIG_VER;
    NV_ENC_INITIALIZE_PARAMS, 1808 bytes, sdk::NV_ENC_INITIALIZE_PARAMS_VER;
    NV_ENC_SEQUENCE_PARAM_PAYLOAD, 1544 bytes, sdk::NV_ENC_SEQUENCE_PARAM_PAYLOAD_VER;
    NV_ENC_CREATE_BITSTREAM_BUFFER, 776 bytes, sdk::NV_ENC_CREATE_BITSTREAM_BUFFER_VER;
    NV_ENC_REGISTER_RESOURCE, 1536 bytes, sdk::NV_ENC_REGISTER_RESOURCE_VER;
    NV_ENC_MAP_INPUT_RESOURCE, 1544 bytes, sdk::NV_ENC_MAP_INPUT_RESOURCE_VER;
    NV_ENC_PIC_PARAMS, 3360 bytes, sdk::NV_ENC_PIC_PARAMS_VER;
    NV_ENC_LOCK_BITSTREAM, 1552 bytes, sdk::NV_ENC_LOCK_BITSTREAM_VER;
    NV_ENCODE_API_FUNCTION_LIST, 2552 bytes, sdk::NV_ENCODE_API_FUNCTION_LIST_VER;
}

/// A structure of zeros that begins with its version.
pub(super) fn versioned<T: Versioned>() -> Raw<T> {
    let mut raw = Raw::zeroed();
    raw.set(Field::<T, 4>::at(0), T::VERSION);
    raw
}

type Ask<T> = unsafe extern "C" fn(Handle, *mut T) -> Status;
type Give = unsafe extern "C" fn(Handle, *mut c_void) -> Status;

/// NVENC's functions. Copied freely: the library is never unloaded.
#[derive(Debug, Clone, Copy)]
pub struct Nvenc {
    /// The newest version of the interface that the driver knows, major and minor.
    pub version: (u32, u32),
    pub(super) open: unsafe extern "C" fn(*mut NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS, *mut Handle) -> Status,
    pub(super) destroy: unsafe extern "C" fn(Handle) -> Status,
    pub(super) last_error: unsafe extern "C" fn(Handle) -> *const c_char,
    pub(super) codec_count: Ask<u32>,
    pub(super) codecs: unsafe extern "C" fn(Handle, *mut GUID, u32, *mut u32) -> Status,
    pub(super) caps: unsafe extern "C" fn(Handle, GUID, *mut NV_ENC_CAPS_PARAM, *mut i32) -> Status,
    pub(super) preset: unsafe extern "C" fn(Handle, GUID, GUID, u32, *mut NV_ENC_PRESET_CONFIG) -> Status,
    pub(super) initialize: Ask<NV_ENC_INITIALIZE_PARAMS>,
    pub(super) streams: unsafe extern "C" fn(Handle, *mut *mut c_void, *mut *mut c_void) -> Status,
    pub(super) headers: Ask<NV_ENC_SEQUENCE_PARAM_PAYLOAD>,
    pub(super) create_output: Ask<NV_ENC_CREATE_BITSTREAM_BUFFER>,
    pub(super) destroy_output: Give,
    pub(super) register: Ask<NV_ENC_REGISTER_RESOURCE>,
    pub(super) unregister: Give,
    pub(super) map: Ask<NV_ENC_MAP_INPUT_RESOURCE>,
    pub(super) unmap: Give,
    pub(super) encode: Ask<NV_ENC_PIC_PARAMS>,
    pub(super) lock: Ask<NV_ENC_LOCK_BITSTREAM>,
    pub(super) unlock: Give,
}

impl Nvenc {
    /// Loads the library from `folder`, or from where the loader looks.
    ///
    /// # Errors
    /// It isn't there, or knows only interfaces older than 12.1.
    pub fn load(folder: Option<&Path>) -> Result<Self, Lack> {
        type Newest = unsafe extern "C" fn(*mut u32) -> Status;
        type Create = unsafe extern "C" fn(*mut NV_ENCODE_API_FUNCTION_LIST) -> Status;
        let library = Library::open(LIBRARY, folder)?;
        // SAFETY: that is the function's signature.
        let newest: Newest = unsafe { library.function(c"NvEncodeAPIGetMaxSupportedVersion") }?;
        // SAFETY: that is the function's signature.
        let create: Create = unsafe { library.function(c"NvEncodeAPICreateInstance") }?;
        let mut version = 0;
        // SAFETY: it writes one integer.
        answered("NvEncodeAPIGetMaxSupportedVersion", unsafe { newest(&raw mut version) })?;
        let version = (version >> 4, version & 0xf);
        if version < (NVENCAPI_MAJOR_VERSION, NVENCAPI_MINOR_VERSION) {
            let why = format!("the driver is too old, it knows NVENC's interface {}.{}", version.0, version.1);
            return Err(Lack::new(LIBRARY, why, "install driver 530.41.03 or newer"));
        }
        let mut list = versioned::<NV_ENCODE_API_FUNCTION_LIST>();
        // SAFETY: it fills the list, which is as long as its version says.
        answered("NvEncodeAPICreateInstance", unsafe { create(list.pointer()) })?;
        // SAFETY: the driver filled the list.
        unsafe { Self::listed(&list, version) }
    }

    /// # Safety
    /// The driver filled the list.
    unsafe fn listed(list: &Raw<NV_ENCODE_API_FUNCTION_LIST>, version: (u32, u32)) -> Result<Self, Lack> {
        macro_rules! function {
            ($name:ident) => {
                // SAFETY: the driver put the function of this name there, and the table gives it the header's signature.
                unsafe { function(list, field!(NV_ENCODE_API_FUNCTION_LIST, $name), stringify!($name)) }?
            };
        }
        Ok(Self {
            version,
            open: function!(nvEncOpenEncodeSessionEx),
            destroy: function!(nvEncDestroyEncoder),
            last_error: function!(nvEncGetLastErrorString),
            codec_count: function!(nvEncGetEncodeGUIDCount),
            codecs: function!(nvEncGetEncodeGUIDs),
            caps: function!(nvEncGetEncodeCaps),
            preset: function!(nvEncGetEncodePresetConfigEx),
            initialize: function!(nvEncInitializeEncoder),
            streams: function!(nvEncSetIOCudaStreams),
            headers: function!(nvEncGetSequenceParams),
            create_output: function!(nvEncCreateBitstreamBuffer),
            destroy_output: function!(nvEncDestroyBitstreamBuffer),
            register: function!(nvEncRegisterResource),
            unregister: function!(nvEncUnregisterResource),
            map: function!(nvEncMapInputResource),
            unmap: function!(nvEncUnmapInputResource),
            encode: function!(nvEncEncodePicture),
            lock: function!(nvEncLockBitstream),
            unlock: function!(nvEncUnlockBitstream),
        })
    }
}

/// # Safety
/// `F` is a function pointer, and the field holds a function of that signature or null.
unsafe fn function<F: Copy>(
    list: &Raw<NV_ENCODE_API_FUNCTION_LIST>,
    field: Field<NV_ENCODE_API_FUNCTION_LIST, { size_of::<usize>() }>,
    name: &str,
) -> Result<F, Lack> {
    const { assert!(size_of::<F>() == size_of::<usize>(), "a function should be a pointer") };
    let address = list.get::<*mut c_void, _>(field);
    if address.is_null() {
        return Err(Lack::new(LIBRARY, format!("it has no {name}"), "install driver 530.41.03 or newer"));
    }
    let address = MaybeUninit::new(address);
    // SAFETY: the caller keeps the promise, and it isn't null.
    Ok(unsafe { address.as_ptr().cast::<F>().read() })
}

/// Whether a function that needs no session did what was asked.
fn answered(call: &str, status: Status) -> Result<(), Lack> {
    match status {
        0 => Ok(()),
        status => {
            Err(Lack::new(LIBRARY, format!("{call} ends with status {status}"), "install driver 530.41.03 or newer"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_c_header() {
        assert_eq!(NV_ENC_CONFIG::VERSION, 0xf108_000c);
        assert_eq!(NV_ENC_PRESET_CONFIG::VERSION, 0xf104_000c);
        assert_eq!(NV_ENC_INITIALIZE_PARAMS::VERSION, 0xf106_000c);
        assert_eq!(NV_ENC_PIC_PARAMS::VERSION, 0xf106_000c);
        assert_eq!(NV_ENC_LOCK_BITSTREAM::VERSION, 0xf101_000c);
        assert_eq!(NV_ENCODE_API_FUNCTION_LIST::VERSION, 0x7102_000c);
        assert_eq!(NV_ENC_REGISTER_RESOURCE::VERSION, 0x7104_000c);
        assert_eq!(NV_ENC_MAP_INPUT_RESOURCE::VERSION, 0x7104_000c);
        assert_eq!(NV_ENC_CAPS_PARAM::VERSION, 0x7101_000c);
    }
}
