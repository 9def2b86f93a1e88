//! The cards that can be played.
//!
//! Numbers of the RTX 3060 are what such a card answered under driver 595. Those of the others are the same with what
//! NVIDIA's support matrix and application notes say of their generation; sizes and counts of AV1 come from what owners of
//! Ada cards published. No client should lean on a number here: it should ask.

/// What is coded, whoever codes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// H.264.
    H264,
    /// HEVC.
    Hevc,
    /// VP9, which no card encodes.
    Vp9,
    /// AV1.
    Av1,
}

impl Codec {
    /// Its number in `cudaVideoCodec`.
    pub const fn cuvid(self) -> u32 {
        match self {
            Self::H264 => 4,
            Self::Hevc => 8,
            Self::Vp9 => 10,
            Self::Av1 => 11,
        }
    }
}

/// One card as its driver describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// As `cuDeviceGetName` says it.
    pub name: &'static str,
    /// As `cuDeviceGetUuid_v2` says it; the last byte is the card's ordinal.
    pub uuid: [u8; 16],
    /// As `cuDeviceGetUuid` says it of a part of a card: the whole one's.
    pub whole: Option<[u8; 16]>,
    /// Compute capability, major and minor.
    pub compute_capability: (i32, i32),
    /// Memory in bytes.
    pub memory: u64,
    /// Streaming multiprocessors.
    pub multiprocessors: i32,
    /// Number of the PCI bus; the card is device 0 of domain 0 there.
    pub pci_bus: i32,
    /// What NVENC encodes. Empty: there is no NVENC.
    pub encodes: &'static [Encodes],
    /// Encode sessions that the whole system may have at once; none: as many as memory allows.
    pub sessions: Option<u32>,
    /// What NVDEC decodes.
    pub decodes: &'static [Decodes],
    /// Number of NVDEC engines.
    pub decode_engines: u8,
}

/// A codec of NVENC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encodes {
    /// Which.
    pub codec: Codec,
    /// Answers of `NvEncGetEncodeCaps`, by the number of the capability. Higher numbers are invalid parameters.
    pub caps: [i32; 61],
}

/// A format of NVDEC, as `cuvidGetDecoderCaps` tells it. Chroma is 4:2:0 in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decodes {
    /// Which codec.
    pub codec: Codec,
    /// Bits of a sample.
    pub depth: u8,
    /// Smallest coded width and height in pixels.
    pub smallest: (u16, u16),
    /// Largest coded width and height in pixels.
    pub largest: (u32, u32),
    /// Most macroblocks (256 pixels each) of a picture.
    pub macroblocks: u32,
    /// Output formats: bit n stands for number n of `cudaVideoSurfaceFormat`.
    pub outputs: u16,
}

/// The card with this name: `t4`, `rtx3060`, `l4`, `h200` or `h200mig`, which is a part of one.
pub fn named(name: &str) -> Option<Card> {
    Some(match name {
        "t4" => T4,
        "rtx3060" => RTX_3060,
        "l4" => L4,
        "h200" => H200,
        "h200mig" => H200_PART,
        _ => return None,
    })
}

/// The cards of a machine from their names with commas between them; `none` is a machine without one.
///
/// # Errors
///
/// The name that is nobody's.
pub fn machine(names: &str) -> Result<Vec<Card>, String> {
    if names == "none" {
        return Ok(Vec::new());
    }
    let cards = names.split(',').map(str::trim).zip(0u8..).map(|(name, ordinal)| {
        let mut card = named(name).ok_or_else(|| name.to_owned())?;
        card.uuid[15] = ordinal;
        card.pci_bus += i32::from(ordinal);
        Ok(card)
    });
    cards.collect()
}

const MIB: u64 = 1024 * 1024;

/// Turing, one NVENC without AV1, two NVDECs without AV1.
const T4: Card = Card {
    name: "Tesla T4",
    uuid: *b"farm-tesla-t4-\0\0",
    whole: None,
    compute_capability: (7, 5),
    memory: 15_360 * MIB,
    multiprocessors: 40,
    pci_bus: 0x10,
    encodes: &[Encodes { codec: Codec::H264, caps: H264_CAPS }, Encodes { codec: Codec::Hevc, caps: HEVC_CAPS }],
    sessions: None,
    decodes: &[H264_8, HEVC_8, HEVC_10, VP9_8, VP9_10],
    decode_engines: 2,
};

/// Ampere, one NVENC without AV1, one NVDEC with it, a limit on sessions.
const RTX_3060: Card = Card {
    name: "NVIDIA GeForce RTX 3060",
    uuid: *b"farm-rtx-3060-\0\0",
    whole: None,
    compute_capability: (8, 6),
    memory: 12_288 * MIB,
    multiprocessors: 28,
    pci_bus: 0x20,
    encodes: T4.encodes,
    sessions: Some(8),
    decodes: &[H264_8, HEVC_8, HEVC_10, VP9_8, VP9_10, AV1_8, AV1_10],
    decode_engines: 1,
};

/// Ada, two NVENCs with AV1, four NVDECs.
const L4: Card = Card {
    name: "NVIDIA L4",
    uuid: *b"farm-nvidia-l4\0\0",
    whole: None,
    compute_capability: (8, 9),
    memory: 23_034 * MIB,
    multiprocessors: 58,
    pci_bus: 0x30,
    encodes: &[
        Encodes { codec: Codec::H264, caps: with(H264_CAPS, &[(ENGINES, 2)]) },
        Encodes { codec: Codec::Hevc, caps: with(HEVC_CAPS, &[(ENGINES, 2)]) },
        Encodes { codec: Codec::Av1, caps: AV1_CAPS },
    ],
    sessions: None,
    decodes: RTX_3060.decodes,
    decode_engines: 4,
};

