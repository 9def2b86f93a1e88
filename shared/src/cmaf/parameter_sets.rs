//! H.264 and H.265 parameter sets: ids, picture sizes, and what configuration boxes repeat of them.
//!
//! All functions take a whole NAL unit; `None` is a unit that is cut off or says what no encoder may.

use mp4_atom::{AvccExt, Hvcc};

use super::bits::Bits;
use super::nal;

/// Width and height of the shown picture, in samples.
pub(super) type Size = (u32, u32);

/// Profiles whose SPS has chroma format, bit depths and scaling matrices (ISO/IEC 14496-10 7.3.2.1.1): of those that
/// encoders write, all but Baseline, Main and Extended.
pub(super) fn is_high(profile: u8) -> bool {
    !matches!(profile, 66 | 77 | 88)
}

/// The head of an H.264 SPS, and the bits that follow (ISO/IEC 14496-10 7.3.2.1.1).
struct AvcSps<'a> {
    id: u32,
    format: AvccExt,
    separate_planes: bool,
    rest: Bits<'a>,
}

impl<'a> AvcSps<'a> {
    /// `plain` is free of emulation prevention.
    fn read(plain: &'a [u8]) -> Option<Self> {
        let profile = *plain.get(1)?;
        let mut bits = Bits::new(plain);
        bits.skip(8 + 24)?; // NAL unit header; profile, constraints, level
        let id = bits.exp_golomb()?;
        let (mut format, mut separate_planes) = (AvccExt::default(), false);
        if is_high(profile) {
            format.chroma_format = u8::try_from(bits.exp_golomb()?).ok()?;
            separate_planes = format.chroma_format == 3 && bits.flag()?;
            format.bit_depth_luma = u8::try_from(bits.exp_golomb()?.checked_add(8)?).ok()?;
            format.bit_depth_chroma = u8::try_from(bits.exp_golomb()?.checked_add(8)?).ok()?;
        }
        Some(Self { id, format, separate_planes, rest: bits }).filter(|sps| sps.id < 32)
    }

    fn size(mut self, high: bool) -> Option<Size> {
        let bits = &mut self.rest;
        if high {
            bits.skip(1)?; // qpprime_y_zero_transform_bypass_flag
            if bits.flag()? {
                scaling_matrices(bits, if self.format.chroma_format == 3 { 12 } else { 8 })?;
            }
        }
        bits.exp_golomb()?; // log2_max_frame_num_minus4
        match bits.exp_golomb()? {
            0 => drop(bits.exp_golomb()?), // log2_max_pic_order_cnt_lsb_minus4
            1 => {
                bits.skip(1)?;
                bits.exp_golomb()?; // two offsets; their signs don't matter here
                bits.exp_golomb()?;
                for _ in 0..bits.exp_golomb()?.min(256) {
                    bits.exp_golomb()?;
                }
            }
            _ => {}
        }
        bits.exp_golomb()?; // max_num_ref_frames
        bits.skip(1)?; // gaps_in_frame_num_value_allowed_flag
        let (columns, rows) = (bits.exp_golomb()?.checked_add(1)?, bits.exp_golomb()?.checked_add(1)?);
        let fields = u32::from(!bits.flag()?) + 1; // frame_mbs_only_flag
        if fields == 2 {
            bits.skip(1)?; // mb_adaptive_frame_field_flag
        }
        bits.skip(1)?; // direct_8x8_inference_flag
        let coded = (columns.checked_mul(16)?, rows.checked_mul(16)?.checked_mul(fields)?);
        let (x, y) = chroma_units(if self.separate_planes { 0 } else { self.format.chroma_format });
        cropped(bits, coded, (x, y * fields))
    }
}

/// `scaling_list()` (7.3.2.1.1.1) of each that is there: six of 16 values, then some of 64.
fn scaling_matrices(bits: &mut Bits<'_>, count: u32) -> Option<()> {
    for list in 0..count {
        if !bits.flag()? {
            continue;
        }
        let (mut last, mut next) = (8i64, 8i64);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                let code = i64::from(bits.exp_golomb()?);
                let delta = if code % 2 == 1 { (code + 1) / 2 } else { -(code / 2) }; // se(v)
                next = (last + delta).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
    }
    Some(())
}

/// Luma samples per cropping unit: `SubWidthC` and `SubHeightC`.
fn chroma_units(format: u8) -> (u32, u32) {
    match format {
        1 => (2, 2),
        2 => (2, 1),
        _ => (1, 1),
    }
}

