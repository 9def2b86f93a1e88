//! Which version of which struct a client may hand over, and which fields must be zero.
//!
//! A `version` is made of the API's number (major in bits 0–7, minor in bits 24–27), the struct's own number (bits
//! 16–23), 7 in bits 28–30, and a mark in bit 31 on those structs that have grown. The driver looks at the struct's
//! number and the 7 and takes any API number.

use std::mem::offset_of as at;

use nvidia_video_codec_sdk::sys::nvEncodeAPI::*;

use crate::given::Given;
use crate::status::{Answer, INVALID_VERSION};

/// API 12.1 as it stands in a `version` and in `apiVersion`: the layout that this crate reads with.
const OUR_API: u32 = NVENCAPI_VERSION;
/// The bits of a `version` that are the API's number.
const API_BITS: u32 = 0x0f00_00ff;
/// The mark of a struct that has grown.
const GROWN: u32 = 1 << 31;
/// How much of a reserved array may have become fields between API 11.1 and 13.0.
const SLACK_BYTES: usize = 64;
/// Bytes of `NV_ENC_PIC_PARAMS` in API 11.1, where it is shortest. What lies behind the codec's part has moved since.
pub const SHORTEST_PICTURE: usize = 3344;
/// Bytes of `NV_ENC_LOCK_BITSTREAM` in API 11.1, where it is shortest.
pub const SHORTEST_LOCK: usize = 1544;

/// A struct of the interface.
pub struct Layout {
    /// NVIDIA's name for it.
    pub name: &'static str,
    /// The struct numbers of API 11.1 to 13.0, with `GROWN` where it belongs.
    numbers: &'static [u32],
    /// Offset and length of what must be zero.
    reserved: &'static [(usize, usize)],
}

