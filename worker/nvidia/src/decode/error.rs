//! What goes wrong with NVDEC, by what is to be done about it.

use super::api::Status;
use crate::device::Fault;

/// Why there is no decoder, or no picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Memory is taken by others. Nothing is broken: decode elsewhere, or later.
    #[error("NVDEC is busy: {0}")]
    Busy(String),
    /// This card can't decode that. Decode elsewhere, and don't ask again.
    #[error("NVDEC can't do that: {0}")]
    Unsupported(String),
    /// Parser or engine make no sense of the stream. Another decoder may.
    #[error("NVDEC does not understand the stream: {0}")]
    Stream(String),
    /// The driver finds our call wrong: a bug of ours, the card is well.
    #[error("NVDEC was asked wrongly: {0}")]
    Config(String),
    /// The card or its driver fails: end this process, and prove the card again.
    #[error("NVDEC fails: {0}")]
    Fault(String),
}

impl DecodeError {
    /// For a call's status that isn't success.
    pub(super) fn of(call: &'static str, code: Status) -> Self {
        let fault = Fault { call, code };
        match code {
            1 => Self::Config(fault.to_string()),
            100 | 801 => Self::Unsupported(fault.to_string()),
            _ => Self::from(fault),
        }
    }

    /// For a status of a call that a stream's bytes went into, or came out of: what isn't of the card is of the stream.
    fn of_picture(call: &'static str, code: Status) -> Self {
        let fault = Fault { call, code };
        match code {
            100 | 801 => Self::Unsupported(fault.to_string()),
            _ if fault.sticky() || fault.out_of_memory() => Self::from(fault),
            _ => Self::Stream(fault.to_string()),
        }
    }

    /// Success, or the error.
    pub(super) fn check(call: &'static str, status: Status) -> Result<(), Self> {
        if status == 0 { Ok(()) } else { Err(Self::of(call, status)) }
    }

    /// The same for a call that decodes or maps a picture.
    pub(super) fn check_picture(call: &'static str, status: Status) -> Result<(), Self> {
        if status == 0 { Ok(()) } else { Err(Self::of_picture(call, status)) }
    }
}

impl From<Fault> for DecodeError {
    fn from(fault: Fault) -> Self {
        if fault.out_of_memory() { Self::Busy(fault.to_string()) } else { Self::Fault(fault.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_is_to_be_done() {
        let of = |code| DecodeError::of("cuvidCreateDecoder", code);
        assert!(matches!(of(2), DecodeError::Busy(_)));
        assert!(matches!(of(801), DecodeError::Unsupported(_)));
        assert!(matches!(of(1), DecodeError::Config(_)));
        assert!(matches!(of(700), DecodeError::Fault(_)));
        assert!(matches!(of(4711), DecodeError::Fault(_)), "a status of a newer driver should not be ours to explain");
    }

    #[test]
    fn a_picture_that_can_not_be_decoded_blames_the_stream_unless_the_context_is_lost() {
        let of = |code| DecodeError::check_picture("cuvidDecodePicture", code).unwrap_err();
        assert!([1, 200, 205, 4711].into_iter().all(|code| matches!(of(code), DecodeError::Stream(_))));
        assert!([700, 719, 999].into_iter().all(|code| matches!(of(code), DecodeError::Fault(_))));
        assert!(matches!(of(2), DecodeError::Busy(_)));
        assert!([100, 801].into_iter().all(|code| matches!(of(code), DecodeError::Unsupported(_))));
    }
}
