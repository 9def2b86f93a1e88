//! What CUDA says when something fails.

use cudarc::driver::result::DriverError;

/// A call of CUDA that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{call} failed with CUDA status {code}{}", self.meaning())]
pub struct Fault {
    /// What was asked for.
    pub call: &'static str,
    /// `CUresult`, as an integer: newer drivers have statuses that no list of ours knows.
    pub code: u32,
}

impl Fault {
    /// For `map_err`: the fault of a call.
    pub(crate) fn of(call: &'static str) -> impl FnOnce(DriverError) -> Self {
        move |error| Self { call, code: error.0 as u32 }
    }

    /// The device has no memory left (or the driver has not): others may have taken it, nothing is broken.
    pub fn out_of_memory(&self) -> bool {
        self.code == 2
    }

    /// The context is lost with all that is in it: only the end of the process cleans up.
    pub fn sticky(&self) -> bool {
        matches!(self.code, 46 | 214 | 220 | 700 | 702 | 709 | 710 | 714..=721 | 999)
    }

    fn meaning(&self) -> &'static str {
        match self.code {
            1 => " (invalid value)",
            2 => " (out of memory)",
            46 => " (device not available)",
            100 => " (no device)",
            101 => " (invalid device)",
            201 => " (invalid context)",
            209 => " (no kernel for this device)",
            214 => " (memory error that could not be corrected)",
            218 => " (PTX that the driver can't compile)",
            220 => " (NVLink error)",
            222 => " (PTX newer than the driver)",
            700 => " (address that isn't mapped)",
            702 => " (a kernel ran too long)",
            719 => " (a kernel failed)",
            999 => " (unknown, often a lost device)",
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_context_is_told_from_a_full_one() {
        let fault = |code| Fault { call: "cuMemAlloc", code };
        assert!(fault(2).out_of_memory() && !fault(2).sticky());
        assert!([46, 700, 719, 999].into_iter().all(|code| fault(code).sticky()));
        assert!(!fault(801).sticky());
    }
}
