//! Kernels on the host: the plain loop over every place.

use std::convert::Infallible;
use std::ffi::{CStr, c_char, c_uint, c_void};

use super::{Given, Kernel, Machine};

/// The host, with vectors for memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OnHost;

/// `struct kernel` of `kernel.h`.
#[repr(C)]
struct Listed {
    name: *const c_char,
    argument_bytes: c_uint,
    run: Option<unsafe extern "C" fn(*const c_void, c_uint, c_uint)>,
}

unsafe extern "C" {
    /// Ends with an entry whose name is null.
    #[link_name = "nvidia_kernels"]
    static FIRST: Listed;
}

fn listed() -> impl Iterator<Item = &'static Listed> {
    let mut next = &raw const FIRST;
    std::iter::from_fn(move || {
        // SAFETY: it is the first entry, or follows one that was not the last; nobody writes them.
        let entry: &'static Listed = unsafe { &*next };
        if entry.name.is_null() {
            return None;
        }
        // SAFETY: an entry with a name is followed by another.
        next = unsafe { next.add(1) };
        Some(entry)
    })
}

fn name(entry: &Listed) -> &'static CStr {
    // SAFETY: names are C's string constants.
    unsafe { CStr::from_ptr(entry.name) }
}

impl Machine for OnHost {
    /// Of eight bytes each, because kernels read larger numbers than bytes.
    type Memory = Vec<u64>;
    type Fault = Infallible;

    fn allocate(&self, bytes: usize) -> Result<Vec<u64>, Infallible> {
        Ok(vec![0; bytes.div_ceil(8)])
    }

    fn hold(&self, content: &[u8]) -> Result<Vec<u64>, Infallible> {
        let eight = |bytes: &[u8]| {
            let mut number = [0; 8];
            number[..bytes.len()].copy_from_slice(bytes);
            u64::from_ne_bytes(number)
        };
        Ok(content.chunks(8).map(eight).collect())
    }

    fn address(memory: &Vec<u64>) -> u64 {
        memory.as_ptr() as u64
    }

    unsafe fn run<G: Given>(&self, kernel: Kernel, given: &G, width: u32, height: u32) -> Result<(), Infallible> {
        debug_assert!(G::KERNELS.contains(&kernel), "{kernel:?} is given what another takes");
        let entry = listed().find(|entry| name(entry).to_bytes() == kernel.name().as_bytes());
        let run = entry.and_then(|entry| entry.run).expect("a test should have compared the names");
        // SAFETY: the kernel takes this struct, and the caller vouches for the addresses in it.
        unsafe { run((&raw const *given).cast(), width, height) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Columns, Mix, Pairs, Rows, Show, Turn};
    use super::*;

    #[test]
    fn every_kernel_is_compiled_for_the_host_and_takes_what_it_is_given() {
        fn sizes<G: Given>() -> Vec<(&'static str, usize)> {
            G::KERNELS.iter().map(|kernel| (kernel.name(), size_of::<G>())).collect()
        }
        let ours =
            [sizes::<Columns>(), sizes::<Rows>(), sizes::<Show>(), sizes::<Mix>(), sizes::<Turn>(), sizes::<Pairs>()];
        let compiled: Vec<_> =
            listed().map(|entry| (name(entry).to_str().unwrap(), entry.argument_bytes as usize)).collect();
        assert_eq!(ours.concat(), compiled);
        assert_eq!(Kernel::ALL.map(Kernel::name).to_vec(), compiled.iter().map(|entry| entry.0).collect::<Vec<_>>());
    }
}
