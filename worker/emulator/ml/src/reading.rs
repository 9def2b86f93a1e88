//! What every card measures of itself.

/// Percent of the time in which a kernel ran, and in which memory was read or written.
pub const COMPUTE: (u32, u32) = (40, 15);
/// Percent of the encoder's time.
pub const ENCODER: u32 = 75;
/// Percent of the decoder's time.
pub const DECODER: u32 = 50;
/// Bytes of memory in use, of those that the card has.
pub const MEMORY_USED: u64 = 2 << 30;
/// Degrees Celsius.
pub const TEMPERATURE: u32 = 61;
/// Milliwatts.
pub const POWER: u32 = 72_500;
/// Encode sessions that are open on a card that has an encoder.
pub const ENCODE_SESSIONS: u32 = 3;
/// Why clocks are low: the power limit (4) and the temperature as the driver sees it (0x20).
pub const THROTTLED: u64 = 0x24;