/// Hopper: seven NVDECs of Turing's kind and no NVENC at all.
const H200: Card = Card {
    name: "NVIDIA H200",
    uuid: *b"farm-nv-h200--\0\0",
    whole: None,
    compute_capability: (9, 0),
    memory: 143_771 * MIB,
    multiprocessors: 132,
    pci_bus: 0x40,
    encodes: &[],
    sessions: None,
    decodes: T4.decodes,
    decode_engines: 7,
};

/// A seventh of it (`MIG 1g.18gb`), with an NVDEC.
const H200_PART: Card = Card {
    name: "NVIDIA H200 MIG 1g.18gb",
    uuid: *b"farm-h200-part\0\0",
    whole: Some(H200.uuid),
    memory: 18_432 * MIB,
    multiprocessors: 16,
    decode_engines: 1,
    ..H200
};

/// `NV_ENC_CAPS_NUM_ENCODER_ENGINES`.
const ENGINES: usize = 49;

const H264_CAPS: [i32; 61] = [
    4, 3, 0, 0, 0, 1, 1, 1, 1, 1, // 0: B-frames, rate control, …
    4, 1, 1, 62, 10, 1, 4096, 4096, 1, 1, // 13: levels; 16: largest size
    1, 1, 0, 1, 1, 1, 1, 1, 1, 0, // 25: intra refresh; 26: own VBV size
    0, 65_536, 983_040, 1, 1, 0, 1, 1, 1,
    0, // 30: no asynchronous mode; 37: look-ahead; 38: temporal AQ; 39: 10 bit
    8, 1, 0, 3, 1, 145, 49, 1, 0, 1, // 43: B-frames as references; 45: smallest size; 49: engines
    1, 1, 1, 0, 1, 1, 0, 0, 0, 0, //
    0,
];

const HEVC_CAPS: [i32; 61] = [
    5, 3, 0, 0, 0, 1, 0, 1, 0, 0, //
    4, 0, 0, 186, 30, 0, 8192, 8192, 1, 1, //
    1, 1, 0, 1, 1, 1, 1, 1, 1, 0, //
    0, 262_144, 983_040, 1, 1, 1, 1, 1, 1, 1, //
    7, 1, 0, 3, 0, 129, 33, 1, 1, 1, //
    1, 1, 1, 0, 1, 1, 3, 1, 1, 0, //
    1,
];

/// HEVC's, with seven B-frames, levels 2.0 to 7.3 by their index, no 4:4:4, no lossless, no SAO, two engines.
const AV1_CAPS: [i32; 61] = with(
    HEVC_CAPS,
    &[(0, 7), (13, 23), (14, 0), (33, 0), (34, 0), (35, 0), (45, 192), (46, 128), (48, 0), (ENGINES, 2), (56, 0)],
);

const fn with<const N: usize>(mut caps: [i32; 61], changes: &[(usize, i32); N]) -> [i32; 61] {
    let mut change = 0;
    while change < N {
        caps[changes[change].0] = changes[change].1;
        change += 1;
    }
    caps
}

/// NV12 and YUV 4:2:0 planar.
const EIGHT_BITS: u16 = 0x41;
/// The same and P016 with its planar kind.
const MORE_BITS: u16 = 0xc3;

const H264_8: Decodes = Decodes {
    codec: Codec::H264,
    depth: 8,
    smallest: (48, 16),
    largest: (4096, 4096),
    macroblocks: 65_536,
    outputs: EIGHT_BITS,
};
const HEVC_8: Decodes = Decodes {
    codec: Codec::Hevc,
    depth: 8,
    smallest: (144, 144),
    largest: (8192, 8192),
    macroblocks: 262_144,
    outputs: EIGHT_BITS,
};
const HEVC_10: Decodes = Decodes { depth: 10, outputs: MORE_BITS, ..HEVC_8 };
const VP9_8: Decodes = Decodes { codec: Codec::Vp9, smallest: (128, 128), ..HEVC_8 };
const VP9_10: Decodes = Decodes { codec: Codec::Vp9, smallest: (128, 128), ..HEVC_10 };
const AV1_8: Decodes = Decodes { codec: Codec::Av1, smallest: (128, 128), ..HEVC_8 };
const AV1_10: Decodes = Decodes { codec: Codec::Av1, smallest: (128, 128), ..HEVC_10 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_the_cards_that_are_named_each_with_a_uuid_of_its_own() {
        let cards = machine("l4, l4,h200").unwrap();
        assert_eq!(cards.iter().map(|card| card.name).collect::<Vec<_>>(), ["NVIDIA L4", "NVIDIA L4", "NVIDIA H200"]);
        assert_ne!(cards[0].uuid, cards[1].uuid);
        assert_ne!(cards[0].pci_bus, cards[1].pci_bus);
        assert_eq!(machine("none"), Ok(Vec::new()));
        assert_eq!(machine("l4,voodoo2"), Err("voodoo2".to_owned()));
    }

    #[test]
    fn engines_and_codecs_differ_as_the_cards_do() {
        let engines = |card: &Card| card.encodes.iter().map(|one| one.caps[ENGINES]).collect::<Vec<_>>();
        assert_eq!(engines(&L4), [2, 2, 2]);
        assert_eq!(engines(&T4), [1, 1]);
        assert_eq!(engines(&H200), []);
        assert!(!H200.decodes.iter().any(|format| format.codec == Codec::Av1), "Hopper should not decode AV1");
    }
}
