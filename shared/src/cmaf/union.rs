//! One decoder configuration for samples of several encoder families.
//!
//! Two rules decide what goes together. The parameter sets of both are there, each id once; and what playlists and
//! players were promised stays true whichever comes first: codec, profile, tier, level, sample format and picture size
//! are the same. The boxes would allow more (the higher level, say), but the `codecs` string is given out with the first
//! segment.

use std::collections::BTreeMap;
use std::fmt::Debug;

use mp4_atom::{Avcc, HvcCArray, Hvcc};

use super::decoder_config::{encoded, read_avcc, read_hvcc};
use super::parameter_sets::{Size, avc_pps_id, avc_size, avc_sps_id, hevc_pps_id, hevc_sps, hevc_sps_id, hevc_vps_id};
use super::{CmafError, DecoderConfig};

impl DecoderConfig {
    /// What does for the samples of either. The order does not matter, and the union with a part of itself changes
    /// nothing.
    ///
    /// - H.264: all SPS and PPS (ISO/IEC 14496-15 5.3.3.1.2). A constraint flag that only one of them has is dropped.
    /// - H.265: all VPS, SPS and PPS (8.3.3.1.2). Compatibility and constraint flags likewise.
    /// - AV1 and sound: both must be equal. `av1C` describes one sequence, and each key frame brings its own header
    ///   anyway.
    ///
    /// # Errors
    /// [`CmafError::Clash`] if there is none, and others if one of them can't be read.
    pub fn union(&self, other: &Self) -> Result<Self, CmafError> {
        match (self, other) {
            _ if self == other => Ok(self.clone()),
            (Self::Avc(one), Self::Avc(other)) => {
                encoded("avcC", &unite_avc(read_avcc(one)?, read_avcc(other)?)?).map(Self::Avc)
            }
            (Self::Hevc(one), Self::Hevc(other)) => {
                encoded("hvcC", &unite_hevc(read_hvcc(one)?, read_hvcc(other)?)?).map(Self::Hevc)
            }
            _ => Err(clash("decoder config", self.digest(), other.digest())),
        }
    }
}

fn clash(what: impl Into<String>, one: impl Into<String>, other: impl Into<String>) -> CmafError {
    CmafError::Clash { what: what.into(), one: one.into(), other: other.into() }
}

fn same<T: PartialEq + Debug>(what: &'static str, one: T, other: T) -> Result<(), CmafError> {
    if one == other { Ok(()) } else { Err(clash(what, format!("{one:?}"), format!("{other:?}"))) }
}

/// What both say, or the value that says nothing.
fn agreed<T: PartialEq + Default>(one: T, other: T) -> T {
    if one == other { one } else { T::default() }
}

fn unite_avc(one: Avcc, other: Avcc) -> Result<Avcc, CmafError> {
    same("profile", one.avc_profile_indication, other.avc_profile_indication)?;
    same("level", one.avc_level_indication, other.avc_level_indication)?;
    same("sample format", &one.ext, &other.ext)?;
    let sps = [one.sequence_parameter_sets, other.sequence_parameter_sets].concat();
    let pps = [one.picture_parameter_sets, other.picture_parameter_sets].concat();
    same_sizes(&sps, avc_size)?;
    Ok(Avcc {
        profile_compatibility: one.profile_compatibility & other.profile_compatibility,
        sequence_parameter_sets: merged("SPS", 31, avc_sps_id, sps)?,
        picture_parameter_sets: merged("PPS", 255, avc_pps_id, pps)?,
        ..one
    })
}

