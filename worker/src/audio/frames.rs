//! Packets that hold several coded frames.
//!
//! 3GP and MP4 put any number of AMR frames into one sample, and FFmpeg's decoder plays only the first of each packet.
//! So they are taken apart here; all other decoders take whole packets.

/// The frames to send to the decoder, in order: the packet as it is unless it is one of several AMR frames in storage
/// format (RFC 4867 5.3): a byte with the type, then the speech; types beyond the tables have none.
pub fn split<'a>(codec: &str, packet: &'a [u8]) -> Vec<&'a [u8]> {
    let speech: &[usize] = match codec {
        "amr_nb" => &AMR_NB_SPEECH,
        "amr_wb" => &AMR_WB_SPEECH,
        _ => return vec![packet],
    };
    let (mut frames, mut rest) = (Vec::new(), packet);
    while !rest.is_empty() {
        let kind = usize::from(rest[0] >> 3 & 0xf);
        let length = 1 + speech.get(kind).unwrap_or(&0);
        let Some((frame, after)) = rest.split_at_checked(length) else { return vec![packet] };
        frames.push(frame);
        rest = after;
    }
    frames
}

/// Bytes of speech by frame type (3GPP TS 26.101 table 1, octet-aligned); 8 is comfort noise.
const AMR_NB_SPEECH: [usize; 9] = [12, 13, 15, 17, 19, 20, 26, 31, 5];

/// Bytes of speech by frame type (3GPP TS 26.201 table 1, octet-aligned); 9 is comfort noise.
const AMR_WB_SPEECH: [usize; 10] = [17, 23, 32, 36, 40, 46, 50, 58, 60, 5];

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(codec: &str, packet: &[u8]) -> Vec<usize> {
        split(codec, packet).into_iter().map(<[u8]>::len).collect()
    }

    #[test]
    fn speech_is_split_by_its_types() {
        let packet = [vec![7 << 3 | 4; 32], vec![15 << 3], vec![8 << 3; 6]].concat();
        assert_eq!(lengths("amr_nb", &packet), [32, 1, 6]);
        assert_eq!(lengths("amr_wb", &[2 << 3; 66]), [33, 33]);
    }

    #[test]
    fn what_can_not_be_read_stays_whole() {
        assert_eq!(lengths("aac", &[1, 2, 3]), [3]);
        assert_eq!(lengths("amr_nb", &[7 << 3; 33]), [33]);
        assert_eq!(lengths("amr_wb", &[]).len(), 0);
    }
}
