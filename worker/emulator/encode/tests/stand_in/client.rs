//! A small client of API 12.1: the calls that tests make, with the libraries loaded as any program loads them.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_void};
use std::ptr::null_mut;

use libloading::Library;
use nvidia_video_codec_sdk::sys::nvEncodeAPI::*;

pub const WIDTH: u32 = 320;
pub const HEIGHT: u32 = 180;
pub const PITCH: usize = 320;
/// NV12's two planes.
pub const PICTURE_BYTES: usize = PITCH * (HEIGHT as usize + HEIGHT as usize / 2);

/// The functions of libcuda that are needed.
pub struct Cuda(Library);

macro_rules! functions {
    ($($method:ident = $symbol:literal ($($name:ident: $type:ty),*);)*) => {
        impl Cuda {
            $(
                pub fn $method(&self, $($name: $type),*) {
                    let symbol = concat!($symbol, "\0").as_bytes();
                    // SAFETY: this is the signature that cuda.h gives the function.
                    let function = unsafe { self.0.get::<unsafe extern "C" fn($($type),*) -> i32>(symbol) }.unwrap();
                    // SAFETY: pointers are those of live variables.
                    assert_eq!(unsafe { function($($name),*) }, 0, $symbol);
                }
            )*
        }
    };
}

functions! {
    init = "cuInit"(flags: u32);
    create_context = "cuCtxCreate_v2"(context: *mut usize, flags: u32, device: i32);
    destroy_context = "cuCtxDestroy_v2"(context: usize);
    set_current = "cuCtxSetCurrent"(context: usize);
    allocate = "cuMemAlloc_v2"(address: *mut u64, bytes: usize);
    free = "cuMemFree_v2"(address: u64);
    up = "cuMemcpyHtoD_v2"(to: u64, from: *const u8, bytes: usize);
}

/// The table of functions and a context to use them in.
pub struct Client {
    pub cuda: Cuda,
    pub table: NV_ENCODE_API_FUNCTION_LIST,
    pub context: usize,
    _library: Library,
}

// SAFETY: what the pointers lead to is code; the driver says that several threads may call it.
unsafe impl Sync for Client {}

/// Calls a function of the table and gives its status as a number.
macro_rules! call {
    ($client:expr, $function:ident $(, $argument:expr)*) => {{
        let function = $client.table.$function.unwrap();
        // SAFETY: pointers are those of live variables, or wrong ones that the stand-in is to find.
        (unsafe { function($($argument),*) }) as u32
    }};
}
pub(crate) use call;

/// A struct of zeros with its version.
macro_rules! blank {
    ($type:ident, $version:ident) => {{
        // SAFETY: zeros are values of these structs' fields, or enough of one for the stand-in, which reads bytes.
        let mut blank: $type = unsafe { std::mem::MaybeUninit::zeroed().assume_init() };
        blank.version = $version;
        blank
    }};
}
pub(crate) use blank;

pub type Session = *mut c_void;

/// What is asked of an encoder. The config is inside so that nothing moves.
pub struct Asked {
    pub init: NV_ENC_INITIALIZE_PARAMS,
    pub config: NV_ENC_CONFIG,
}

impl Client {
    pub fn new() -> Self {
        // SAFETY: the stand-ins' start-up code asks for nothing.
        let cuda = Cuda(unsafe { Library::new("libcuda.so.1") }.unwrap());
        // SAFETY: the same.
        let library = unsafe { Library::new("libnvidia-encode.so.1") }.unwrap();
        let mut table = blank!(NV_ENCODE_API_FUNCTION_LIST, NV_ENCODE_API_FUNCTION_LIST_VER);
        type Create = unsafe extern "C" fn(*mut NV_ENCODE_API_FUNCTION_LIST) -> u32;
        // SAFETY: this is the header's signature.
        let create = unsafe { library.get::<Create>(b"NvEncodeAPICreateInstance\0") }.unwrap();
        // SAFETY: the table is live.
        assert_eq!(unsafe { create(&raw mut table) }, 0);
        cuda.init(0);
        let mut context = 0;
        cuda.create_context(&raw mut context, 0, 0);
        Self { cuda, table, context, _library: library }
    }

