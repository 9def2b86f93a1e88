//! Decoder configurations: from an encoder's extradata to configuration boxes, codecs strings and samples.
//!
//! Whatever form extradata comes in, the result is canonical: equal configurations have equal bytes. Stitching relies
//! on that.

use mp4_atom::{Atom, Avcc, Dops, HvcCArray, Hvcc, OpusChannelMapping};
use sha2::{Digest, Sha256};

use super::bits::Bits;
use super::parameter_sets::{avc_format, hevc_sps, is_high};
use super::{CmafError, DecoderConfig, av1, nal};

impl DecoderConfig {
    /// From H.264 parameter sets in Annex B format (other NAL units are passed over), or from an `avcC` payload.
    pub fn from_annexb_h264(extradata: &[u8]) -> Result<Self, CmafError> {
        let avcc = match extradata.first() {
            Some(1) => read_avcc(extradata)?,
            _ => avcc_of(extradata)?,
        };
        encoded("avcC", &avcc).map(Self::Avc)
    }

    /// From H.265 parameter sets in Annex B format (other NAL units are passed over), or from an `hvcC` payload.
    pub fn from_annexb_hevc(extradata: &[u8]) -> Result<Self, CmafError> {
        let hvcc = match extradata.first() {
            Some(1) => read_hvcc(extradata)?,
            _ => hvcc_of(extradata)?,
        };
        encoded("hvcC", &hvcc).map(Self::Hevc)
    }

    /// From an AV1 sequence header OBU, or from an `av1C` payload.
    pub fn from_av1(extradata: &[u8]) -> Result<Self, CmafError> {
        // The marker bit and version of av1C are the forbidden bit of an OBU header.
        let av1c = match extradata.first() {
            Some(0x81) => av1::read_config(extradata)?,
            _ => av1::config_of(extradata)?,
        };
        encoded("av1C", &av1c).map(Self::Av1)
    }

    /// From an `AudioSpecificConfig` (ISO/IEC 14496-3 1.6.2.1).
    pub fn from_aac(specific: &[u8]) -> Result<Self, CmafError> {
        audio_object_type(specific)?;
        Ok(Self::Aac(specific.to_vec()))
    }

    /// From an `OpusHead` packet (RFC 7845 5.1).
    pub fn from_opus(head: &[u8]) -> Result<Self, CmafError> {
        let dops = dops_of(head).ok_or(CmafError::invalid("OpusHead", "not an identification header of version 1"))?;
        encoded("dOps", &dops).map(Self::Opus)
    }

    /// The bytes that the enum's variants name.
    pub fn payload(&self) -> &[u8] {
        match self {
            Self::Avc(bytes) | Self::Hevc(bytes) | Self::Av1(bytes) | Self::Aac(bytes) | Self::Opus(bytes) => bytes,
        }
    }

    /// The `codecs` parameter of RFC 6381, as HLS and DASH want it.
    pub fn codecs(&self) -> Result<String, CmafError> {
        match self {
            Self::Avc(payload) => {
                let avcc = read_avcc(payload)?;
                let [profile, constraints, level] =
                    [avcc.avc_profile_indication, avcc.profile_compatibility, avcc.avc_level_indication];
                Ok(format!("avc1.{profile:02x}{constraints:02x}{level:02x}"))
            }
            Self::Hevc(payload) => Ok(hevc_codecs(&read_hvcc(payload)?)),
            Self::Av1(payload) => av1_codecs(payload),
            Self::Aac(payload) => Ok(format!("mp4a.40.{}", audio_object_type(payload)?)),
            Self::Opus(_) => Ok("opus".to_owned()),
        }
    }

    /// 16 hexadecimal digits that are the same for equal configurations only.
    pub fn digest(&self) -> String {
        let codec: &[u8] = match self {
            Self::Avc(_) => b"avc",
            Self::Hevc(_) => b"hevc",
            Self::Av1(_) => b"av1",
            Self::Aac(_) => b"aac",
            Self::Opus(_) => b"opus",
        };
        let hash = Sha256::new().chain_update(codec).chain_update([0]).chain_update(self.payload()).finalize();
        crate::hex::encode(&hash[..8])
    }

