//! Device memory: where it lies, what is alive, and who may touch it.
//!
//! Each allocation is a mapping of its own that ends at a page nobody may touch, at addresses that go up and are not used
//! again for long. It is closed to everybody between calls; a call opens what it was given.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::fmt;
use std::ops::Range;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

use crate::driver::Handle;

/// Device addresses. The upper halves of their words are no sizes or pitches that kernels are given.
const ADDRESSES: Range<u64> = 0x3a81_0000_0000..0x3ac0_0000_0000;
/// Every allocation begins at a multiple of so many bytes, as a card's do.
const ALIGNMENT: u64 = 512;
const PAGE: u64 = 4096;
/// How many freed allocations are remembered, to say so when one is used.
const REMEMBERED: usize = 4096;
/// What new memory holds: nothing that anybody may rely on.
const FRESH: u8 = 0xc7;

/// One allocation.
#[derive(Clone, Copy)]
pub struct Allocation {
    pub address: u64,
    pub bytes: u64,
    pub context: Handle,
    pub device: i32,
    /// The mapping it lies in, its last page included.
    mapped: (u64, u64),
}

/// Why an address can't be used.
#[derive(Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No device memory was ever there, or it is too long ago.
    Unknown(u64),
    /// It was freed.
    Freed(u64),
    /// The allocation is so many bytes too short.
    Beyond(u64, u64),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(address) => write!(f, "{address:#x} is no device memory"),
            Self::Freed(address) => write!(f, "{address:#x} was freed before"),
            Self::Beyond(address, bytes) => write!(f, "{bytes} bytes beyond the end of the memory of {address:#x}"),
        }
    }
}

/// All memory that was given out.
#[derive(Default)]
pub struct Memory {
    live: BTreeMap<u64, Allocation>,
    freed: BTreeMap<u64, u64>,
    /// Host memory that the driver gave out: begin and bytes.
    pub pinned_host: BTreeMap<u64, usize>,
    next: u64,
}

impl Memory {
    /// Memory of so many bytes, or nothing if the host has none.
    pub fn allocate(&mut self, bytes: u64, context: Handle, device: i32) -> Option<u64> {
        let room = bytes.checked_next_multiple_of(ALIGNMENT)?;
        let length = room.checked_next_multiple_of(PAGE)?.checked_add(PAGE)?;
        let start = self.map(length)?;
        let guard = start + length - PAGE;
        let address = guard - room;
        let allocation = Allocation { address, bytes, context, device, mapped: (start, length) };
        self.live.insert(address, allocation);
        let fill = || {
            // SAFETY: the memory was mapped that long and is open now.
            unsafe { std::ptr::write_bytes(address as *mut u8, FRESH, room as usize) }
        };
        self.open(&[address], fill);
        Some(address)
    }

    fn map(&mut self, length: u64) -> Option<u64> {
        for _ in 0..64 {
            if self.next < ADDRESSES.start || self.next + length > ADDRESSES.end {
                self.next = ADDRESSES.start;
            }
            let start = self.next;
            self.next += length;
            let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE | MapFlags::NORESERVE;
            // SAFETY: nothing that is mapped is replaced.
            let mapped = unsafe { mmap_anonymous(start as *mut c_void, length as usize, ProtFlags::empty(), flags) };
            match mapped {
                Ok(place) if place as u64 == start => return Some(start),
                // A kernel that doesn't know the flag put it elsewhere.
                Ok(place) => {
                    // SAFETY: it was mapped just now and nobody knows of it.
                    unsafe { munmap(place, length as usize) }.ok()?;
                }
                Err(_) => {}
            }
        }
        None
    }

    /// Gives an allocation back.
    pub fn free(&mut self, address: u64) -> Result<(), Trouble> {
        let Some(allocation) = self.live.remove(&address) else {
            return Err(match self.find(address, 1) {
                Ok(_) => Trouble::Unknown(address),
                Err(trouble) => trouble,
            });
        };
        let (start, length) = allocation.mapped;
        // SAFETY: it is this allocation's own mapping, and the allocation is known no more.
        if let Err(error) = unsafe { munmap(start as *mut c_void, length as usize) } {
            card::violation!("munmap", "{error}");
        }
        self.freed.insert(address, allocation.bytes);
        if self.freed.len() > REMEMBERED {
            self.freed.pop_first();
        }
        Ok(())
    }