    /// What is said when a session is opened.
    pub fn opening(&self) -> NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS {
        let mut open = blank!(NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS, NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS_VER);
        open.deviceType = NV_ENC_DEVICE_TYPE::NV_ENC_DEVICE_TYPE_CUDA;
        open.device = self.context as *mut c_void;
        open.apiVersion = NVENCAPI_VERSION;
        open
    }

    pub fn open(&self) -> Session {
        let mut session = null_mut();
        assert_eq!(call!(self, nvEncOpenEncodeSessionEx, &mut self.opening(), &mut session), 0);
        session
    }

    /// The defaults of P5 for high quality, without B-frames, at a constant quantiser.
    pub fn asked(&self, session: Session, codec: GUID) -> Box<Asked> {
        let mut preset = blank!(NV_ENC_PRESET_CONFIG, NV_ENC_PRESET_CONFIG_VER);
        preset.presetCfg.version = NV_ENC_CONFIG_VER;
        let quality = NV_ENC_TUNING_INFO::NV_ENC_TUNING_INFO_HIGH_QUALITY;
        let got =
            call!(self, nvEncGetEncodePresetConfigEx, session, codec, NV_ENC_PRESET_P5_GUID, quality, &mut preset);
        assert_eq!(got, 0);
        let mut asked = Box::new(Asked {
            init: blank!(NV_ENC_INITIALIZE_PARAMS, NV_ENC_INITIALIZE_PARAMS_VER),
            config: preset.presetCfg,
        });
        asked.config.frameIntervalP = 1;
        asked.config.rcParams.rateControlMode = NV_ENC_PARAMS_RC_MODE::NV_ENC_PARAMS_RC_CONSTQP;
        let init = &mut asked.init;
        (init.encodeGUID, init.presetGUID, init.tuningInfo) = (codec, NV_ENC_PRESET_P5_GUID, quality);
        (init.encodeWidth, init.encodeHeight) = (WIDTH, HEIGHT);
        (init.darWidth, init.darHeight) = (16, 9);
        (init.frameRateNum, init.frameRateDen) = (30, 1);
        init.enablePTD = 1;
        asked.init.encodeConfig = &raw mut asked.config;
        asked
    }

    /// An H.264 session that was asked for as `change` says, initialised.
    pub fn ready(&self, change: impl FnOnce(&mut Asked)) -> Session {
        let session = self.open();
        let mut asked = self.asked(session, NV_ENC_CODEC_H264_GUID);
        change(&mut asked);
        assert_eq!(call!(self, nvEncInitializeEncoder, session, &mut asked.init), 0);
        session
    }

    /// Asks for another size and for an IDR with it.
    pub fn reconfigure(&self, session: Session, width: u32, height: u32) -> u32 {
        let mut asked = self.asked(session, NV_ENC_CODEC_H264_GUID);
        (asked.init.encodeWidth, asked.init.encodeHeight) = (width, height);
        let mut again = blank!(NV_ENC_RECONFIGURE_PARAMS, NV_ENC_RECONFIGURE_PARAMS_VER);
        again.reInitEncodeParams = asked.init;
        again.set_forceIDR(1);
        again.set_resetEncoder(1);
        call!(self, nvEncReconfigureEncoder, session, &mut again)
    }

    pub fn input(&self, session: Session) -> *mut c_void {
        let mut create = blank!(NV_ENC_CREATE_INPUT_BUFFER, NV_ENC_CREATE_INPUT_BUFFER_VER);
        (create.width, create.height) = (WIDTH, HEIGHT);
        create.bufferFmt = NV_ENC_BUFFER_FORMAT::NV_ENC_BUFFER_FORMAT_NV12;
        assert_eq!(call!(self, nvEncCreateInputBuffer, session, &mut create), 0);
        create.inputBuffer
    }

    pub fn output(&self, session: Session) -> *mut c_void {
        let mut create = blank!(NV_ENC_CREATE_BITSTREAM_BUFFER, NV_ENC_CREATE_BITSTREAM_BUFFER_VER);
        assert_eq!(call!(self, nvEncCreateBitstreamBuffer, session, &mut create), 0);
        create.bitstreamBuffer
    }

