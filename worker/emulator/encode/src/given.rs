//! A struct that the client handed over, read field by field as plain integers.
//!
//! The fields of NVIDIA's structs that are enums in C are enums in Rust too, and a client may put anything there: such a
//! struct must never exist as a Rust value. So its bytes are copied, and fields are read by their offset.
#![allow(unsafe_code, reason = "reads and writes through the client's pointer")]

use std::marker::PhantomData;

use nvidia_video_codec_sdk::sys::nvEncodeAPI::GUID;

use crate::status::{Answer, INVALID_PTR};

/// The client's struct: its bytes when the call came, and where answers go.
pub struct Given<T> {
    at: *mut u8,
    bytes: Vec<u8>,
    layout: PhantomData<T>,
}

impl<T> Given<T> {
    /// Copies the struct; a null pointer is answered with `INVALID_PTR`.
    ///
    /// # Safety
    /// `at` is null, or points to a whole `T` that nobody else touches until the call returns.
    pub unsafe fn take(at: *mut T) -> Answer<Self> {
        // SAFETY: handed on from the caller.
        unsafe { Self::take_first(at, size_of::<T>()) }
    }

    /// Copies the first `length` bytes of a struct that is longer in some versions; the rest is read as zeros.
    ///
    /// # Safety
    /// `at` is null, or points to so many bytes that nobody else touches until the call returns.
    pub unsafe fn take_first(at: *mut T, length: usize) -> Answer<Self> {
        if at.is_null() {
            return Err(INVALID_PTR.into());
        }
        let at = at.cast::<u8>();
        // SAFETY: the caller says that so many bytes lie there; as bytes they need no alignment.
        let mut bytes = unsafe { std::slice::from_raw_parts(at, length) }.to_vec();
        bytes.resize(size_of::<T>(), 0);
        Ok(Self { at, bytes, layout: PhantomData })
    }

    fn array<const N: usize>(&self, offset: usize) -> [u8; N] {
        self.bytes[offset..offset + N].try_into().expect("a slice of N bytes should fill an array of N")
    }

    /// The 32 bit field at `offset`.
    pub fn u32(&self, offset: usize) -> u32 {
        u32::from_ne_bytes(self.array(offset))
    }

    /// The signed 32 bit field at `offset`.
    pub fn i32(&self, offset: usize) -> i32 {
        i32::from_ne_bytes(self.array(offset))
    }

    /// The 64 bit field at `offset`.
    pub fn u64(&self, offset: usize) -> u64 {
        u64::from_ne_bytes(self.array(offset))
    }

    /// The 16 bit field at `offset`.
    pub fn u16(&self, offset: usize) -> u16 {
        u16::from_ne_bytes(self.array(offset))
    }

    /// The byte at `offset`.
    pub fn u8(&self, offset: usize) -> u8 {
        self.bytes[offset]
    }

    /// The pointer or handle at `offset`, as a number.
    pub fn address(&self, offset: usize) -> usize {
        usize::from_ne_bytes(self.array(offset))
    }

    /// The GUID at `offset`.
    pub fn guid(&self, offset: usize) -> GUID {
        GUID {
            Data1: self.u32(offset),
            Data2: self.u16(offset + 4),
            Data3: self.u16(offset + 6),
            Data4: self.array(offset + 8),
        }
    }

    /// Bit `bit` of the 32 bit word of flags at `offset`.
    pub fn flag(&self, offset: usize, bit: u32) -> bool {
        self.u32(offset) >> bit & 1 == 1
    }

    /// `true` when all bytes from `offset` on, `length` of them, are zero.
    pub fn is_zero(&self, offset: usize, length: usize) -> bool {
        self.bytes[offset..offset + length].iter().all(|byte| *byte == 0)
    }

    /// Where the struct within this one at `offset` lies in the client's memory.
    pub fn inner<U>(&self, offset: usize) -> *mut U {
        debug_assert!(offset + size_of::<U>() <= size_of::<T>());
        self.at.wrapping_add(offset).cast()
    }

    /// Writes an answer into the client's struct.
    pub fn put<V: Copy>(&mut self, offset: usize, value: V) {
        assert!(offset + size_of::<V>() <= size_of::<T>(), "an answer should lie within its struct");
        let to = self.at.wrapping_add(offset).cast::<V>();
        // SAFETY: it lies within the client's struct, which `take` was promised to be valid for the whole call.
        unsafe { to.write_unaligned(value) }
    }
}

/// Writes `value` where the client wants it; a null pointer is answered with `INVALID_PTR`.
///
/// # Safety
/// `to` is null or valid for writing a `V`.
pub unsafe fn answer<V: Copy>(to: *mut V, value: V) -> Answer {
    if to.is_null() {
        return Err(INVALID_PTR.into());
    }
    // SAFETY: not null, and the caller promises the rest.
    unsafe { to.write_unaligned(value) };
    Ok(())
}

/// Copies `values` into the client's array of `room` places, and says how many it were.
///
/// # Safety
/// `to` is null or valid for `room` values; `count` is null or valid for writing.
pub unsafe fn answer_list<V: Copy>(to: *mut V, room: u32, count: *mut u32, values: &[V]) -> Answer {
    if to.is_null() || count.is_null() {
        return Err(INVALID_PTR.into());
    }
    let fits = values.len().min(room as usize);
    // SAFETY: `fits` is no more than the room that the caller promises, and the lists do not overlap: one is ours.
    unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), to, fits) };
    // SAFETY: promised by the caller.
    unsafe { answer(count, fits as u32) }
}
