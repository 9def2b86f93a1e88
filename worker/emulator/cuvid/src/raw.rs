//! The structures of `cuviddec.h` and `nvcuvid.h` that are read or written, with integers where those have enums: a client
//! may put anything there.

use std::ffi::{c_int, c_long, c_uchar, c_uint, c_ulong, c_ulonglong, c_ushort, c_void};

use nvidia_video_codec_sdk::sys::{cuviddec, nvcuvid};

/// `CUVIDDECODECAPS`.
#[repr(C)]
pub struct Caps {
    pub codec: c_uint,
    pub chroma: c_uint,
    pub depth_minus8: c_uint,
    pub reserved1: [c_uint; 3],
    pub supported: c_uchar,
    pub engines: c_uchar,
    pub outputs: c_ushort,
    pub max_width: c_uint,
    pub max_height: c_uint,
    pub max_macroblocks: c_uint,
    pub min_width: c_ushort,
    pub min_height: c_ushort,
    pub histogram: c_uchar,
    pub histogram_depth: c_uchar,
    pub histogram_bins: c_ushort,
    pub reserved3: [c_uint; 10],
}

/// A rectangle of shorts; right and bottom are beyond it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Area {
    pub left: i16,
    pub top: i16,
    pub right: i16,
    pub bottom: i16,
}

/// `CUVIDDECODECREATEINFO`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CreateInfo {
    pub width: c_ulong,
    pub height: c_ulong,
    pub decode_surfaces: c_ulong,
    pub codec: c_uint,
    pub chroma: c_uint,
    pub flags: c_ulong,
    pub depth_minus8: c_ulong,
    pub intra_only: c_ulong,
    pub max_width: c_ulong,
    pub max_height: c_ulong,
    pub reserved1: c_ulong,
    pub display: Area,
    pub output_format: c_uint,
    pub deinterlace: c_uint,
    pub target_width: c_ulong,
    pub target_height: c_ulong,
    pub output_surfaces: c_ulong,
    pub lock: usize,
    pub target: Area,
    pub histogram: c_ulong,
    pub reserved2: [c_ulong; 4],
}

/// `CUVIDRECONFIGUREDECODERINFO`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ReconfigureInfo {
    pub width: c_uint,
    pub height: c_uint,
    pub target_width: c_uint,
    pub target_height: c_uint,
    pub decode_surfaces: c_uint,
    pub reserved1: [c_uint; 12],
    pub display: Area,
    pub target: Area,
    pub reserved2: [c_uint; 11],
}

/// `CUVIDPICPARAMS`.
#[repr(C)]
pub struct PictureParameters {
    pub width_in_macroblocks: c_int,
    pub height_in_macroblocks: c_int,
    pub index: c_int,
    pub field: c_int,
    pub bottom_field: c_int,
    pub second_field: c_int,
    pub bytes: c_uint,
    pub bitstream: *const u8,
    pub slices: c_uint,
    pub slice_offsets: *const c_uint,
    pub reference: c_int,
    pub intra: c_int,
    pub reserved: [c_uint; 30],
    pub codec: [u64; 512],
}

/// `CUVIDPROCPARAMS`.
#[repr(C)]
pub struct Processing {
    pub progressive: c_int,
    pub second_field: c_int,
    pub top_field_first: c_int,
    pub unpaired_field: c_int,
    pub reserved_flags: c_uint,
    pub reserved_zero: c_uint,
    pub raw_input: c_ulonglong,
    pub raw_input_pitch: c_uint,
    pub raw_input_format: c_uint,
    pub raw_output: c_ulonglong,
    pub raw_output_pitch: c_uint,
    pub reserved1: c_uint,
    pub stream: usize,
    pub reserved: [c_uint; 46],
    pub histogram: *mut c_ulonglong,
    pub reserved2: [*mut c_void; 1],
}

/// `CUVIDGETDECODESTATUS`.
#[repr(C)]
pub struct DecodeStatus {
    pub status: c_uint,
    pub reserved: [c_uint; 31],
    pub reserved_pointers: [usize; 8],
}