macro_rules! layouts {
    ($($(#[$doc:meta])* $name:ident: $type:ident [$($number:expr),*] zero [$($field:ident: $bytes:expr),*];)*) => {
        $($(#[$doc])* pub const $name: Layout = Layout {
            name: stringify!($type),
            numbers: &[$($number),*],
            reserved: &[$((at!($type, $field), $bytes)),*],
        };)*
    };
}

layouts! {
    /// The table of functions.
    FUNCTIONS: NV_ENCODE_API_FUNCTION_LIST [2] zero [];
    /// For opening a session.
    OPEN: NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS [1] zero [reserved: 8, reserved1: 253 * 4, reserved2: 64 * 8];
    /// A question about a capability.
    CAPS: NV_ENC_CAPS_PARAM [1] zero [reserved: 62 * 4];
    /// Defaults of a preset.
    PRESET: NV_ENC_PRESET_CONFIG [4 | GROWN, 5 | GROWN] zero [];
    /// How to encode.
    CONFIG: NV_ENC_CONFIG [7 | GROWN, 8 | GROWN, 9 | GROWN] zero [reserved: 278 * 4, reserved2: 64 * 8];
    /// What to encode.
    INITIALIZE: NV_ENC_INITIALIZE_PARAMS [5 | GROWN, 6 | GROWN, 7 | GROWN] zero [reserved: 285 * 4, reserved2: 64 * 8];
    /// What to encode from now on.
    RECONFIGURE: NV_ENC_RECONFIGURE_PARAMS [1 | GROWN, 2 | GROWN] zero [];
    /// An input buffer.
    INPUT: NV_ENC_CREATE_INPUT_BUFFER [1, 2] zero [reserved: 4, reserved1: 57 * 4, reserved2: 63 * 8];
    /// An output buffer.
    OUTPUT: NV_ENC_CREATE_BITSTREAM_BUFFER [1] zero [reserved: 4, reserved1: 58 * 4, reserved2: 64 * 8];
    /// Access to an input buffer.
    LOCK_INPUT: NV_ENC_LOCK_INPUT_BUFFER [1] zero [reserved1: 251 * 4, reserved2: 64 * 8];
    /// Access to an output buffer.
    LOCK_OUTPUT: NV_ENC_LOCK_BITSTREAM [1, 1 | GROWN, 2 | GROWN] zero [reserved1: 220 * 4];
    /// Memory of the client's.
    REGISTER: NV_ENC_REGISTER_RESOURCE [3, 4, 5] zero [reserved1: 245 * 4, reserved2: 61 * 8];
    /// Its use as an input.
    MAP: NV_ENC_MAP_INPUT_RESOURCE [4] zero [reserved1: 251 * 4, reserved2: 63 * 8];
    /// One picture.
    PICTURE: NV_ENC_PIC_PARAMS [4 | GROWN, 6 | GROWN, 7 | GROWN]
        zero [reserved1: 6 * 4, reserved2: 2 * 8, reservedBitFields: 4, reserved3: 284 * 4];
    /// Parameter sets.
    SEQUENCE: NV_ENC_SEQUENCE_PARAM_PAYLOAD [1] zero [reserved: 250 * 4, reserved2: 64 * 8];
}

impl Layout {
    /// Whether a client of API 11.1 to 13.0 may write this `version` into this struct.
    pub fn takes(&self, version: u32) -> bool {
        version >> 28 & 7 == 7 && self.numbers.contains(&(version >> 16 & 0xff | version & GROWN))
    }

    /// Refuses what the driver refuses, and gives the client's mistakes that it does not see: another API's struct than
    /// was said when the session was opened, and reserved fields in use.
    pub fn check<T>(&self, given: &Given<T>, session_api: u32) -> Answer<Vec<String>> {
        let version = given.u32(0);
        if !self.takes(version) {
            return Err(INVALID_VERSION.into());
        }
        let mut mistakes = Vec::new();
        if version & API_BITS != session_api {
            let (said, used) = (number(session_api), number(version & API_BITS));
            mistakes.push(format!("{}: a struct of API {used} in a session of API {said}", self.name));
        }
        let exact = version & API_BITS == OUR_API;
        let moved = !exact && self.name == PICTURE.name;
        for (offset, length) in self.reserved.iter().filter(|_| !moved) {
            let slack = if exact { 0 } else { SLACK_BYTES.min(*length) };
            if !given.is_zero(offset + slack, length - slack) {
                mistakes.push(format!("{}: reserved bytes from {offset} on are not zero", self.name));
            }
        }
        Ok(mistakes)
    }
}

/// An API number in words: `12.1`.
pub fn number(api: u32) -> String {
    format!("{}.{}", api & 0xff, api >> 24 & 0xf)
}

/// Whether `apiVersion` is one that this stand-in reads.
pub fn is_known(api: u32) -> bool {
    api & !API_BITS == 0 && matches!((api & 0xff, api >> 24), (11, 1) | (12, 0..=2) | (13, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_the_struct_is_looked_at_and_that_of_the_api_is_not() {
        assert!(CONFIG.takes(NV_ENC_CONFIG_VER));
        assert!(CONFIG.takes(NV_ENC_CONFIG_VER + 1));
        assert!(CONFIG.takes(0xf107_000b), "API 11.1");
        assert!(!CONFIG.takes(0xf106_000a), "API 10.0");
        assert!(!CONFIG.takes(0x7108_000c), "without its mark");
        assert!(!CONFIG.takes(0));
    }

    #[test]
    fn layouts_are_of_the_sizes_in_the_header() {
        assert_eq!(size_of::<NV_ENC_CONFIG>(), 3584);
        assert_eq!(size_of::<NV_ENC_PIC_PARAMS>(), 3360);
        assert_eq!(size_of::<NV_ENC_INITIALIZE_PARAMS>(), 1808);
        assert_eq!(size_of::<NV_ENC_LOCK_BITSTREAM>(), 1552);
        assert_eq!(size_of::<NV_ENCODE_API_FUNCTION_LIST>(), 2552);
    }

    #[test]
    fn only_known_apis_are_known() {
        assert!(is_known(NVENCAPI_VERSION));
        assert!(is_known(0x0100_000b));
        assert!(!is_known(0));
        assert_eq!(number(NVENCAPI_VERSION), "12.1");
    }
}