/// What an optional cropping rectangle leaves of a coded picture.
fn cropped(bits: &mut Bits<'_>, (width, height): Size, (unit_x, unit_y): (u32, u32)) -> Option<Size> {
    if !bits.flag()? {
        return Some((width, height));
    }
    let (left, right) = (bits.exp_golomb()?, bits.exp_golomb()?);
    let (top, bottom) = (bits.exp_golomb()?, bits.exp_golomb()?);
    let x = left.checked_add(right)?.checked_mul(unit_x)?;
    let y = top.checked_add(bottom)?.checked_mul(unit_y)?;
    Some((width.checked_sub(x)?, height.checked_sub(y)?))
}

/// Chroma format and bit depths of an H.264 SPS.
pub(super) fn avc_format(sps: &[u8]) -> Option<AvccExt> {
    Some(AvcSps::read(&nal::unescape(sps))?.format)
}

/// Id of an H.264 SPS.
pub(super) fn avc_sps_id(sps: &[u8]) -> Option<u32> {
    Some(AvcSps::read(&nal::unescape(sps))?.id)
}

/// Picture size of an H.264 SPS.
pub(super) fn avc_size(sps: &[u8]) -> Option<Size> {
    let plain = nal::unescape(sps);
    AvcSps::read(&plain)?.size(is_high(plain[1]))
}

/// Id of an H.264 PPS (7.3.2.2).
pub(super) fn avc_pps_id(pps: &[u8]) -> Option<u32> {
    first_code(pps, 8).filter(|id| *id < 256)
}

/// Id of an H.265 VPS (ISO/IEC 23008-2 7.3.2.1).
pub(super) fn hevc_vps_id(vps: &[u8]) -> Option<u32> {
    Some(u32::from(vps.get(2)? >> 4))
}

/// Id of an H.265 SPS.
pub(super) fn hevc_sps_id(sps: &[u8]) -> Option<u32> {
    Some(hevc_sps(sps)?.id)
}

/// Id of an H.265 PPS (7.3.2.3.1).
pub(super) fn hevc_pps_id(pps: &[u8]) -> Option<u32> {
    first_code(pps, 16).filter(|id| *id < 64)
}

/// The code that follows a NAL unit's header.
fn first_code(unit: &[u8], header_bits: usize) -> Option<u32> {
    let plain = nal::unescape(unit);
    let mut bits = Bits::new(&plain);
    bits.skip(header_bits)?;
    bits.exp_golomb()
}

/// What is known of an H.265 SPS.
pub(super) struct HevcSps {
    pub(super) id: u32,
    pub(super) size: Size,
    /// Profile, level and sample format; no arrays.
    pub(super) hvcc: Hvcc,
}

/// Reads an H.265 SPS (ISO/IEC 23008-2 7.3.2.2.1 and 7.3.3) as far as its bit depths.
pub(super) fn hevc_sps(sps: &[u8]) -> Option<HevcSps> {
    let plain = nal::unescape(sps);
    let mut bits = Bits::new(&plain);
    bits.skip(16 + 4)?; // NAL unit header, sps_video_parameter_set_id
    let sub_layers = bits.byte(3)?;
    let temporal_id_nested = bits.flag()?;
    let mut hvcc = Hvcc {
        general_profile_space: bits.byte(2)?,
        general_tier_flag: bits.flag()?,
        general_profile_idc: bits.byte(5)?,
        num_temporal_layers: sub_layers + 1,
        temporal_id_nested,
        length_size_minus_one: nal::LENGTH_SIZE - 1,
        ..Hvcc::new()
    };
    for byte in &mut hvcc.general_profile_compatibility_flags {
        *byte = bits.byte(8)?;
    }
    for byte in &mut hvcc.general_constraint_indicator_flags {
        *byte = bits.byte(8)?;
    }
    hvcc.general_level_idc = bits.byte(8)?;
    if sub_layers > 0 {
        let mut sub_layer_bits = 0;
        for layer in 0..8 {
            let (profile, level) = (bits.flag()?, bits.flag()?); // the padding up to 8 layers is zero
            if layer < sub_layers {
                sub_layer_bits += if profile { 88 } else { 0 } + if level { 8 } else { 0 };
            }
        }
        bits.skip(sub_layer_bits)?;
    }
    let id = bits.exp_golomb()?;
    hvcc.chroma_format_idc = u8::try_from(bits.exp_golomb()?).ok()?;
    let separate_planes = hvcc.chroma_format_idc == 3 && bits.flag()?;
    let coded = (bits.exp_golomb()?, bits.exp_golomb()?);
    let size = cropped(&mut bits, coded, chroma_units(if separate_planes { 0 } else { hvcc.chroma_format_idc }))?;
    hvcc.bit_depth_luma_minus8 = u8::try_from(bits.exp_golomb()?).ok().filter(|depth| *depth < 8)?;
    hvcc.bit_depth_chroma_minus8 = u8::try_from(bits.exp_golomb()?).ok().filter(|depth| *depth < 8)?;
    Some(HevcSps { id, size, hvcc }).filter(|sps| sps.id < 16)
}