    /// Turns one encoder packet into the data of one sample.
    ///
    /// H.264 and H.265 packets are Annex B: their NAL units get 4-byte lengths; delimiters are dropped, and so are
    /// parameter sets, which must be those of this configuration. AV1 loses its temporal delimiters. Audio stays as it
    /// is.
    pub fn sample_data(&self, packet: &[u8]) -> Result<Vec<u8>, CmafError> {
        match self {
            Self::Avc(config) => nal::to_lengths(packet, config, nal::fate_in_avc),
            Self::Hevc(config) => nal::to_lengths(packet, config, nal::fate_in_hevc),
            Self::Av1(_) => av1::sample_data(packet),
            Self::Aac(_) | Self::Opus(_) => Ok(packet.to_vec()),
        }
    }
}

pub(super) fn encoded(what: &'static str, atom: &impl Atom) -> Result<Vec<u8>, CmafError> {
    let mut payload = Vec::new();
    atom.encode_body(&mut payload).map_err(CmafError::in_box(what))?;
    Ok(payload)
}

/// Units of one type, each once.
fn parameter_sets(units: &[&[u8]], belongs: impl Fn(&[u8]) -> bool) -> Result<Vec<Vec<u8>>, CmafError> {
    let mut sets: Vec<Vec<u8>> = Vec::new();
    for unit in units.iter().filter(|unit| belongs(unit)) {
        if unit.len() > usize::from(u16::MAX) {
            return Err(CmafError::invalid("parameter set", "longer than 65535 bytes"));
        }
        if !sets.iter().any(|set| set == unit) {
            sets.push(unit.to_vec());
        }
    }
    Ok(sets)
}

/// Reads an `avcC` payload (ISO/IEC 14496-15 5.3.3.1.2).
pub(super) fn read_avcc(mut payload: &[u8]) -> Result<Avcc, CmafError> {
    let avcc = Avcc::decode_body(&mut payload).map_err(CmafError::in_box("avcC"))?;
    if !payload.is_empty() || avcc.length_size != nal::LENGTH_SIZE || avcc.sequence_parameter_sets.is_empty() {
        return Err(CmafError::invalid("avcC", "no SPS, lengths that are not of 4 bytes, or bytes are left over"));
    }
    Ok(avcc)
}

fn avcc_of(extradata: &[u8]) -> Result<Avcc, CmafError> {
    let invalid = |why| CmafError::invalid("H.264 extradata", why);
    let units: Vec<_> = nal::split(extradata).collect();
    let sequence_parameter_sets = parameter_sets(&units, |unit| unit[0] & 0x1f == 7)?;
    let picture_parameter_sets = parameter_sets(&units, |unit| unit[0] & 0x1f == 8)?;
    if sequence_parameter_sets.len() > 31 || picture_parameter_sets.len() > 255 || picture_parameter_sets.is_empty() {
        return Err(invalid("no PPS, or too many parameter sets"));
    }
    let Some(sps @ &[_, profile, compatibility, level, ..]) = sequence_parameter_sets.first().map(Vec::as_slice) else {
        return Err(invalid("no SPS"));
    };
    let ext = match is_high(profile) {
        true => Some(avc_format(sps).ok_or(invalid("the SPS is cut off"))?),
        false => None,
    };
    Ok(Avcc {
        configuration_version: 1,
        avc_profile_indication: profile,
        profile_compatibility: compatibility,
        avc_level_indication: level,
        length_size: nal::LENGTH_SIZE,
        sequence_parameter_sets,
        picture_parameter_sets,
        ext,
    })
}

/// Reads an `hvcC` payload (ISO/IEC 14496-15 8.3.3.1.2).
pub(super) fn read_hvcc(mut payload: &[u8]) -> Result<Hvcc, CmafError> {
    let hvcc = Hvcc::decode_body(&mut payload).map_err(CmafError::in_box("hvcC"))?;
    if !payload.is_empty() || hvcc.configuration_version != 1 || hvcc.length_size_minus_one + 1 != nal::LENGTH_SIZE {
        return Err(CmafError::invalid("hvcC", "version is not 1, lengths are not of 4 bytes, or bytes are left over"));
    }
    Ok(hvcc)
}

