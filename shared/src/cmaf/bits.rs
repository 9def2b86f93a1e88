//! Bits of codec headers, most significant first. Running out of them is `None`, never a panic.

pub(super) struct Bits<'a> {
    data: &'a [u8],
    position: usize, // in bits
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, position: 0 }
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        let byte = self.data.get(self.position / 8)?;
        let bit = byte >> (7 - self.position % 8) & 1;
        self.position += 1;
        Some(bit == 1)
    }

    /// Unsigned integer of at most 32 bits: `u(n)`, `f(n)`.
    pub(super) fn take(&mut self, count: u32) -> Option<u32> {
        debug_assert!(count <= 32);
        (0..count).try_fold(0u32, |value, _| Some(value << 1 | u32::from(self.flag()?)))
    }

    /// The same, for fields of at most 8 bits.
    pub(super) fn byte(&mut self, count: u32) -> Option<u8> {
        u8::try_from(self.take(count)?).ok()
    }

    pub(super) fn skip(&mut self, count: usize) -> Option<()> {
        self.position = self.position.checked_add(count).filter(|position| *position <= self.data.len() * 8)?;
        Some(())
    }

    /// Exponential Golomb code below 2³²: `ue(v)` (ISO/IEC 14496-10 9.1), and `uvlc()` (AV1 4.10.3).
    pub(super) fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
        }
        if zeros > 31 {
            return None;
        }
        Some((1u32 << zeros) - 1 + self.take(zeros)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes_are_read_as_the_standard_lists_them() {
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        let read: Vec<_> = (0..5).map(|_| bits.exp_golomb().unwrap()).collect();
        assert_eq!(read, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn the_end_is_none() {
        let mut bits = Bits::new(&[0, 0, 0, 0, 0, 0xff]);
        assert_eq!(bits.exp_golomb(), None, "more than 31 leading zeros");
        assert_eq!(Bits::new(&[0xff]).take(9), None);
        assert_eq!(Bits::new(&[0xff]).skip(9), None);
        assert_eq!(Bits::new(&[]).exp_golomb(), None);
    }
}
