//! Pictures of H.264 in another order than the one they are coded in, without B slices.
//!
//! A card codes a whole group when its last picture is in: `P b b b`, all at once. libx264 would keep three of them back. So
//! it is given the pictures in coding order and codes each at once as P; then display order is written into what comes out
//! (ITU-T H.264, 7.3.2.1.1 and 7.3.3): the sequence parameter set says `pic_order_cnt_type` 0 where it said 2, and one
//! picture of delay, and each slice gets its `pic_order_cnt_lsb`. That has eight bits here, so that all behind it moves by
//! one whole byte and stays aligned as it was.

/// `log2_max_pic_order_cnt_lsb_minus4`.
const EIGHT_BITS: u32 = 4;
/// `num_reorder_frames`: one picture goes before those that are shown before it.
const REORDERED: u32 = 1;

/// Reads bits of an RBSP; behind its end they are zeros.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn bit(&mut self) -> u32 {
        let byte = self.bytes.get(self.at / 8).copied().unwrap_or(0);
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        u32::from(bit)
    }

    fn bits(&mut self, count: u32) -> u32 {
        (0..count).fold(0, |value, _| value << 1 | self.bit())
    }

    /// `ue(v)`, 9.1.
    fn number(&mut self) -> u32 {
        let zeros = (0..31).take_while(|_| self.bit() == 0).count() as u32;
        (1 << zeros) - 1 + self.bits(zeros)
    }

    fn left(&self) -> usize {
        (self.bytes.len() * 8).saturating_sub(self.at)
    }
}

/// Writes bits.
#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    used: usize,
}

impl Writer {
    fn bits(&mut self, value: u32, count: u32) {
        for shift in (0..count).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let last = self.bytes.len() - 1;
            self.bytes[last] |= ((value >> shift & 1) as u8) << (7 - self.used % 8);
            self.used += 1;
        }
    }

    /// `ue(v)`.
    fn number(&mut self, value: u32) {
        let length = (value + 1).ilog2();
        self.bits(0, length);
        self.bits(value + 1, length + 1);
    }

    /// Takes over what comes next.
    fn copy(&mut self, from: &mut Reader, count: u32) -> u32 {
        let value = from.bits(count);
        self.bits(value, count);
        value
    }

    fn copy_numbers(&mut self, from: &mut Reader, count: u32) -> u32 {
        (0..count).fold(0, |_, _| {
            let value = from.number();
            self.number(value);
            value
        })
    }
}

/// The bytes of a NAL unit without emulation prevention, 7.4.1.
fn plain(nal: &[u8]) -> Vec<u8> {
    let (mut plain, mut zeros) = (Vec::with_capacity(nal.len()), 0);
    for byte in nal {
        if zeros == 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        plain.push(*byte);
    }
    plain
}