    /// Frees all that was allocated in a context; how many that were.
    pub fn free_all_of(&mut self, context: Handle) -> usize {
        let of_it = self.live.values().filter(|allocation| allocation.context == context);
        let addresses: Vec<u64> = of_it.map(|allocation| allocation.address).collect();
        addresses.iter().filter(|address| self.free(**address).is_ok()).count()
    }

    /// The allocation in which so many bytes from that address on lie.
    pub fn find(&self, address: u64, bytes: u64) -> Result<Allocation, Trouble> {
        if let Some((_, allocation)) = self.live.range(..=address).next_back()
            && address < allocation.mapped.0 + allocation.mapped.1
        {
            let missing = address.saturating_add(bytes).saturating_sub(allocation.address + allocation.bytes);
            return if missing == 0 { Ok(*allocation) } else { Err(Trouble::Beyond(allocation.address, missing)) };
        }
        match self.freed.range(..=address).next_back() {
            Some((start, bytes)) if address - start < *bytes => Err(Trouble::Freed(address)),
            _ => Err(Trouble::Unknown(address)),
        }
    }

    /// Opens the allocations at these addresses, does the work, and closes them.
    pub fn open<R>(&self, addresses: &[u64], work: impl FnOnce() -> R) -> R {
        self.protect(addresses, MprotectFlags::READ | MprotectFlags::WRITE);
        let done = work();
        self.protect(addresses, MprotectFlags::empty());
        done
    }

    fn protect(&self, addresses: &[u64], access: MprotectFlags) {
        for allocation in addresses.iter().filter_map(|address| self.live.get(address)) {
            let (start, length) = allocation.mapped;
            // SAFETY: it is a mapping of ours, without its last page.
            if let Err(error) = unsafe { mprotect(start as *mut c_void, (length - PAGE) as usize, access) } {
                card::violation!("mprotect", "{error}");
            }
        }
    }

    /// Whether this may be a device address.
    pub fn is_device(address: u64) -> bool {
        ADDRESSES.contains(&address)
    }

    /// Whether host memory was given out by the driver, so that copies of it may run beside the client.
    pub fn is_pinned(&self, address: u64) -> bool {
        let before = self.pinned_host.range(..=address).next_back();
        before.is_some_and(|(start, bytes)| address - start < *bytes as u64)
    }

    /// Bytes in use on a device.
    pub fn used(&self, device: i32) -> u64 {
        self.live.values().filter(|allocation| allocation.device == device).map(|allocation| allocation.bytes).sum()
    }

    /// Number of allocations of device memory.
    pub fn live(&self) -> usize {
        self.live.len()
    }

    /// Number of allocations of pinned memory.
    pub fn pinned(&self) -> usize {
        self.pinned_host.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_known_before_and_after() {
        let mut memory = Memory::default();
        let first = memory.allocate(1000, 1, 0).unwrap();
        let second = memory.allocate(1000, 1, 0).unwrap();
        assert!(first.is_multiple_of(ALIGNMENT) && second.is_multiple_of(ALIGNMENT) && Memory::is_device(first));
        assert!(memory.find(first + 999, 1).is_ok());
        assert_eq!(memory.find(first, 1003).err(), Some(Trouble::Beyond(first, 3)));
        assert_eq!(memory.used(0), 2000);
        assert_eq!(memory.free(first + 512), Err(Trouble::Unknown(first + 512)));
        assert_eq!(memory.free(first), Ok(()));
        assert_eq!(memory.free(first), Err(Trouble::Freed(first)));
        assert_eq!(memory.find(first + 7, 1).err(), Some(Trouble::Freed(first + 7)));
        assert_eq!(memory.free_all_of(1), 1);
        assert_eq!(memory.find(0x1234, 1).err(), Some(Trouble::Unknown(0x1234)));
    }
}