fn hvcc_of(extradata: &[u8]) -> Result<Hvcc, CmafError> {
    let invalid = |why| CmafError::invalid("H.265 extradata", why);
    let units: Vec<_> = nal::split(extradata).collect();
    let mut arrays = Vec::with_capacity(3);
    for nal_unit_type in [32, 33, 34] {
        let nalus = parameter_sets(&units, |unit| unit[0] >> 1 & 0x3f == nal_unit_type)?;
        if nalus.is_empty() {
            return Err(invalid("VPS, SPS or PPS is missing"));
        }
        // `hvc1` promises that samples carry no parameter sets: every array is complete.
        arrays.push(HvcCArray { completeness: true, nal_unit_type, nalus });
    }
    let sps = hevc_sps(&arrays[1].nalus[0]).ok_or(invalid("the SPS is cut off"))?;
    Ok(Hvcc { arrays, ..sps.hvcc })
}

/// ISO/IEC 14496-15 E.3.
fn hevc_codecs(hvcc: &Hvcc) -> String {
    let space = ["", "A", "B", "C"][usize::from(hvcc.general_profile_space & 3)];
    let compatibility = u32::from_be_bytes(hvcc.general_profile_compatibility_flags).reverse_bits();
    let tier = if hvcc.general_tier_flag { 'H' } else { 'L' };
    let constraints = &hvcc.general_constraint_indicator_flags;
    let used = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut text =
        format!("hvc1.{space}{}.{compatibility:X}.{tier}{}", hvcc.general_profile_idc, hvcc.general_level_idc);
    for byte in &constraints[..used] {
        text.push_str(&format!(".{byte:X}"));
    }
    text
}

/// AV1 Codec ISO Media File Format Binding 5: the short form where the long one would only repeat the defaults.
fn av1_codecs(payload: &[u8]) -> Result<String, CmafError> {
    let av1c = av1::read_config(payload)?;
    let (sequence, _) = av1::Sequence::find(&av1c.config_obus)?;
    let tier = if sequence.high_tier { 'H' } else { 'M' };
    let mut text = format!("av01.{}.{:02}{tier}.{:02}", sequence.profile, sequence.level, sequence.bit_depth());
    let (horizontal, vertical) = sequence.subsampling;
    let chroma = (u8::from(horizontal), u8::from(vertical), sequence.chroma_position);
    let usual = matches!(sequence.color, [1, 1, 1] | [2, 2, 2]) && !sequence.full_range && !sequence.monochrome;
    if !usual || chroma != (1, 1, 0) {
        let [primaries, transfer, matrix] = sequence.color;
        let (monochrome, full) = (u8::from(sequence.monochrome), u8::from(sequence.full_range));
        let (x, y, position) = chroma;
        text.push_str(&format!(".{monochrome}.{x}{y}{position}.{primaries:02}.{transfer:02}.{matrix:02}.{full}"));
    }
    Ok(text)
}

/// `GetAudioObjectType()` (ISO/IEC 14496-3 1.6.2.1).
fn audio_object_type(specific: &[u8]) -> Result<u8, CmafError> {
    let mut bits = Bits::new(specific);
    let mut read = || {
        let object_type = match bits.byte(5)? {
            31 => 32 + bits.byte(6)?,
            object_type => object_type,
        };
        bits.skip(4 + 4)?; // sampling frequency and channel configuration follow
        Some(object_type)
    };
    match read() {
        Some(object_type) if object_type != 0 => Ok(object_type),
        _ => Err(CmafError::invalid("AudioSpecificConfig", "cut off, or without an object type")),
    }
}