fn unite_hevc(one: Hvcc, other: Hvcc) -> Result<Hvcc, CmafError> {
    let profile = |hvcc: &Hvcc| (hvcc.general_profile_space, hvcc.general_profile_idc);
    same("profile", profile(&one), profile(&other))?;
    let level = |hvcc: &Hvcc| (hvcc.general_tier_flag, hvcc.general_level_idc);
    same("tier and level", level(&one), level(&other))?;
    let format = |hvcc: &Hvcc| (hvcc.chroma_format_idc, hvcc.bit_depth_luma_minus8, hvcc.bit_depth_chroma_minus8);
    same("sample format", format(&one), format(&other))?;
    let sets = |nal_unit_type| -> Vec<Vec<u8>> {
        let arrays = one.arrays.iter().chain(&other.arrays).filter(|array| array.nal_unit_type == nal_unit_type);
        arrays.flat_map(|array| array.nalus.clone()).collect()
    };
    let array = |nal_unit_type, nalus| HvcCArray { completeness: true, nal_unit_type, nalus };
    let (vps, sps, pps) = (sets(32), sets(33), sets(34));
    same_sizes(&sps, |sps| Some(hevc_sps(sps)?.size))?;
    let arrays = vec![
        array(32, merged("VPS", 16, hevc_vps_id, vps)?),
        array(33, merged("SPS", 16, hevc_sps_id, sps)?),
        array(34, merged("PPS", 64, hevc_pps_id, pps)?),
    ];
    let compatibility = |hvcc: &Hvcc| hvcc.general_profile_compatibility_flags;
    let constraints = |hvcc: &Hvcc| hvcc.general_constraint_indicator_flags;
    Ok(Hvcc {
        arrays,
        general_profile_compatibility_flags: both(compatibility(&one), compatibility(&other)),
        general_constraint_indicator_flags: both(constraints(&one), constraints(&other)),
        min_spatial_segmentation_idc: one.min_spatial_segmentation_idc.min(other.min_spatial_segmentation_idc),
        parallelism_type: agreed(one.parallelism_type, other.parallelism_type),
        avg_frame_rate: agreed(one.avg_frame_rate, other.avg_frame_rate),
        constant_frame_rate: agreed(one.constant_frame_rate, other.constant_frame_rate),
        num_temporal_layers: agreed(one.num_temporal_layers, other.num_temporal_layers),
        temporal_id_nested: one.temporal_id_nested && other.temporal_id_nested,
        ..one
    })
}

/// Flags that both set.
fn both<const N: usize>(one: [u8; N], other: [u8; N]) -> [u8; N] {
    std::array::from_fn(|at| one[at] & other[at])
}

fn cut_off(what: &'static str) -> CmafError {
    CmafError::invalid(what, "cut off")
}

/// All SPS have pictures of one size.
fn same_sizes(sps: &[Vec<u8>], size: fn(&[u8]) -> Option<Size>) -> Result<(), CmafError> {
    let mut first = None;
    for sps in sps {
        let size = size(sps).ok_or(cut_off("SPS"))?;
        same("picture size", *first.get_or_insert(size), size)?;
    }
    Ok(())
}

