//! AV1: open bitstream units and the sequence header (AV1 Bitstream & Decoding Process Specification).

use mp4_atom::{Atom, Av1c};

use super::CmafError;
use super::bits::Bits;

const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
const PADDING: u8 = 15;

struct Obu<'a> {
    kind: u8,
    /// Header, size and payload.
    whole: &'a [u8],
    payload: &'a [u8],
}

/// Splits off the first unit of low-overhead format (5.3 and 5.2).
fn next_obu(data: &[u8]) -> Option<(Obu<'_>, &[u8])> {
    let header = *data.first()?;
    let extension = header >> 2 & 1;
    let mut start = 1 + usize::from(extension);
    let size = if header & 2 != 0 {
        let (size, bytes) = leb128(data.get(start..)?)?;
        start += bytes;
        size
    } else {
        data.len().checked_sub(start)?
    };
    let end = start.checked_add(size)?;
    let obu = Obu { kind: header >> 3 & 15, whole: data.get(..end)?, payload: data.get(start..end)? };
    Some((obu, &data[end..]))
}

/// Value and length in bytes (4.10.5).
fn leb128(data: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0u64;
    for (index, byte) in data.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, index + 1));
        }
    }
    None
}

/// Turns one encoder packet, a temporal unit, into the data of one sample: delimiters and padding have no place in it
/// (ISO Media File Format Binding 2.4).
pub(super) fn sample_data(packet: &[u8]) -> Result<Vec<u8>, CmafError> {
    let mut data = Vec::with_capacity(packet.len());
    let mut rest = packet;
    while !rest.is_empty() {
        let (obu, next) = next_obu(rest).ok_or(CmafError::invalid("encoder packet", "an OBU is cut off"))?;
        if !matches!(obu.kind, TEMPORAL_DELIMITER | PADDING) {
            data.extend_from_slice(obu.whole);
        }
        rest = next;
    }
    if data.is_empty() {
        return Err(CmafError::invalid("encoder packet", "no coded picture"));
    }
    Ok(data)
}

/// What the configuration box and the codecs string say about a sequence.
pub(super) struct Sequence {
    pub(super) profile: u8,
    pub(super) level: u8,
    pub(super) high_tier: bool,
    pub(super) high_bit_depth: bool,
    pub(super) twelve_bit: bool,
    pub(super) monochrome: bool,
    pub(super) subsampling: (bool, bool),
    pub(super) chroma_position: u8,
    /// Primaries, transfer, matrix; 2 is "unspecified".
    pub(super) color: [u8; 3],
    pub(super) full_range: bool,
}

impl Sequence {
    /// The sequence header among `obus`, and its bytes.
    pub(super) fn find(obus: &[u8]) -> Result<(Self, &[u8]), CmafError> {
        let mut rest = obus;
        while let Some((obu, next)) = next_obu(rest) {
            if obu.kind == SEQUENCE_HEADER {
                let sequence = Self::parse(&mut Bits::new(obu.payload));
                let sequence = sequence.ok_or(CmafError::invalid("AV1 sequence header", "cut off"))?;
                return Ok((sequence, obu.whole));
            }
            rest = next;
        }
        Err(CmafError::invalid("AV1 extradata", "no sequence header"))
    }

    /// `sequence_header_obu()` (5.5.1), as far as the colour description.
    fn parse(bits: &mut Bits<'_>) -> Option<Self> {
        let profile = bits.byte(3)?;
        bits.skip(1)?; // still_picture
        let reduced = bits.flag()?;
        let (level, high_tier) = if reduced { (bits.byte(5)?, false) } else { operating_points(bits)? };
        let (width_bits, height_bits) = (bits.take(4)? + 1, bits.take(4)? + 1);
        bits.skip((width_bits + height_bits) as usize)?;
        if !reduced && bits.flag()? {
            bits.skip(4 + 3)?; // lengths of frame ids
        }
        bits.skip(3)?; // 128x128 superblocks, filter intra, intra edge filter
        if !reduced {
            tools(bits)?;
        }
        bits.skip(3)?; // superres, CDEF, loop restoration
        Self { profile, level, high_tier, ..Self::color_config(bits, profile)? }.into()
    }

