//! What the driver's functions answer, as plain integers: `NVENCSTATUS`.

/// `NV_ENC_SUCCESS`.
pub const SUCCESS: u32 = 0;
/// `NV_ENC_ERR_UNSUPPORTED_DEVICE`: this card has no encoder.
pub const UNSUPPORTED_DEVICE: u32 = 2;
/// `NV_ENC_ERR_INVALID_ENCODERDEVICE`: no such session.
pub const INVALID_ENCODER: u32 = 3;
/// `NV_ENC_ERR_INVALID_DEVICE`.
pub const INVALID_DEVICE: u32 = 4;
/// `NV_ENC_ERR_DEVICE_NOT_EXIST`: also what a real card says to calls that come before initialisation.
pub const DEVICE_NOT_EXIST: u32 = 5;
/// `NV_ENC_ERR_INVALID_PTR`.
pub const INVALID_PTR: u32 = 6;
/// `NV_ENC_ERR_INVALID_PARAM`.
pub const INVALID_PARAM: u32 = 8;
/// `NV_ENC_ERR_OUT_OF_MEMORY`: too many sessions, or a buffer too small.
pub const OUT_OF_MEMORY: u32 = 10;
/// `NV_ENC_ERR_UNSUPPORTED_PARAM`.
pub const UNSUPPORTED_PARAM: u32 = 12;
/// `NV_ENC_ERR_LOCK_BUSY`: not ready yet.
pub const LOCK_BUSY: u32 = 13;
/// `NV_ENC_ERR_INVALID_VERSION`.
pub const INVALID_VERSION: u32 = 15;
/// `NV_ENC_ERR_MAP_FAILED`.
pub const MAP_FAILED: u32 = 16;
/// `NV_ENC_ERR_NEED_MORE_INPUT`: taken, but nothing came out yet.
pub const NEED_MORE_INPUT: u32 = 17;
/// `NV_ENC_ERR_GENERIC`.
pub const GENERIC: u32 = 20;
/// `NV_ENC_ERR_UNIMPLEMENTED`.
pub const UNIMPLEMENTED: u32 = 22;
/// `NV_ENC_ERR_RESOURCE_NOT_REGISTERED`.
pub const NOT_REGISTERED: u32 = 24;
/// `NV_ENC_ERR_RESOURCE_NOT_MAPPED`.
pub const NOT_MAPPED: u32 = 25;

/// Why a call does not answer `SUCCESS`.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// What the call returns.
    pub status: u32,
    /// What `NvEncGetLastErrorString` says from now on; `None` leaves the text that was there.
    pub text: Option<String>,
}

impl Refusal {
    /// A refusal with words for `NvEncGetLastErrorString`.
    pub fn saying(status: u32, text: impl Into<String>) -> Self {
        Self { status, text: Some(text.into()) }
    }
}

/// A refusal without words.
impl From<u32> for Refusal {
    fn from(status: u32) -> Self {
        Self { status, text: None }
    }
}

/// What every function of the table comes to.
pub type Answer<T = ()> = Result<T, Refusal>;