/// The same with it.
fn escaped(plain: &[u8]) -> Vec<u8> {
    let (mut nal, mut zeros) = (Vec::with_capacity(plain.len() + 8), 0);
    for byte in plain {
        if zeros == 2 && *byte <= 3 {
            nal.push(3);
            zeros = 0;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        nal.push(*byte);
    }
    nal
}

/// A sequence parameter set of libx264's without B-frames, made one for pictures out of order. `None`: it is not of the form
/// that libx264 writes.
pub fn parameter_set(nal: &[u8]) -> Option<Vec<u8>> {
    let bytes = plain(nal);
    let (mut from, mut to) = (Reader { bytes: &bytes, at: 0 }, Writer::default());
    to.copy(&mut from, 8);
    let profile = to.copy(&mut from, 8);
    to.copy(&mut from, 16);
    to.copy_numbers(&mut from, 1);
    if profile == 100 {
        to.copy_numbers(&mut from, 3);
        if to.copy(&mut from, 2) != 0 {
            return None;
        }
    }
    to.copy_numbers(&mut from, 1);
    if from.number() != 2 {
        return None;
    }
    to.number(0);
    to.number(EIGHT_BITS);
    let references = to.copy_numbers(&mut from, 1);
    to.copy(&mut from, 1);
    to.copy_numbers(&mut from, 2);
    to.copy(&mut from, 2);
    if to.copy(&mut from, 1) == 1 {
        to.copy_numbers(&mut from, 4);
    }
    if to.copy(&mut from, 1) != 1 {
        return None;
    }
    usability(&mut from, &mut to, references)?;
    // The stop bit, and zeros to the end of the byte.
    to.bits(1, 1);
    Some(escaped(&to.bytes))
}

/// Video usability information, E.1.1.
fn usability(from: &mut Reader, to: &mut Writer, references: u32) -> Option<()> {
    const EXTENDED_ASPECT: u32 = 255;
    if to.copy(from, 1) == 1 && to.copy(from, 8) == EXTENDED_ASPECT {
        to.copy(from, 32);
    }
    if to.copy(from, 1) == 1 {
        to.copy(from, 1);
    }
    if to.copy(from, 1) == 1 {
        to.copy(from, 4);
        if to.copy(from, 1) == 1 {
            to.copy(from, 24);
        }
    }
    if to.copy(from, 1) == 1 {
        to.copy_numbers(from, 2);
    }
    if to.copy(from, 1) == 1 {
        to.copy(from, 32);
        to.copy(from, 32);
        to.copy(from, 1);
    }
    // Without a hypothetical reference decoder's parameters.
    if to.copy(from, 2) != 0 {
        return None;
    }
    to.copy(from, 1);
    if to.copy(from, 1) != 1 {
        return None;
    }
    to.copy(from, 1);
    to.copy_numbers(from, 4);
    to.number(REORDERED);
    to.number(references);
    Some(())
}

/// A slice of such a stream with its place in display order, counted in pictures from the last IDR. `frame_number_bits` is
/// what its parameter set says.
pub fn slice(nal: &[u8], place: u32, frame_number_bits: u32) -> Vec<u8> {
    const IDR: u8 = 5;
    let bytes = plain(nal);
    let (mut from, mut to) = (Reader { bytes: &bytes, at: 0 }, Writer::default());
    to.copy(&mut from, 8);
    to.copy_numbers(&mut from, 3);
    to.copy(&mut from, frame_number_bits);
    if nal.first().is_some_and(|first| first & 0x1f == IDR) {
        to.copy_numbers(&mut from, 1);
    }
    to.bits((2 * place) & 0xff, 8);
    while from.left() >= 8 {
        to.copy(&mut from, 8);
    }
    let rest = from.left() as u32;
    to.copy(&mut from, rest);
    escaped(&to.bytes)
}

/// `log2_max_frame_num` of a sequence parameter set.
pub fn frame_number_bits(nal: &[u8]) -> u32 {
    let bytes = plain(nal);
    let mut from = Reader { bytes: &bytes, at: 8 };
    let profile = from.bits(8);
    from.bits(16);
    from.number();
    if profile == 100 {
        (0..3).for_each(|_| _ = from.number());
        from.bits(2);
    }
    4 + from.number()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emulation_prevention_comes_and_goes() {
        let bytes = [0, 0, 1, 7, 0, 0, 0, 0, 3, 0, 0];
        let nal = escaped(&bytes);
        assert_eq!(nal, [0, 0, 3, 1, 7, 0, 0, 3, 0, 0, 3, 3, 0, 0]);
        assert_eq!(plain(&nal), bytes);
    }

    #[test]
    fn numbers_are_read_as_they_were_written() {
        let mut to = Writer::default();
        for number in [0, 1, 7, 254, 70_000] {
            to.number(number);
        }
        let mut from = Reader { bytes: &to.bytes, at: 0 };
        assert_eq!([(); 5].map(|()| from.number()), [0, 1, 7, 254, 70_000]);
    }

    #[test]
    fn a_slice_grows_by_one_byte_behind_its_frame_number() {
        // A P slice: first_mb 0 (1), type 5 (00110), pps 0 (1), frame_num 3 of 4 bits (0011), then 1 01010101.
        let nal = [0x41, 0b1001_1010, 0b0111_0101, 0b0101_1000];
        assert_eq!(slice(&nal, 5, 4), [0x41, 0b1001_1010, 0b0110_0001, 0b0101_0101, 0b0101_1000]);
    }
}
