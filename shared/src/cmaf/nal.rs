//! NAL units: from the byte stream format (Annex B of ISO/IEC 14496-10 and 23008-2) to the length-prefixed one
//! (ISO/IEC 14496-15 5.3.2).

use super::CmafError;

/// Bytes of the length before each NAL unit: `lengthSizeMinusOne` is 3 in every configuration we write.
pub(super) const LENGTH_SIZE: u8 = 4;

/// The NAL units of a byte stream, without start codes and trailing zero bytes, empty ones left out.
pub(super) fn split(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = start_code(stream).map(|at| &stream[at + 3..]);
    std::iter::from_fn(move || {
        let data = rest?;
        let (unit, next) = match start_code(data) {
            Some(at) => (&data[..at], Some(&data[at + 3..])),
            None => (data, None),
        };
        rest = next;
        // A NAL unit never ends in a zero byte; those belong to the byte stream.
        let end = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Some(&unit[..end])
    })
    .filter(|unit| !unit.is_empty())
}

/// Position of the first 00 00 01. Looks at every third byte only as long as there are no small ones.
fn start_code(data: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *data.get(at + 2)? {
            0 => at += 1,
            1 if data[at] == 0 && data[at + 1] == 0 => return Some(at),
            _ => at += 3,
        }
    }
}

/// The payload of a NAL unit without emulation prevention bytes (ISO/IEC 14496-10 7.4.1).
pub(super) fn unescape(unit: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(unit.len());
    let mut zeros = 0;
    for byte in unit {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        plain.push(*byte);
    }
    plain
}

/// What becomes of a NAL unit on its way into a sample.
pub(super) enum Fate {
    Keep,
    /// Means nothing inside a sample.
    Drop,
    /// Dropped if the decoder configuration holds it, and refused otherwise: `avc1` and `hvc1` samples carry none.
    ParameterSet,
}

pub(super) fn fate_in_avc(unit: &[u8]) -> Fate {
    match unit[0] & 0x1f {
        7 | 8 => Fate::ParameterSet,
        9 => Fate::Drop,
        _ => Fate::Keep,
    }
}

pub(super) fn fate_in_hevc(unit: &[u8]) -> Fate {
    match unit[0] >> 1 & 0x3f {
        32..=34 => Fate::ParameterSet,
        35 => Fate::Drop,
        _ => Fate::Keep,
    }
}

/// Turns one encoder packet into the data of one sample.
pub(super) fn to_lengths(packet: &[u8], config: &[u8], fate: fn(&[u8]) -> Fate) -> Result<Vec<u8>, CmafError> {
    let invalid = |why| CmafError::invalid("encoder packet", why);
    let mut data = Vec::with_capacity(packet.len() + 16);
    for unit in split(packet) {
        match fate(unit) {
            Fate::Drop => {}
            Fate::ParameterSet if config.windows(unit.len()).any(|known| known == unit) => {}
            Fate::ParameterSet => return Err(invalid("a parameter set is not in the decoder configuration")),
            Fate::Keep => {
                let length = u32::try_from(unit.len()).map_err(|_| invalid("a NAL unit of 4 GiB or more"))?;
                data.extend_from_slice(&length.to_be_bytes());
                data.extend_from_slice(unit);
            }
        }
    }
    if data.is_empty() {
        return Err(invalid("no coded picture in Annex B format"));
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn start_codes_of_both_lengths_and_trailing_zeros_are_taken_off() {
        let stream = [0, 0, 0, 1, 0x67, 0xaa, 0, 0, 1, 0x68, 0xbb, 0, 0, 0, 1, 0x65, 0, 0, 3, 1, 0, 0];
        let units: Vec<_> = split(&stream).collect();
        assert_eq!(units, [&[0x67, 0xaa][..], &[0x68, 0xbb], &[0x65, 0, 0, 3, 1]]);
    }

    #[test]
    fn samples_carry_neither_delimiters_nor_known_parameter_sets() {
        let packet = [0, 0, 0, 1, 9, 0xf0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 6, 5, 0, 0, 1, 0x65, 7];
        let sample = to_lengths(&packet, &[0xff, 0x67, 1, 2, 0xff], fate_in_avc).unwrap();
        assert_eq!(sample, [0, 0, 0, 2, 6, 5, 0, 0, 0, 2, 0x65, 7]);
        let error = to_lengths(&packet, &[0x67, 1, 3], fate_in_avc).unwrap_err();
        assert_eq!(error.to_string(), "encoder packet: a parameter set is not in the decoder configuration");
    }

    #[test]
    fn packets_without_start_codes_are_refused() {
        assert!(to_lengths(&[0, 0, 0, 2, 0x65, 7], &[], fate_in_avc).is_err());
    }

    proptest! {
        #[test]
        fn splitting_finds_every_unit(units in proptest::collection::vec(proptest::collection::vec(4u8..=255, 1..40), 0..20)) {
            let stream: Vec<u8> = units.iter().flat_map(|unit| [&[0, 0, 1], unit.as_slice()].concat()).collect();
            prop_assert!(split(&stream).eq(units.iter().map(Vec::as_slice)));
        }

        #[test]
        fn start_codes_are_where_a_plain_search_finds_them(data in proptest::collection::vec(0u8..3, 0..60)) {
            prop_assert_eq!(start_code(&data), data.windows(3).position(|three| three == [0, 0, 1]));
        }
    }
}
