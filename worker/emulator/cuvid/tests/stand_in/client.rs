//! A client: it shows each picture as soon as it may, and gives its frame back. What it does otherwise is told it.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint, c_ulong, c_void};
use std::mem::zeroed;

use libloading::Library;
use nvidia_video_codec_sdk::sys::cuviddec::{
    CUVIDDECODECREATEINFO, CUVIDGETDECODESTATUS, CUVIDPICPARAMS, CUVIDPROCPARAMS, cudaVideoCodec,
    cudaVideoSurfaceFormat,
};
use nvidia_video_codec_sdk::sys::nvcuvid::{
    CUVIDEOFORMAT, CUVIDPARSERDISPINFO, CUVIDPARSERPARAMS, CUVIDSOURCEDATAPACKET,
};

/// What is asked of the client.
#[derive(Clone, Copy, Default)]
pub struct Manners {
    /// The sequence callback's answer in place of what the stream wants.
    pub surfaces: Option<c_int>,
    /// Frames are not unmapped.
    pub keeps_frames: bool,
    /// Each display callback parses something.
    pub parses_in_callbacks: bool,
    /// Packets are pictures, and say so.
    pub ends_pictures: bool,
}

/// A frame that was shown.
pub struct Shown {
    /// Rows of luma, then of both chroma planes by turns, without what is between them.
    pub bytes: Vec<u8>,
    pub timestamp: i64,
    /// `cuvidDecodeStatus`.
    pub status: c_uint,
}

pub struct Client {
    cuda: Library,
    cuvid: Library,
    manners: Manners,
    parser: u64,
    decoder: u64,
    /// Width, height and bytes of a sample.
    shape: (usize, usize, usize),
    /// Coded width and height, number of the chroma format and bits of a sample, of each sequence.
    pub sequences: Vec<(c_uint, c_uint, c_uint, u8)>,
    pub shown: Vec<Shown>,
    /// Statuses of calls that failed.
    pub failed: Vec<i32>,
    /// The last frame that was mapped.
    pub frame: u64,
    /// Pictures that were decoded.
    pub decoded: usize,
}

/// Calls a function of a library by its name.
macro_rules! call {
    ($library:expr, $name:ident($($argument:expr => $type:ty),*)) => {{
        let name = concat!(stringify!($name), "\0").as_bytes();
        // SAFETY: this is the signature that NVIDIA's header gives it.
        let function = unsafe { $library.get::<unsafe extern "C" fn($($type),*) -> i32>(name) }.unwrap();
        let function = *function;
        // SAFETY: pointers are those of live variables, or wrong ones that the stand-in is to find.
        unsafe { function($($argument),*) }
    }};
}
pub(crate) use call;

/// A structure of zeros.
fn blank<T>() -> T {
    // SAFETY: used for structures of NVIDIA's headers, which are integers, enums that have a zero, and null pointers.
    unsafe { zeroed() }
}

impl Client {
    /// With the primary context of device 0 current, and no parser yet.
    pub fn ready(manners: Manners) -> Box<Self> {
        // SAFETY: initialisers of the stand-ins touch nothing.
        let [cuda, cuvid] = ["libcuda.so.1", "libnvcuvid.so.1"].map(|name| unsafe { Library::new(name) }.unwrap());
        let mut context = 0;
        assert_eq!(call!(cuda, cuInit(0 => c_uint)), 0);
        assert_eq!(call!(cuda, cuDevicePrimaryCtxRetain(&raw mut context => *mut u64, 0 => c_int)), 0);
        assert_eq!(call!(cuda, cuCtxSetCurrent(context => u64)), 0);
        Box::new(Self {
            cuda,
            cuvid,
            manners,
            parser: 0,
            decoder: 0,
            shape: (0, 0, 0),
            sequences: Vec::new(),
            shown: Vec::new(),
            failed: Vec::new(),
            frame: 0,
            decoded: 0,
        })
    }

    pub fn cuvid(&self) -> &Library {
        &self.cuvid
    }

    pub fn decoder(&self) -> u64 {
        self.decoder
    }

    pub fn cuda(&self) -> &Library {
        &self.cuda
    }

