//! Units of a coded stream: what is a parameter set, what belongs to a picture, what the encoders inside add of their own.

use card::Codec;

/// What a NAL unit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    ParameterSet,
    Picture,
    /// Words of the encoder about itself, and the like: a card writes none.
    Other,
}

fn unit(codec: Codec, nal: &[u8]) -> Unit {
    let Some(first) = nal.first() else { return Unit::Other };
    match codec {
        // ITU-T H.264, table 7-1: 7 and 8 are parameter sets, 1 to 5 slices, 9 a delimiter.
        Codec::H264 => match first & 0x1f {
            7 | 8 => Unit::ParameterSet,
            1..=5 | 9 => Unit::Picture,
            _ => Unit::Other,
        },
        // ITU-T H.265, table 7-1: 32 to 34 are parameter sets, those below slices, 35 a delimiter.
        _ => match first >> 1 & 0x3f {
            32..=34 => Unit::ParameterSet,
            0..32 | 35 => Unit::Picture,
            _ => Unit::Other,
        },
    }
}

/// The NAL units between the start codes of Annex B.
pub fn nals(stream: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> =
        stream.windows(3).enumerate().filter(|(_, three)| *three == [0, 0, 1]).map(|(at, _)| at + 3).collect();
    let ends = starts.iter().skip(1).map(|start| start - 3).chain([stream.len()]);
    let trimmed = |nal: &[u8]| nal.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    starts.iter().zip(ends).map(|(start, end)| &stream[*start..end]).map(|nal| &nal[..trimmed(nal)]).collect()
}

fn only(codec: Codec, stream: &[u8], wanted: Unit) -> Vec<u8> {
    let units = nals(stream).into_iter().filter(|nal| unit(codec, nal) == wanted);
    annex_b(&units.collect::<Vec<_>>())
}

/// NAL units with start codes before them.
pub fn annex_b(nals: &[impl AsRef<[u8]>]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [&[0, 0, 0, 1], nal.as_ref()].concat()).collect()
}

/// The parameter sets of what an encoder gives as its headers; of AV1, the sequence header that its first packet has.
pub fn parameter_sets(codec: Codec, headers: &[u8]) -> Vec<u8> {
    if codec == Codec::Av1 { sequence_header(headers).to_vec() } else { only(codec, headers, Unit::ParameterSet) }
}

/// The first sequence header OBU of a temporal unit whose OBUs have sizes (AV1, 5.3); empty if there is none.
fn sequence_header(mut stream: &[u8]) -> &[u8] {
    const SEQUENCE_HEADER: u8 = 1;
    while let Some(first) = stream.first() {
        let extended = usize::from(first >> 2 & 1);
        let (mut size, mut end) = (0, 1 + extended);
        for shift in (0..).step_by(7).take(4) {
            let Some(byte) = stream.get(end) else { return &[] };
            size |= usize::from(byte & 0x7f) << shift;
            end += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let Some((obu, rest)) = stream.split_at_checked(end + size) else { return &[] };
        if first >> 3 & 0xf == SEQUENCE_HEADER {
            return obu;
        }
        stream = rest;
    }
    &[]
}

/// A packet without parameter sets and without what a card would not write.
pub fn picture_alone(codec: Codec, packet: &[u8]) -> Vec<u8> {
    if codec == Codec::Av1 { packet.to_vec() } else { only(codec, packet, Unit::Picture) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_falls_into_parameter_sets_and_pictures() {
        let stream = [0, 0, 0, 1, 0x67, 1, 2, 0, 0, 0, 1, 0x68, 3, 0, 0, 1, 6, 5, 9, 0, 0, 0, 1, 0x65, 4, 0, 0, 3, 1];
        assert_eq!(parameter_sets(Codec::H264, &stream), [0, 0, 0, 1, 0x67, 1, 2, 0, 0, 0, 1, 0x68, 3]);
        assert_eq!(picture_alone(Codec::H264, &stream), [0, 0, 0, 1, 0x65, 4, 0, 0, 3, 1]);
        let hevc = [0, 0, 0, 1, 0x40, 1, 0, 0, 1, 0x4e, 1, 5, 0, 0, 1, 0x26, 1, 7];
        assert_eq!(parameter_sets(Codec::Hevc, &hevc), [0, 0, 0, 1, 0x40, 1]);
        assert_eq!(picture_alone(Codec::Hevc, &hevc), [0, 0, 0, 1, 0x26, 1, 7]);
    }

    #[test]
    fn the_sequence_header_stands_behind_the_delimiter() {
        let unit = [0x12, 0, 0x0a, 3, 7, 8, 9, 0x32, 2, 1, 1];
        assert_eq!(parameter_sets(Codec::Av1, &unit), [0x0a, 3, 7, 8, 9]);
        assert_eq!(parameter_sets(Codec::Av1, &unit[..6]), []);
    }
}