    /// `color_config()` (5.5.2).
    fn color_config(bits: &mut Bits<'_>, profile: u8) -> Option<Self> {
        let high_bit_depth = bits.flag()?;
        let twelve_bit = profile == 2 && high_bit_depth && bits.flag()?;
        let monochrome = profile != 1 && bits.flag()?;
        let described = bits.flag()?;
        let color = if described { [bits.byte(8)?, bits.byte(8)?, bits.byte(8)?] } else { [2; 3] };
        let srgb = !monochrome && color == [1, 13, 0];
        let full_range = srgb || bits.flag()?;
        let subsampling = match profile {
            _ if monochrome => (true, true),
            _ if srgb => (false, false),
            0 => (true, true),
            1 => (false, false),
            _ if twelve_bit => {
                let horizontal = bits.flag()?;
                (horizontal, horizontal && bits.flag()?)
            }
            _ => (true, false),
        };
        let chroma_position = if subsampling == (true, true) && !monochrome { bits.byte(2)? } else { 0 };
        Some(Self {
            profile,
            level: 0,
            high_tier: false,
            high_bit_depth,
            twelve_bit,
            monochrome,
            subsampling,
            chroma_position,
            color,
            full_range,
        })
    }

    pub(super) fn bit_depth(&self) -> u8 {
        match (self.high_bit_depth, self.twelve_bit) {
            (_, true) => 12,
            (true, false) => 10,
            (false, false) => 8,
        }
    }
}

/// Level and tier of the first operating point; the others and all timing are passed over (5.5.1, 5.5.3–5.5.5).
fn operating_points(bits: &mut Bits<'_>) -> Option<(u8, bool)> {
    let mut delay_bits = None;
    if bits.flag()? {
        bits.skip(32 + 32)?; // timing_info
        if bits.flag()? {
            bits.exp_golomb()?; // ticks per picture
        }
        if bits.flag()? {
            delay_bits = Some(bits.take(5)? as usize + 1);
            bits.skip(32 + 5 + 5)?; // rest of decoder_model_info
        }
    }
    let display_delays = bits.flag()?;
    let mut first = None;
    for _ in 0..=bits.take(5)? {
        bits.skip(12)?; // operating_point_idc
        let level = bits.byte(5)?;
        let high_tier = level > 7 && bits.flag()?;
        if let Some(delay_bits) = delay_bits
            && bits.flag()?
        {
            bits.skip(2 * delay_bits + 1)?; // operating_parameters_info
        }
        if display_delays && bits.flag()? {
            bits.skip(4)?;
        }
        first.get_or_insert((level, high_tier));
    }
    first
}

/// The inter coding tools of a sequence, passed over (5.5.1).
fn tools(bits: &mut Bits<'_>) -> Option<()> {
    bits.skip(4)?; // interintra, masked, warped motion, dual filter
    let order_hint = bits.flag()?;
    if order_hint {
        bits.skip(2)?; // joint compound, reference frame motion vectors
    }
    let choose_screen_content = bits.flag()?;
    let screen_content = choose_screen_content || bits.flag()?;
    if screen_content {
        let choose_integer_mv = bits.flag()?;
        if !choose_integer_mv {
            bits.skip(1)?;
        }
    }
    if order_hint {
        bits.skip(3)?;
    }
    Some(())
}

/// The configuration box for a bare sequence header (ISO Media File Format Binding 2.3.3).
pub(super) fn config_of(obus: &[u8]) -> Result<Av1c, CmafError> {
    let (sequence, header) = Sequence::find(obus)?;
    if header[0] & 2 == 0 {
        return Err(CmafError::invalid("AV1 extradata", "the sequence header has no size field"));
    }
    Ok(Av1c {
        seq_profile: sequence.profile,
        seq_level_idx_0: sequence.level,
        seq_tier_0: sequence.high_tier,
        high_bitdepth: sequence.high_bit_depth,
        twelve_bit: sequence.twelve_bit,
        monochrome: sequence.monochrome,
        chroma_subsampling_x: sequence.subsampling.0,
        chroma_subsampling_y: sequence.subsampling.1,
        chroma_sample_position: sequence.chroma_position,
        initial_presentation_delay: None,
        config_obus: header.to_vec(),
    })
}

/// Reads the payload of a configuration box.
pub(super) fn read_config(mut payload: &[u8]) -> Result<Av1c, CmafError> {
    Av1c::decode_body(&mut payload).map_err(CmafError::in_box("av1C"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_carry_no_temporal_delimiters() {
        let packet = [0x12, 0, 0x0a, 2, 1, 2, 0x7a, 1, 0, 0x32, 3, 7, 8, 9];
        assert_eq!(sample_data(&packet).unwrap(), [0x0a, 2, 1, 2, 0x32, 3, 7, 8, 9]);
    }

    #[test]
    fn cut_off_units_are_refused() {
        for packet in
            [&[0x32u8, 3, 7, 8][..], &[0x32, 0x80], &[0x36], &[0x32, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]]
        {
            assert!(sample_data(packet).is_err(), "{packet:x?}");
        }
    }
}