    /// What is said of a picture.
    pub fn picture(&self, input: *mut c_void, output: *mut c_void) -> NV_ENC_PIC_PARAMS {
        let mut picture = blank!(NV_ENC_PIC_PARAMS, NV_ENC_PIC_PARAMS_VER);
        (picture.inputWidth, picture.inputHeight, picture.inputPitch) = (WIDTH, HEIGHT, PITCH as u32);
        (picture.inputBuffer, picture.outputBitstream) = (input, output);
        picture.bufferFmt = NV_ENC_BUFFER_FORMAT::NV_ENC_BUFFER_FORMAT_NV12;
        picture.pictureStruct = NV_ENC_PIC_STRUCT::NV_ENC_PIC_STRUCT_FRAME;
        picture
    }

    pub fn submit(&self, session: Session, input: *mut c_void, output: *mut c_void) -> u32 {
        call!(self, nvEncEncodePicture, session, &mut self.picture(input, output))
    }

    pub fn end(&self, session: Session) -> u32 {
        let mut end = blank!(NV_ENC_PIC_PARAMS, NV_ENC_PIC_PARAMS_VER);
        end.encodePicFlags = NV_ENC_PIC_FLAGS::NV_ENC_PIC_FLAG_EOS as u32;
        call!(self, nvEncEncodePicture, session, &mut end)
    }

    /// Locks an output; the status and what the stand-in said of it.
    pub fn lock(&self, session: Session, output: *mut c_void) -> (u32, NV_ENC_LOCK_BITSTREAM) {
        let mut lock = blank!(NV_ENC_LOCK_BITSTREAM, NV_ENC_LOCK_BITSTREAM_VER);
        lock.outputBitstream = output;
        (call!(self, nvEncLockBitstream, session, &mut lock), lock)
    }

    /// Reads an output: its bytes and what was said of them.
    pub fn read(&self, session: Session, output: *mut c_void) -> (Vec<u8>, NV_ENC_LOCK_BITSTREAM) {
        let (status, lock) = self.lock(session, output);
        assert_eq!(status, 0);
        let length = lock.bitstreamSizeInBytes as usize;
        // SAFETY: the output is locked.
        let bytes = unsafe { std::slice::from_raw_parts(lock.bitstreamBufferPtr.cast::<u8>(), length) }.to_vec();
        assert_eq!(call!(self, nvEncUnlockBitstream, session, output), 0);
        (bytes, lock)
    }

    /// Memory of the device, registered: its address and handle.
    pub fn register(&self, session: Session, change: impl FnOnce(&mut NV_ENC_REGISTER_RESOURCE)) -> (u64, *mut c_void) {
        let mut address = 0;
        self.cuda.allocate(&raw mut address, PICTURE_BYTES);
        let mut register = blank!(NV_ENC_REGISTER_RESOURCE, NV_ENC_REGISTER_RESOURCE_VER);
        register.resourceType = NV_ENC_INPUT_RESOURCE_TYPE::NV_ENC_INPUT_RESOURCE_TYPE_CUDADEVICEPTR;
        (register.width, register.height, register.pitch) = (WIDTH, HEIGHT, PITCH as u32);
        register.resourceToRegister = address as *mut c_void;
        register.bufferFormat = NV_ENC_BUFFER_FORMAT::NV_ENC_BUFFER_FORMAT_NV12;
        change(&mut register);
        assert_eq!(call!(self, nvEncRegisterResource, session, &mut register), 0);
        (address, register.registeredResource)
    }

    pub fn map(&self, session: Session, registered: *mut c_void) -> *mut c_void {
        let mut map = blank!(NV_ENC_MAP_INPUT_RESOURCE, NV_ENC_MAP_INPUT_RESOURCE_VER);
        map.registeredResource = registered;
        assert_eq!(call!(self, nvEncMapInputResource, session, &mut map), 0);
        map.mappedResource
    }

    pub fn destroy(&self, session: Session) {
        assert_eq!(call!(self, nvEncDestroyEncoder, session), 0);
    }

    /// What the driver said to be wrong last.
    pub fn last_error(&self, session: Session) -> String {
        let function = self.table.nvEncGetLastErrorString.unwrap();
        // SAFETY: the session is open.
        let text = unsafe { function(session) };
        // SAFETY: a C string that lives as long as the session.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }

    /// Gives back what the client itself took.
    pub fn leave(self) {
        self.cuda.destroy_context(self.context);
    }
}
