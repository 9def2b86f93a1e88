//! H.264 and HEVC levels by what a rendition declares, so that every chunk's headers are alike whatever is in it.

/// `level_idc` of H.264 High profile (ITU-T H.264 table A-1, rates × 1.25): the lowest that holds the picture, the
/// macroblock rate, the bit rate and 4 reference frames.
pub fn h264(width_px: u32, height_px: u32, frames_per_second: f64, maxrate_bps: u32, bufsize_bits: u32) -> u8 {
    // level_idc, macroblocks per second, per frame, decoded picture buffer, kbit/s, kbit of buffer
    const LEVELS: [(u8, u32, u32, u32, u32, u32); 16] = [
        (10, 1_485, 99, 396, 64, 175),
        (11, 3_000, 396, 900, 192, 500),
        (12, 6_000, 396, 2_376, 384, 1_000),
        (13, 11_880, 396, 2_376, 768, 2_000),
        (20, 11_880, 396, 2_376, 2_000, 2_000),
        (21, 19_800, 792, 4_752, 4_000, 4_000),
        (22, 20_250, 1_620, 8_100, 4_000, 4_000),
        (30, 40_500, 1_620, 8_100, 10_000, 10_000),
        (31, 108_000, 3_600, 18_000, 14_000, 14_000),
        (32, 216_000, 5_120, 20_480, 20_000, 20_000),
        (40, 245_760, 8_192, 32_768, 20_000, 25_000),
        (42, 522_240, 8_704, 34_816, 50_000, 62_500),
        (50, 589_824, 22_080, 110_400, 135_000, 135_000),
        (51, 983_040, 36_864, 184_320, 240_000, 240_000),
        (52, 2_073_600, 36_864, 184_320, 240_000, 240_000),
        (62, 16_711_680, 139_264, 696_320, 800_000, 800_000),
    ];
    let macroblocks = width_px.div_ceil(16) * height_px.div_ceil(16);
    let rate = f64::from(macroblocks) * frames_per_second;
    let holds = |(_, per_second, per_frame, buffer, kbps, kbit): &(u8, u32, u32, u32, u32, u32)| {
        rate <= f64::from(*per_second)
            && macroblocks <= *per_frame
            && macroblocks * 4 <= *buffer
            && u64::from(maxrate_bps) <= u64::from(*kbps) * 1250
            && u64::from(bufsize_bits) <= u64::from(*kbit) * 1250
    };
    LEVELS.iter().find(|level| holds(level)).map_or(62, |level| level.0)
}

/// `level-idc` ÷ 10 as x265 takes it (ITU-T H.265 tables A.8 and A.9, Main tier): the lowest that holds picture, sample
/// rate, bit rate and buffer.
pub fn hevc(
    width_px: u32,
    height_px: u32,
    frames_per_second: f64,
    maxrate_bps: u32,
    bufsize_bits: u32,
) -> &'static str {
    // level, luma samples per picture, per second, kbit/s, which is also kbit of buffer
    const LEVELS: [(&str, u32, f64, u32); 12] = [
        ("2.0", 122_880, 3_686_400.0, 1_500),
        ("2.1", 245_760, 7_372_800.0, 3_000),
        ("3.0", 552_960, 16_588_800.0, 6_000),
        ("3.1", 983_040, 33_177_600.0, 10_000),
        ("4.0", 2_228_224, 66_846_720.0, 12_000),
        ("4.1", 2_228_224, 133_693_440.0, 20_000),
        ("5.0", 8_912_896, 267_386_880.0, 25_000),
        ("5.1", 8_912_896, 534_773_760.0, 40_000),
        ("5.2", 8_912_896, 1_069_547_520.0, 60_000),
        ("6.0", 35_651_584, 1_069_547_520.0, 60_000),
        ("6.1", 35_651_584, 2_139_095_040.0, 120_000),
        ("6.2", 35_651_584, 4_278_190_080.0, 240_000),
    ];
    let samples = width_px.saturating_mul(height_px);
    let rate = f64::from(samples) * frames_per_second;
    let most = maxrate_bps.max(bufsize_bits) / 1000;
    let holds = |level: &&(&str, u32, f64, u32)| samples <= level.1 && rate <= level.2 && most <= level.3;
    LEVELS.iter().find(holds).map_or("6.2", |level| level.0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn levels_of_ordinary_rungs() {
        assert_eq!(super::h264(1920, 1080, 30.0, 5_000_000, 10_000_000), 40);
        assert_eq!(super::h264(1280, 720, 30.0, 2_800_000, 5_600_000), 31);
        assert_eq!(super::h264(640, 360, 30000.0 / 1001.0, 800_000, 1_600_000), 30);
        assert_eq!(super::h264(1920, 1080, 60.0, 8_000_000, 16_000_000), 42);
        assert_eq!(super::hevc(1920, 1080, 30.0, 4_000_000, 8_000_000), "4.0");
        assert_eq!(super::hevc(1920, 1080, 30.0, 8_000_000, 16_000_000), "4.1", "a buffer that 4.0 has not");
    }
}