    /// Makes a parser for H.264.
    pub fn parser(&mut self) {
        let mut parameters: CUVIDPARSERPARAMS = blank();
        parameters.CodecType = cudaVideoCodec::cudaVideoCodec_H264;
        parameters.ulMaxNumDecodeSurfaces = 1;
        parameters.ulClockRate = 25;
        parameters.pUserData = std::ptr::from_mut(self).cast();
        parameters.pfnSequenceCallback = Some(sequence);
        parameters.pfnDecodePicture = Some(decode);
        parameters.pfnDisplayPicture = Some(display);
        let place = &raw mut self.parser;
        let given = &raw const parameters;
        assert_eq!(call!(self.cuvid, cuvidCreateVideoParser(place => *mut u64, given => *const CUVIDPARSERPARAMS)), 0);
    }

    /// Parses some bytes; none are the end of the stream.
    pub fn parse(&mut self, bytes: &[u8], timestamp: Option<i64>) -> i32 {
        let picture = if self.manners.ends_pictures { 8 } else { 0 };
        let flags = if bytes.is_empty() { 1 } else { picture | if timestamp.is_some() { 2 } else { 0 } };
        let packet = CUVIDSOURCEDATAPACKET {
            flags,
            payload_size: bytes.len() as c_ulong,
            payload: bytes.as_ptr(),
            timestamp: timestamp.unwrap_or(0),
        };
        let given = &raw const packet;
        call!(self.cuvid, cuvidParseVideoData(self.parser => u64, given => *const CUVIDSOURCEDATAPACKET))
    }

    /// Parses a stream in pieces of so many bytes, and its end.
    pub fn parse_all(&mut self, stream: &[u8], piece: usize) {
        self.parser();
        for bytes in stream.chunks(piece) {
            assert_eq!(self.parse(bytes, None), 0);
        }
        assert_eq!(self.parse(&[], None), 0);
    }

    /// Gives parser and decoder back.
    pub fn finish(&mut self) {
        self.note(call!(self.cuvid, cuvidDestroyVideoParser(self.parser => u64)));
        self.destroy_decoder();
    }

    fn destroy_decoder(&mut self) {
        if self.decoder != 0 {
            self.note(call!(self.cuvid, cuvidDestroyDecoder(self.decoder => u64)));
        }
        self.decoder = 0;
    }

    /// Whether the call succeeded.
    fn note(&mut self, status: i32) -> bool {
        self.failed.extend((status != 0).then_some(status));
        status == 0
    }

    fn create_decoder(&mut self, format: &CUVIDEOFORMAT, surfaces: c_int) -> i32 {
        let (width, height) = (format.display_area.right, format.display_area.bottom);
        let mut info: CUVIDDECODECREATEINFO = blank();
        info.ulWidth = format.coded_width.into();
        info.ulHeight = format.coded_height.into();
        info.ulNumDecodeSurfaces = surfaces as c_ulong;
        info.CodecType = format.codec;
        info.ChromaFormat = format.chroma_format;
        info.bitDepthMinus8 = format.bit_depth_luma_minus8.into();
        if format.bit_depth_luma_minus8 > 0 {
            info.OutputFormat = cudaVideoSurfaceFormat::cudaVideoSurfaceFormat_P016;
        }
        (info.display_area.right, info.display_area.bottom) = (width as i16, height as i16);
        (info.ulTargetWidth, info.ulTargetHeight) = (width as c_ulong, height as c_ulong);
        info.ulNumOutputSurfaces = 2;
        self.shape = (width as usize, height as usize, 1 + usize::from(format.bit_depth_luma_minus8 > 0));
        let (place, given) = (&raw mut self.decoder, &raw const info);
        call!(self.cuvid, cuvidCreateDecoder(place => *mut u64, given => *const CUVIDDECODECREATEINFO))
    }