/// `OpusHead` is little endian (RFC 7845 5.1), `dOps` big endian.
fn dops_of(head: &[u8]) -> Option<Dops> {
    let body: &[u8] = head.strip_prefix(b"OpusHead")?;
    let (&[version, channels, p0, p1, r0, r1, r2, r3, g0, g1, family], table) = body.split_first_chunk::<11>()?;
    let channel_mapping = match (family, table) {
        (0, _) => None,
        (_, [stream_count, coupled_count, mapping @ ..]) => Some(OpusChannelMapping {
            family,
            stream_count: *stream_count,
            coupled_count: *coupled_count,
            channel_mapping: mapping.get(..usize::from(channels))?.to_vec(),
        }),
        _ => return None,
    };
    let sound = version == 1 && channels > 0 && (family != 0 || channels <= 2);
    sound.then_some(Dops {
        output_channel_count: channels,
        pre_skip: u16::from_le_bytes([p0, p1]),
        input_sample_rate: u32::from_le_bytes([r0, r1, r2, r3]),
        output_gain: i16::from_le_bytes([g0, g1]),
        channel_mapping,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hex;

    // Parameter sets of x264, x265 and SVT-AV1 for 320×180 at 25 fps. The expected boxes are those of FFmpeg's muxer.
    const H264_SPS: &str = "6764000cacd941419f9f011000000300100000030320f1429960";
    const H264_PPS: &str = "68ebe3cb22c0";
    const H264_SEI: &str = "0605ffffaadc45e9";
    const AVCC: &str = "0164000cffe1001a6764000cacd941419f9f011000000300100000030320f142996001000668ebe3cb22c0fdf8f800";
    const H265: &str = "0000000140010c01ffff01600000030090000003000003003c959809\
        0000000142010101600000030090000003000003003ca00a080b9f796566924caf016808000003000800000300c840\
        000000014401c172b46240\
        0000014e0105ffffffffff";
    const HVCC: &str = "0101600000009000000000003cf000fcfdf8f800000f03\
        a00001001840010c01ffff01600000030090000003000003003c959809\
        a10001002b42010101600000030090000003000003003ca00a080b9f796566924caf016808000003000800000300c840\
        a2000100074401c172b46240";
    const AV1: &str = "0a0b000000043cfeccfbf90040";
    const AV1_HDR: &str = "0a0e000000043cfeccfbf95091009040";

    fn bytes(text: &str) -> Vec<u8> {
        hex::decode(text).unwrap()
    }

    fn h264() -> Vec<u8> {
        bytes(&format!("00000001{H264_SPS}00000001{H264_PPS}000001{H264_SEI}"))
    }

    #[test]
    fn h264_extradata_becomes_the_box_that_ffmpeg_writes() {
        let config = DecoderConfig::from_annexb_h264(&h264()).unwrap();
        assert_eq!(hex::encode(config.payload()), AVCC);
        assert_eq!(config.codecs().unwrap(), "avc1.64000c");
        assert_eq!(DecoderConfig::from_annexb_h264(&bytes(AVCC)).unwrap(), config);
    }

    #[test]
    fn main_profile_has_no_high_profile_fields() {
        let text = format!("00000001{}00000001{H264_PPS}", H264_SPS.replacen("64", "4d", 1));
        let config = DecoderConfig::from_annexb_h264(&bytes(&text)).unwrap();
        assert!(hex::encode(config.payload()).ends_with(H264_PPS));
    }

    #[test]
    fn h265_extradata_becomes_the_box_that_ffmpeg_writes() {
        let config = DecoderConfig::from_annexb_hevc(&bytes(H265)).unwrap();
        assert_eq!(hex::encode(config.payload()), HVCC);
        assert_eq!(config.codecs().unwrap(), "hvc1.1.6.L60.90");
        assert_eq!(DecoderConfig::from_annexb_hevc(&bytes(HVCC)).unwrap(), config);
    }

    #[test]
    fn av1_sequence_header_becomes_the_box_that_ffmpeg_writes() {
        let config = DecoderConfig::from_av1(&bytes(AV1)).unwrap();
        assert_eq!(hex::encode(config.payload()), format!("81000c00{AV1}"));
        assert_eq!(config.codecs().unwrap(), "av01.0.00M.08");
        assert_eq!(DecoderConfig::from_av1(config.payload()).unwrap(), config);
    }

    #[test]
    fn av1_in_bt_2020_says_so_in_its_codecs_string() {
        let config = DecoderConfig::from_av1(&bytes(AV1_HDR)).unwrap();
        assert_eq!(hex::encode(config.payload()), format!("81004c00{AV1_HDR}"));
        assert_eq!(config.codecs().unwrap(), "av01.0.00M.10.0.110.09.16.09.0");
    }

    #[test]
    fn codecs_strings_of_other_levels_and_profiles() {
        let level_93_b0 = HVCC.replacen("9000000000003c", "b000000000005d", 1);
        assert_eq!(DecoderConfig::Hevc(bytes(&level_93_b0)).codecs().unwrap(), "hvc1.1.6.L93.B0");
        let main_10_high_tier = HVCC.replacen("0101600000009000000000003c", "01222000000090000000000096", 1);
        assert_eq!(DecoderConfig::Hevc(bytes(&main_10_high_tier)).codecs().unwrap(), "hvc1.2.4.H150.90");
        assert_eq!(DecoderConfig::Avc(bytes(&AVCC.replacen("0c", "28", 1))).codecs().unwrap(), "avc1.640028");
    }

    #[test]
    fn audio_configurations() {
        let aac = DecoderConfig::from_aac(&[0x11, 0x90, 0x56, 0xe5, 0x00]).unwrap();
        assert_eq!(aac.codecs().unwrap(), "mp4a.40.2");
        assert!(DecoderConfig::from_aac(&[0x11]).is_err());
        let opus = DecoderConfig::from_opus(b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0").unwrap();
        assert_eq!(hex::encode(opus.payload()), "000201380000bb80000000");
        assert_eq!(opus.codecs().unwrap(), "opus");
        assert!(DecoderConfig::from_opus(b"OpusHead\x01\x03\x38\x01\x80\xbb\0\0\0\0\0").is_err());
    }

    #[test]
    fn digests_differ_by_codec_and_bytes() {
        let digests = [DecoderConfig::Avc(vec![1]), DecoderConfig::Hevc(vec![1]), DecoderConfig::Avc(vec![2])];
        let digests: std::collections::BTreeSet<_> = digests.iter().map(DecoderConfig::digest).collect();
        assert_eq!(digests.len(), 3);
        assert!(digests.iter().all(|digest| digest.len() == 16));
    }

    #[test]
    fn missing_parameter_sets_are_named() {
        let error = DecoderConfig::from_annexb_h264(&bytes(&format!("00000001{H264_PPS}"))).unwrap_err();
        assert_eq!(error.to_string(), "H.264 extradata: no SPS");
        let error = DecoderConfig::from_annexb_hevc(&h264()).unwrap_err();
        assert_eq!(error.to_string(), "H.265 extradata: VPS, SPS or PPS is missing");
    }

    #[test]
    fn samples_are_length_prefixed_without_parameter_sets() {
        let config = DecoderConfig::from_annexb_h264(&h264()).unwrap();
        let packet = [h264(), vec![0, 0, 1, 0x65, 0x88]].concat();
        let expected = bytes(&format!("00000008{H264_SEI}000000026588"));
        assert_eq!(config.sample_data(&packet).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn damaged_extradata_never_panics(at in 0usize..120, value: [u8; 3], cut in 0usize..140) {
            for (extradata, read) in [
                (h264(), DecoderConfig::from_annexb_h264 as fn(&[u8]) -> _),
                (bytes(AVCC), DecoderConfig::from_annexb_h264),
                (bytes(H265), DecoderConfig::from_annexb_hevc),
                (bytes(HVCC), DecoderConfig::from_annexb_hevc),
                (bytes(AV1), DecoderConfig::from_av1),
                (bytes(AV1_HDR), DecoderConfig::from_av1),
            ] {
                let mut extradata = extradata;
                extradata.iter_mut().skip(at).zip(value).for_each(|(byte, value)| *byte = value);
                extradata.truncate(cut);
                if let Ok(config) = read(&extradata) {
                    let _ = config.codecs(); // an error is fine
                }
            }
        }
    }
}
