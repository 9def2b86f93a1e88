//! Kernels on the host: the plain loop over every place.

use std::cell::UnsafeCell;
use std::convert::Infallible;
use std::ffi::{CStr, c_char, c_uint, c_void};

use super::{Given, Kernel, Machine};

/// The host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OnHost;

/// Memory that kernels write: in cells, because they do it by address; of eight bytes, because they write larger numbers
/// than bytes.
#[derive(Debug)]
pub(crate) struct HostMemory(Box<[UnsafeCell<u64>]>);

impl HostMemory {
    fn new(eights: impl Iterator<Item = u64>) -> Self {
        Self(eights.map(UnsafeCell::new).collect())
    }

    /// What kernels have written.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: as many bytes as the cells have; kernels are done when they come back, so nobody writes meanwhile.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), 8 * self.0.len()) }
    }

    /// What kernels will read.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and nobody else has them.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), 8 * self.0.len()) }
    }
}

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
    type Memory = HostMemory;
    type Fault = Infallible;

    fn allocate(&self, bytes: usize) -> Result<HostMemory, Infallible> {
        Ok(HostMemory::new(std::iter::repeat_n(0, bytes.div_ceil(8))))
    }

    fn hold(&self, content: &[u8]) -> Result<HostMemory, Infallible> {
        let mut memory = self.allocate(content.len())?;
        memory.bytes_mut()[..content.len()].copy_from_slice(content);
        Ok(memory)
    }

    fn address(memory: &HostMemory) -> u64 {
        memory.0.as_ptr() as u64
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