    pub fn map(&mut self, index: c_int) -> Result<(u64, usize), i32> {
        let (mut address, mut pitch): (u64, c_uint) = (0, 0);
        let processing: CUVIDPROCPARAMS = blank();
        let (place, rows, given) = (&raw mut address, &raw mut pitch, &raw const processing);
        let status = call!(self.cuvid, cuvidMapVideoFrame64(
            self.decoder => u64, index => c_int, place => *mut u64, rows => *mut c_uint,
            given => *const CUVIDPROCPARAMS
        ));
        if status == 0 { Ok((address, pitch as usize)) } else { Err(status) }
    }

    pub fn unmap(&self, address: u64) -> i32 {
        call!(self.cuvid, cuvidUnmapVideoFrame64(self.decoder => u64, address => u64))
    }

    /// The rows of a mapped frame.
    fn rows(&mut self, address: u64, pitch: usize) -> Vec<u8> {
        let (width, height, sample) = self.shape;
        assert!(pitch.is_multiple_of(512) && pitch >= width * sample);
        let high = height.next_multiple_of(2);
        let mut frame = vec![0_u8; pitch * high * 3 / 2];
        let (to, bytes) = (frame.as_mut_ptr(), frame.len());
        let status = call!(self.cuda, cuMemcpyDtoH_v2(to => *mut u8, address => u64, bytes => usize));
        self.note(status);
        let luma = (0..height).map(|row| (row, width));
        let chroma = (0..height.div_ceil(2)).map(|row| (high + row, width.next_multiple_of(2)));
        luma.chain(chroma).flat_map(|(row, width)| &frame[row * pitch..][..width * sample]).copied().collect()
    }
}

/// The client that a callback belongs to.
///
/// # Safety
///
/// `user` is what the parser was given, and the client is not borrowed by whom the callback comes back to.
unsafe fn client<'a>(user: *mut c_void) -> &'a mut Client {
    // SAFETY: the caller says so.
    unsafe { &mut *user.cast::<Client>() }
}

unsafe extern "C" fn sequence(user: *mut c_void, format: *mut CUVIDEOFORMAT) -> c_int {
    // SAFETY: the parser was given the client, which lives in a box.
    let client = unsafe { client(user) };
    // SAFETY: the stand-in gives a format.
    let format = unsafe { &*format };
    let surfaces = client.manners.surfaces.unwrap_or(c_int::from(format.min_num_decode_surfaces));
    let (chroma, depth) = (format.chroma_format as c_uint, format.bit_depth_luma_minus8 + 8);
    client.sequences.push((format.coded_width, format.coded_height, chroma, depth));
    client.destroy_decoder();
    let status = client.create_decoder(format, surfaces);
    if client.note(status) { surfaces } else { 0 }
}

unsafe extern "C" fn decode(user: *mut c_void, parameters: *mut CUVIDPICPARAMS) -> c_int {
    // SAFETY: the parser was given the client, which lives in a box.
    let client = unsafe { client(user) };
    let status = call!(client.cuvid, cuvidDecodePicture(client.decoder => u64, parameters => *mut CUVIDPICPARAMS));
    client.decoded += 1;
    c_int::from(client.note(status))
}

unsafe extern "C" fn display(user: *mut c_void, info: *mut CUVIDPARSERDISPINFO) -> c_int {
    // SAFETY: the parser was given the client, which lives in a box.
    let client = unsafe { client(user) };
    // SAFETY: the stand-in gives one, unless it was asked to tell the end.
    let info = unsafe { &*info };
    let mut status: CUVIDGETDECODESTATUS = blank();
    let place = &raw mut status;
    let asked = call!(client.cuvid, cuvidGetDecodeStatus(
        client.decoder => u64, info.picture_index => c_int, place => *mut CUVIDGETDECODESTATUS
    ));
    assert_eq!(asked, 0);
    match client.map(info.picture_index) {
        Ok((address, pitch)) => {
            let bytes = client.rows(address, pitch);
            client.shown.push(Shown { bytes, timestamp: info.timestamp, status: status.decodeStatus as c_uint });
            client.frame = address;
            if !client.manners.keeps_frames {
                let status = client.unmap(address);
                client.note(status);
            }
        }
        Err(status) => _ = client.note(status),
    }
    if client.manners.parses_in_callbacks {
        assert_eq!(client.parse(&[0], None), 999);
    }
    1
}