/// `CUVIDEOFORMAT`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Format {
    pub codec: c_uint,
    pub rate_numerator: c_uint,
    pub rate_denominator: c_uint,
    pub progressive: c_uchar,
    pub luma_depth_minus8: c_uchar,
    pub chroma_depth_minus8: c_uchar,
    pub min_decode_surfaces: c_uchar,
    pub coded_width: c_uint,
    pub coded_height: c_uint,
    pub left: c_int,
    pub top: c_int,
    pub right: c_int,
    pub bottom: c_int,
    pub chroma: c_uint,
    pub bitrate: c_uint,
    pub aspect_x: c_int,
    pub aspect_y: c_int,
    /// Three bits of `video_format`, then `video_full_range_flag`.
    pub signal: c_uchar,
    pub primaries: c_uchar,
    pub transfer: c_uchar,
    pub matrix: c_uchar,
    pub header_bytes: c_uint,
}

/// `CUVIDEOFORMATEX`.
#[repr(C)]
pub struct FormatWithHeader {
    pub format: Format,
    pub header: [u8; 1024],
}

/// `CUVIDPARSERPARAMS`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ParserParameters {
    pub codec: c_uint,
    pub max_decode_surfaces: c_uint,
    pub clock_rate: c_uint,
    pub error_threshold: c_uint,
    pub max_display_delay: c_uint,
    pub annexb: c_uint,
    pub reserved1: [c_uint; 4],
    pub user: *mut c_void,
    pub sequence: Option<unsafe extern "C" fn(*mut c_void, *mut Format) -> c_int>,
    pub decode: Option<unsafe extern "C" fn(*mut c_void, *mut PictureParameters) -> c_int>,
    pub display: Option<unsafe extern "C" fn(*mut c_void, *mut DisplayInfo) -> c_int>,
    pub operating_point: usize,
    pub sei: usize,
    pub reserved2: [usize; 5],
    pub header: *const FormatWithHeader,
}

/// `CUVIDPARSERDISPINFO`.
#[repr(C)]
pub struct DisplayInfo {
    pub index: c_int,
    pub progressive: c_int,
    pub top_field_first: c_int,
    pub repeat_first_field: c_int,
    pub timestamp: i64,
}

/// `CUVIDSOURCEDATAPACKET`.
#[repr(C)]
pub struct Packet {
    pub flags: c_ulong,
    pub bytes: c_ulong,
    pub payload: *const u8,
    pub timestamp: i64,
}

/// Bits of [`Packet::flags`].
pub mod packet {
    use super::c_ulong;

    pub const END_OF_STREAM: c_ulong = 1;
    pub const TIMESTAMP: c_ulong = 2;
    pub const DISCONTINUITY: c_ulong = 4;
    pub const END_OF_PICTURE: c_ulong = 8;
    pub const NOTIFY_END: c_ulong = 16;
}

const _: () = {
    assert!(size_of::<c_long>() == 8, "the headers' longs should be words");
    assert!(size_of::<Caps>() == size_of::<cuviddec::CUVIDDECODECAPS>());
    assert!(size_of::<CreateInfo>() == size_of::<cuviddec::CUVIDDECODECREATEINFO>());
    assert!(size_of::<ReconfigureInfo>() == size_of::<cuviddec::CUVIDRECONFIGUREDECODERINFO>());
    assert!(size_of::<PictureParameters>() == size_of::<cuviddec::CUVIDPICPARAMS>());
    assert!(size_of::<Processing>() == size_of::<cuviddec::CUVIDPROCPARAMS>());
    assert!(size_of::<DecodeStatus>() == size_of::<cuviddec::CUVIDGETDECODESTATUS>());
    assert!(size_of::<Format>() == size_of::<nvcuvid::CUVIDEOFORMAT>());
    assert!(size_of::<FormatWithHeader>() == size_of::<nvcuvid::CUVIDEOFORMATEX>());
    assert!(size_of::<ParserParameters>() == size_of::<nvcuvid::CUVIDPARSERPARAMS>());
    assert!(size_of::<DisplayInfo>() == size_of::<nvcuvid::CUVIDPARSERDISPINFO>());
    assert!(size_of::<Packet>() == size_of::<nvcuvid::CUVIDSOURCEDATAPACKET>());
};