/// Parameter sets of one kind by their ids, each once; at most as many as a box holds.
fn merged(
    what: &'static str,
    most: usize,
    id: fn(&[u8]) -> Option<u32>,
    all: Vec<Vec<u8>>,
) -> Result<Vec<Vec<u8>>, CmafError> {
    let mut sets: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    for set in all {
        let id = id(&set).ok_or(cut_off(what))?;
        let known = sets.entry(id).or_insert_with(|| set.clone());
        if *known != set {
            return Err(clash(format!("{what} {id}"), crate::hex::encode(known), crate::hex::encode(&set)));
        }
    }
    if sets.len() > most {
        return Err(CmafError::invalid(what, "more than a box holds"));
    }
    Ok(sets.into_values().collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hex;

    // x264: 320x180, High at level 1.2; the others differ in id and in what the names say.
    const SOFTWARE: [&str; 2] = ["6764000cacd941419f9f011000000300100000030320f1429960", "68efbcb0"];
    const FEWER_REFERENCES: [&str; 2] = ["6764000c082cb40a0cfcf808800000030080000019078a1550", "6808042f3cb0"];
    const LARGER: [&str; 2] = ["6764000c22cd941519e226c044000003000400000300c83c50a658", "68212fbcb0"];
    const LEVEL_13: [&str; 2] = ["6764000d2acd941419f9f011000003000100000300320f142996", "68296fbcb0"];
    const MATRICES_INTERLACED: [&str; 2] = ["6764000c32cd941433f26022000003000200000300643e244b2c", "6831bebcc030"];
    const SAME_ID: [&str; 2] = ["6764000cacd941419f9f011000000300100000030320f1429960", "68ebe3cb22c0"];
    // x265: 320x180, Main at level 2; the second with id 6, and with other constraint flags.
    const X265: [&str; 3] = [
        "40010c01ffff01600000030090000003000003003c959809",
        "42010101600000030090000003000003003ca00a080b9f796566924caf016808000003000800000300c840",
        "4401c172b46240",
    ];
    const ID_6: [&str; 3] = [
        "40016c01ffff01600000030090000003000003003c959809",
        "42016101600000030090000003000003003c3a00a080b9f796566924caf0168080000003008000000c84",
        "440139c172b46240",
    ];

    fn annexb(units: &[&str]) -> Vec<u8> {
        hex::decode(&units.iter().map(|unit| format!("00000001{unit}")).collect::<String>()).unwrap()
    }

    fn avc(units: [&str; 2]) -> DecoderConfig {
        DecoderConfig::from_annexb_h264(&annexb(&units)).unwrap()
    }

    fn hevc(units: [&str; 3]) -> DecoderConfig {
        DecoderConfig::from_annexb_hevc(&annexb(&units)).unwrap()
    }

    fn clash(one: &DecoderConfig, other: &DecoderConfig) -> String {
        match (one.union(other), other.union(one)) {
            (Err(CmafError::Clash { what, .. }), Err(CmafError::Clash { what: same, .. })) if what == same => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn h264_sets_of_two_families_are_listed_by_id() {
        let (one, other) = (avc(SOFTWARE), avc(FEWER_REFERENCES));
        let united = one.union(&other).unwrap();
        let sets = |units: [&str; 2]| units.map(|unit| hex::decode(unit).unwrap());
        let ([sps, pps], [other_sps, other_pps]) = (sets(SOFTWARE), sets(FEWER_REFERENCES));
        let avcc = read_avcc(united.payload()).unwrap();
        assert_eq!(
            (avcc.sequence_parameter_sets, avcc.picture_parameter_sets),
            (vec![sps, other_sps], vec![pps, other_pps])
        );
        assert_eq!(united.codecs().unwrap(), one.codecs().unwrap());
    }

    #[test]
    fn a_union_does_not_depend_on_order_or_repetition() {
        for (one, other) in [(avc(SOFTWARE), avc(FEWER_REFERENCES)), (hevc(X265), hevc(ID_6))] {
            assert_eq!(one.union(&one).unwrap(), one);
            let united = one.union(&other).unwrap();
            assert_eq!(other.union(&one).unwrap(), united);
            assert_eq!(united.union(&one).unwrap(), united);
            assert_eq!(other.union(&united).unwrap(), united);
            assert_ne!(united, one);
        }
    }

    #[test]
    fn a_sample_of_either_family_finds_its_sets_in_the_union() {
        let united = avc(SOFTWARE).union(&avc(FEWER_REFERENCES)).unwrap();
        for units in [SOFTWARE, FEWER_REFERENCES] {
            let packet = [annexb(&units), vec![0, 0, 1, 0x65, 0x88]].concat();
            assert_eq!(united.sample_data(&packet).unwrap(), [0, 0, 0, 2, 0x65, 0x88]);
        }
    }

    #[test]
    fn h265_sets_of_two_families_are_listed_by_kind_and_id() {
        let united = hevc(X265).union(&hevc(ID_6)).unwrap();
        let arrays = read_hvcc(united.payload()).unwrap().arrays;
        let kinds: Vec<_> = arrays.iter().map(|array| (array.nal_unit_type, array.nalus.len())).collect();
        assert_eq!(kinds, [(32, 2), (33, 2), (34, 2)]);
        for (array, (one, other)) in arrays.iter().zip(X265.iter().zip(ID_6)) {
            assert_eq!(array.nalus, [hex::decode(one).unwrap(), hex::decode(other).unwrap()]);
        }
    }

    #[test]
    fn flags_of_one_side_only_are_not_promised() {
        let stricter = ID_6.map(|unit| unit.replacen("03009000", "0300b000", 1));
        let (one, other) = (hevc(X265), hevc([&stricter[0], &stricter[1], &stricter[2]]));
        assert_eq!(other.codecs().unwrap(), "hvc1.1.6.L60.B0");
        assert_eq!(one.union(&other).unwrap().codecs().unwrap(), "hvc1.1.6.L60.90");
        let flagged = FEWER_REFERENCES.map(|unit| unit.replacen("676400", "67640c", 1));
        let (one, other) = (avc(SOFTWARE), avc([&flagged[0], &flagged[1]]));
        assert_eq!(other.codecs().unwrap(), "avc1.640c0c");
        assert_eq!(one.union(&other).unwrap().codecs().unwrap(), "avc1.64000c");
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        let one = avc(SOFTWARE);
        assert_eq!(clash(&one, &avc(SAME_ID)), "PPS 0");
        assert_eq!(clash(&one, &avc(LEVEL_13)), "level");
        assert_eq!(clash(&one, &avc(LARGER)), "picture size");
        assert_eq!(clash(&one, &hevc(X265)), "decoder config");
        let main = FEWER_REFERENCES.map(|unit| unit.replacen("6764", "674d", 1));
        assert_eq!(clash(&one, &avc([&main[0], &main[1]])), "profile");
        let level = ID_6.map(|unit| unit.replacen("03003c", "03003f", 1));
        assert_eq!(clash(&hevc(X265), &hevc([&level[0], &level[1], &level[2]])), "tier and level");
        let other_pps = [X265[0], X265[1], "4401c172b46241"];
        assert_eq!(clash(&hevc(X265), &hevc(other_pps)), "PPS 0");
        assert_eq!(clash(&DecoderConfig::Av1(vec![1]), &DecoderConfig::Av1(vec![2])), "decoder config");
        assert_eq!(clash(&DecoderConfig::Aac(vec![1]), &DecoderConfig::Aac(vec![2])), "decoder config");
    }

    #[test]
    fn sizes_are_those_that_ffmpeg_reads() {
        let size = |units: [&str; 2]| avc_size(&hex::decode(units[0]).unwrap());
        assert_eq!(size(SOFTWARE), Some((320, 180)));
        assert_eq!(size(LARGER), Some((322, 182)));
        assert_eq!(size(MATRICES_INTERLACED), Some((320, 180)));
        assert_eq!(hevc_sps(&hex::decode(ID_6[1]).unwrap()).map(|sps| (sps.id, sps.size)), Some((6, (320, 180))));
    }

    proptest! {
        #[test]
        fn damaged_configurations_never_panic(at in 0usize..160, value: [u8; 2], cut in 0usize..200) {
            for (one, other) in [(avc(SOFTWARE), avc(FEWER_REFERENCES)), (hevc(X265), hevc(ID_6))] {
                let damage = |bytes: &[u8]| {
                    let mut bytes = bytes.to_vec();
                    bytes.iter_mut().skip(at).zip(value).for_each(|(byte, value)| *byte = value);
                    bytes.truncate(cut);
                    bytes
                };
                let damaged = match &other {
                    DecoderConfig::Avc(bytes) => DecoderConfig::Avc(damage(bytes)),
                    other => DecoderConfig::Hevc(damage(other.payload())),
                };
                let _ = one.union(&damaged); // an error is fine
            }
        }
    }
}
