//! The video libraries' structures as the bytes that they are.
//!
//! They have enumerations in them, and a driver newer than our bindings may put in a value that no Rust enum has: such a
//! structure may not even exist as a Rust value. So it never does here: its fields are copied in and out as integers, at
//! the place that the bindings give them, which is checked when this is compiled.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use nvidia_video_codec_sdk::sys::nvEncodeAPI::GUID;

/// A structure of the driver's. Begins as zeros, and stays where it is.
pub(crate) struct Raw<T>(Box<MaybeUninit<T>>);

/// Where a field of `BYTES` lies in a `T`. See [`field!`].
pub(crate) struct Field<T, const BYTES: usize> {
    offset: usize,
    of: PhantomData<fn(&T)>,
}

/// The place of a field: `field!(NV_ENC_CONFIG, rcParams.maxBitRate)`.
macro_rules! field {
    ($structure:ty, $($path:tt)+) => {
        $crate::raw::Field::<$structure, { $crate::raw::bytes(|whole: &$structure| &raw const whole.$($path)+) }>::at(
            std::mem::offset_of!($structure, $($path)+),
        )
    };
}
pub(crate) use field;

/// The size of what a pointer to a field points at. The function is never called.
pub(crate) const fn bytes<T, F>(_field: fn(&T) -> *const F) -> usize {
    size_of::<F>()
}

/// A value that any `BYTES` bytes are.
///
/// # Safety
/// It is as long, and every pattern of bits is one.
pub(crate) unsafe trait Plain<const BYTES: usize>: Copy {}

macro_rules! plain {
    ($($value:ty),+) => {
        // SAFETY: integers, arrays of them and pointers.
        $(unsafe impl Plain<{ size_of::<$value>() }> for $value {})+
    };
}
plain!(u8, i16, u16, i32, u32, u64, usize, GUID);

// SAFETY: a pointer may be any address.
unsafe impl<T> Plain<{ size_of::<usize>() }> for *mut T {}

impl<T, const BYTES: usize> Clone for Field<T, BYTES> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, const BYTES: usize> Copy for Field<T, BYTES> {}

impl<T, const BYTES: usize> Field<T, BYTES> {
    pub(crate) const fn at(offset: usize) -> Self {
        assert!(offset + BYTES <= size_of::<T>(), "a field should lie in its structure");
        Self { offset, of: PhantomData }
    }

    /// A field of a structure that begins where this one does: a member of a union.
    pub(crate) const fn then<U, const WITHIN: usize>(self, inner: Field<U, WITHIN>) -> Field<T, WITHIN> {
        assert!(size_of::<U>() <= BYTES, "a member should be no longer than its union");
        Field::at(self.offset + inner.offset)
    }
}

impl<T> Raw<T> {
    /// All zeros: what NVIDIA wants reserved fields to be.
    pub(crate) fn zeroed() -> Self {
        Self(Box::new(MaybeUninit::zeroed()))
    }

    /// A copy of the driver's own.
    ///
    /// # Safety
    /// There is one at that address.
    pub(crate) unsafe fn copied(from: *const T) -> Self {
        let mut copy = Self::zeroed();
        // SAFETY: the caller keeps the promise for the one side, the other is as long.
        unsafe { std::ptr::copy_nonoverlapping(from.cast::<u8>(), copy.pointer().cast(), size_of::<T>()) };
        copy
    }

    /// For the driver; valid as long as this is.
    pub(crate) fn pointer(&mut self) -> *mut T {
        self.0.as_mut_ptr()
    }

    /// Puts a value into a field.
    pub(crate) fn set<V: Plain<BYTES>, const BYTES: usize>(&mut self, field: Field<T, BYTES>, value: V) {
        let bytes = self.0.as_mut_ptr().cast::<u8>();
        // SAFETY: `Field::at` saw that it lies in the structure.
        let place = unsafe { bytes.add(field.offset) };
        // SAFETY: the value is as long as the field, or it would not be `Plain<BYTES>`.
        unsafe { place.cast::<V>().write_unaligned(value) };
    }

    /// What a field holds.
    pub(crate) fn get<V: Plain<BYTES>, const BYTES: usize>(&self, field: Field<T, BYTES>) -> V {
        let bytes = self.0.as_ptr().cast::<u8>();
        // SAFETY: `Field::at` saw that it lies in the structure.
        let place = unsafe { bytes.add(field.offset) };
        // SAFETY: all bytes were zeros or written since, and any are a `Plain` value.
        unsafe { place.cast::<V>().read_unaligned() }
    }

    /// Puts a value into some bits of a word; C's bit fields count from the lowest.
    pub(crate) fn set_bits(&mut self, field: Field<T, 4>, Bits { shift, width }: Bits, value: u32) {
        let mask = ((1 << width) - 1) << shift;
        let rest = self.get::<u32, _>(field) & !mask;
        self.set(field, rest | (value << shift) & mask);
    }

    /// A copy of a structure within it.
    pub(crate) fn part<U, const BYTES: usize>(&self, field: Field<T, BYTES>) -> Raw<U> {
        const { assert!(BYTES == size_of::<U>(), "a part should be what its field is") };
        let bytes = self.0.as_ptr().cast::<u8>();
        // SAFETY: `Field::at` saw that it lies in the structure.
        let place = unsafe { bytes.add(field.offset) };
        // SAFETY: and it is as long as what is copied.
        unsafe { Raw::copied(place.cast()) }
    }
}

/// Some bits of a 32-bit word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bits {
    /// How many lie below.
    pub(crate) shift: u32,
    /// How many they are.
    pub(crate) width: u32,
}

/// One bit.
pub(crate) const fn bit(shift: u32) -> Bits {
    Bits { shift, width: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    struct Inner {
        small: u8,
        word: u32,
    }

    #[repr(C)]
    struct Outer {
        first: u64,
        inner: Inner,
    }

    #[test]
    fn fields_are_written_at_their_own_place() {
        let mut raw = Raw::<Outer>::zeroed();
        raw.set(field!(Outer, inner.word), 7u32);
        raw.set(field!(Outer, first), u64::MAX);
        assert_eq!(raw.get::<u32, _>(field!(Outer, inner.word)), 7);
        assert_eq!(raw.get::<u8, _>(field!(Outer, inner.small)), 0);
        let inner: Raw<Inner> = raw.part(field!(Outer, inner));
        assert_eq!(inner.get::<u32, _>(field!(Inner, word)), 7);
    }

    #[test]
    fn bits_leave_their_neighbours_alone() {
        let mut raw = Raw::<Inner>::zeroed();
        raw.set(field!(Inner, word), 0xffff_ffffu32);
        raw.set_bits(field!(Inner, word), Bits { shift: 5, width: 4 }, 0b1010);
        assert_eq!(raw.get::<u32, _>(field!(Inner, word)), 0xffff_ff5f);
        raw.set_bits(field!(Inner, word), bit(31), 0);
        assert_eq!(raw.get::<u32, _>(field!(Inner, word)), 0x7fff_ff5f);
    }
}
