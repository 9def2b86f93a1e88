//! libnvcuvid: its functions, found late.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint, c_void};
use std::path::Path;

use nvidia_video_codec_sdk::sys::cuviddec::{
    CUVIDDECODECAPS, CUVIDDECODECREATEINFO, CUVIDGETDECODESTATUS, CUVIDPICPARAMS, CUVIDPROCPARAMS,
};
use nvidia_video_codec_sdk::sys::nvcuvid::{
    CUVIDEOFORMAT, CUVIDPARSERDISPINFO, CUVIDPARSERPARAMS, CUVIDSOURCEDATAPACKET,
};

use crate::load::{Lack, Library};

// As the C compiler lays them out (Video Codec SDK 12.1, 64-bit Linux).
const _: () = assert!(size_of::<CUVIDDECODECAPS>() == 88);
const _: () = assert!(size_of::<CUVIDDECODECREATEINFO>() == 176);
const _: () = assert!(size_of::<CUVIDGETDECODESTATUS>() == 192);
const _: () = assert!(size_of::<CUVIDPICPARAMS>() == 4280);
const _: () = assert!(size_of::<CUVIDPROCPARAMS>() == 264);
const _: () = assert!(size_of::<CUVIDEOFORMAT>() == 64);
const _: () = assert!(size_of::<CUVIDPARSERDISPINFO>() == 24);
const _: () = assert!(size_of::<CUVIDPARSERPARAMS>() == 136);
const _: () = assert!(size_of::<CUVIDSOURCEDATAPACKET>() == 32);

/// `CUresult`, as an integer: newer drivers have statuses that no enumeration of ours knows.
pub(super) type Status = c_uint;

/// A parser or a decoder, to the driver.
pub(super) type Handle = *mut c_void;

type Create<T> = unsafe extern "C" fn(*mut Handle, *mut T) -> Status;
type Ask<T> = unsafe extern "C" fn(Handle, *mut T) -> Status;
type Destroy = unsafe extern "C" fn(Handle) -> Status;
type Map = unsafe extern "C" fn(Handle, c_int, *mut u64, *mut c_uint, *mut CUVIDPROCPARAMS) -> Status;

/// NVDEC's functions. Copied freely: the library is never unloaded.
#[derive(Debug, Clone, Copy)]
pub struct Cuvid {
    pub(super) caps: unsafe extern "C" fn(*mut CUVIDDECODECAPS) -> Status,
    pub(super) create_parser: Create<CUVIDPARSERPARAMS>,
    pub(super) parse: Ask<CUVIDSOURCEDATAPACKET>,
    pub(super) destroy_parser: Destroy,
    pub(super) create: Create<CUVIDDECODECREATEINFO>,
    pub(super) decode: Ask<CUVIDPICPARAMS>,
    pub(super) status: unsafe extern "C" fn(Handle, c_int, *mut CUVIDGETDECODESTATUS) -> Status,
    pub(super) map: Map,
    pub(super) unmap: unsafe extern "C" fn(Handle, u64) -> Status,
    pub(super) destroy: Destroy,
}

impl Cuvid {
    /// Loads the library from `folder`, or from where the loader looks.
    ///
    /// # Errors
    /// It isn't there, or is older than we work with.
    pub fn load(folder: Option<&Path>) -> Result<Self, Lack> {
        let library = Library::open("libnvcuvid.so.1", folder)?;
        macro_rules! function {
            ($name:literal) => {
                // SAFETY: the table gives it the header's signature.
                unsafe { library.function($name) }?
            };
        }
        Ok(Self {
            caps: function!(c"cuvidGetDecoderCaps"),
            create_parser: function!(c"cuvidCreateVideoParser"),
            parse: function!(c"cuvidParseVideoData"),
            destroy_parser: function!(c"cuvidDestroyVideoParser"),
            create: function!(c"cuvidCreateDecoder"),
            decode: function!(c"cuvidDecodePicture"),
            status: function!(c"cuvidGetDecodeStatus"),
            map: function!(c"cuvidMapVideoFrame64"),
            unmap: function!(c"cuvidUnmapVideoFrame64"),
            destroy: function!(c"cuvidDestroyDecoder"),
        })
    }
}
