//! What goes wrong with NVENC, by what is to be done about it.

use crate::device::Fault;

use super::api::Status;

/// Why there is no encoder, or no packet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Sessions or memory are taken by others. Nothing is broken: encode elsewhere, or later.
    #[error("NVENC is busy: {0}")]
    Busy(String),
    /// This card can't encode that. Encode elsewhere, and don't ask again.
    #[error("NVENC can't do that: {0}")]
    Unsupported(String),
    /// The driver finds our call wrong: a bug of ours, the card is well.
    #[error("NVENC was asked wrongly: {0}")]
    Config(String),
    /// The card or its driver fails: end this process, and prove the card again.
    #[error("NVENC fails: {0}")]
    Fault(String),
}

impl EncodeError {
    /// For a status that isn't success; `said` is what the driver said of it, perhaps nothing.
    pub(super) fn of(call: &str, status: Status, said: &str) -> Self {
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        let text = format!("{call} ends with status {status} ({}){said}", name(status));
        match status {
            // Newer drivers of GeForce cards call the limit of their sessions 21.
            10 | 13 | 18 | 21 => Self::Busy(text),
            // Which levels hold what is the driver's own to judge, and cards differ.
            8 if said.to_ascii_lowercase().contains("level") => Self::Unsupported(text),
            1 | 2 | 12 | 22 => Self::Unsupported(text),
            6..=9 | 11 | 14 | 15 | 19 | 24 | 25 => Self::Config(text),
            _ => Self::Fault(text),
        }
    }
}

impl From<Fault> for EncodeError {
    fn from(fault: Fault) -> Self {
        if fault.out_of_memory() { Self::Busy(fault.to_string()) } else { Self::Fault(fault.to_string()) }
    }
}

/// As the header names it (`NVENCSTATUS`), without its prefix.
fn name(status: Status) -> &'static str {
    const NAMES: [&str; 27] = [
        "SUCCESS",
        "NO_ENCODE_DEVICE",
        "UNSUPPORTED_DEVICE",
        "INVALID_ENCODERDEVICE",
        "INVALID_DEVICE",
        "DEVICE_NOT_EXIST",
        "INVALID_PTR",
        "INVALID_EVENT",
        "INVALID_PARAM",
        "INVALID_CALL",
        "OUT_OF_MEMORY",
        "ENCODER_NOT_INITIALIZED",
        "UNSUPPORTED_PARAM",
        "LOCK_BUSY",
        "NOT_ENOUGH_BUFFER",
        "INVALID_VERSION",
        "MAP_FAILED",
        "NEED_MORE_INPUT",
        "ENCODER_BUSY",
        "EVENT_NOT_REGISTERD",
        "GENERIC",
        "INCOMPATIBLE_CLIENT_KEY",
        "UNIMPLEMENTED",
        "RESOURCE_REGISTER_FAILED",
        "RESOURCE_NOT_REGISTERED",
        "RESOURCE_NOT_MAPPED",
        "NEED_MORE_OUTPUT",
    ];
    NAMES.get(status as usize).copied().unwrap_or("unknown to us")
}

#[cfg(test)]
mod tests {
    use nvidia_video_codec_sdk::sys::nvEncodeAPI::NVENCSTATUS;

    use super::*;

    #[test]
    fn a_status_says_what_is_to_be_done() {
        let of = |status| EncodeError::of("NvEncOpenEncodeSessionEx", status, "");
        assert!([10, 13, 18, 21].into_iter().all(|status| matches!(of(status), EncodeError::Busy(_))));
        assert!(matches!(of(2), EncodeError::Unsupported(_)));
        assert!(matches!(of(12), EncodeError::Unsupported(_)));
        assert!(matches!(of(8), EncodeError::Config(_)));
        let level = EncodeError::of("NvEncInitializeEncoder", 8, "Invalid Level.");
        assert!(matches!(level, EncodeError::Unsupported(_)), "{level}");
        assert!(matches!(of(20), EncodeError::Fault(_)));
        assert!(matches!(of(4711), EncodeError::Fault(_)), "a status of a newer driver should not be ours to explain");
    }

    #[test]
    fn names_stand_at_their_numbers() {
        assert_eq!(name(NVENCSTATUS::NV_ENC_ERR_UNSUPPORTED_DEVICE as u32), "UNSUPPORTED_DEVICE");
        assert_eq!(name(NVENCSTATUS::NV_ENC_ERR_NEED_MORE_INPUT as u32), "NEED_MORE_INPUT");
        assert_eq!(name(NVENCSTATUS::NV_ENC_ERR_NEED_MORE_OUTPUT as u32), "NEED_MORE_OUTPUT");
        let said =
            EncodeError::of("NvEncInitializeEncoder", 8, "Frame Dimension less than the minimum supported value.");
        assert!(said.to_string().contains("INVALID_PARAM") && said.to_string().contains("minimum"), "{said}");
    }
}
