//! What a slot sees of the machine's GPUs, and of its worker's environment for their sake.

use std::ffi::OsString;

/// Variables of the worker that its slots see too: where shared libraries lie, and how much a panic tells.
const KEPT: [&str; 2] = ["LD_LIBRARY_PATH", "RUST_BACKTRACE"];

/// And those that see a GPU: what the container was given, where the driver keeps what it has compiled, and the service
/// that several processes share a GPU by.
const KEPT_FOR_GPUS: [&str; 5] =
    ["CUDA_CACHE_PATH", "CUDA_MPS_PIPE_DIRECTORY", "HOME", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_VISIBLE_DEVICES"];

/// What CUDA shows to a process, by number or UUID.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// Which GPUs a slot sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Sight {
    /// None: its memory is limited as address space.
    #[default]
    Nothing,
    /// All that the worker sees.
    All,
    /// The one with this UUID. A part of a divided GPU is seen in no other way.
    One(String),
}

impl Sight {
    /// The environment that it gets, out of the worker's.
    pub fn variables(&self) -> Vec<(&'static str, OsString)> {
        let kept = |name: &&'static str| Some((*name, std::env::var_os(name)?));
        let mut variables: Vec<_> = KEPT.iter().filter_map(kept).collect();
        match self {
            Self::Nothing => return variables,
            Self::All => variables.extend(kept(&VISIBLE)),
            Self::One(uuid) => variables.push((VISIBLE, uuid.into())),
        }
        variables.extend(KEPT_FOR_GPUS.iter().filter_map(kept));
        variables
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_sees_the_gpu_it_was_given_and_no_other() {
        let seen = |sight: Sight| sight.variables().into_iter().find(|(name, _)| *name == VISIBLE);
        assert_eq!(seen(Sight::One("GPU-1".into())), Some((VISIBLE, "GPU-1".into())));
        assert_eq!(seen(Sight::Nothing), None);
        assert!(Sight::Nothing.variables().iter().all(|(name, _)| KEPT.contains(name)));
    }
}
