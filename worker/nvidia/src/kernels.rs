//! The kernels of `kernels/scale.cu`: what each is given, and the two places where they run.
//!
//! On a device they are compiled by the driver from the PTX that is checked in; on the host they are what `build.rs`
//! compiled from the same source. Both give the same bytes.
#![allow(unsafe_code)]

mod device;
mod host;

pub(crate) use device::{Functions, OnDevice};
pub(crate) use host::{HostMemory, OnHost};

/// Where kernels run, and their memory.
pub(crate) trait Machine {
    /// Memory, free when dropped.
    type Memory: std::fmt::Debug;
    /// What goes wrong here.
    type Fault;

    /// Memory of unknown content.
    fn allocate(&self, bytes: usize) -> Result<Self::Memory, Self::Fault>;

    /// Memory with this content.
    fn hold(&self, content: &[u8]) -> Result<Self::Memory, Self::Fault>;

    /// What kernels know it by.
    fn address(memory: &Self::Memory) -> u64;

    /// Runs a kernel on each place of a rectangle, after all that was asked for before.
    ///
    /// # Safety
    /// Every address in `given` is memory of this machine, as large as the other fields say, and lives until this is done.
    unsafe fn run<G: Given>(&self, kernel: Kernel, given: &G, width: u32, height: u32) -> Result<(), Self::Fault>;
}

/// What can be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    Columns,
    Rows,
    Show,
    Mix,
    Turn,
    Split,
    Join,
}

impl Kernel {
    pub(crate) const ALL: [Self; 7] =
        [Self::Columns, Self::Rows, Self::Show, Self::Mix, Self::Turn, Self::Split, Self::Join];

    /// Its name in `scale.cu`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Columns => "columns",
            Self::Rows => "rows",
            Self::Show => "show",
            Self::Mix => "mix",
            Self::Turn => "turn",
            Self::Split => "split",
            Self::Join => "join",
        }
    }
}

/// The one argument of some kernels.
///
/// # Safety
/// It has the fields of a struct of `scale.cu`, in its order, and all of its kernels are in `KERNELS`.
pub(crate) unsafe trait Given: Copy {
    const KERNELS: &'static [Kernel];
}

/// The twin of a struct of `scale.cu`, where its fields are explained.
macro_rules! given {
    ($name:ident, $bytes:literal, $kernels:expr, { $($field:ident: $type:ty),* $(,)? }) => {
        #[repr(C)]
        #[derive(Debug, Clone, Copy, Default)]
        pub(crate) struct $name {
            $(pub(crate) $field: $type,)*
        }

        const _: () = assert!(size_of::<$name>() == $bytes);

        // SAFETY: the fields are those of the struct in `scale.cu`; a test compares the sizes with the compiled ones.
        unsafe impl Given for $name {
            const KERNELS: &'static [Kernel] = &$kernels;
        }
    };
}

given!(Columns, 72, [Kernel::Columns], {
    source: u64, middle: u64, first: u64, weights: u64,
    source_pitch: i32, middle_pitch: i32, width: i32, source_height: i32, height: i32,
    taps: i32, deep: i32, shift: i32, most: i32, _fill: i32,
});

given!(Rows, 96, [Kernel::Rows], {
    middle: u64, target: u64, first: u64, weights: u64, gain: i64, offset: i64,
    middle_pitch: i32, target_pitch: i32, channels: i32, source_width: i32, width: i32, height: i32,
    taps: i32, most: i32, deep: i32, target_most: i32, dither: i32, _fill: i32,
});

given!(Show, 88, [Kernel::Show], {
    luma: u64, chroma: u64, colors: u64, table: u64,
    luma_pitch: i32, chroma_pitch: i32, colors_pitch: i32, width: i32, height: i32, edge: i32,
    luma_gain: i32, red_from_v: i32, green_from_u: i32, green_from_v: i32, blue_from_u: i32,
    black: i32, grey: i32, _fill: i32,
});

given!(Mix, 48, [Kernel::Mix], {
    colors: u64, luma: u64, chroma: u64,
    colors_pitch: i32, luma_pitch: i32, chroma_pitch: i32, width: i32, height: i32, _fill: i32,
});

given!(Turn, 72, [Kernel::Turn], {
    source: u64, target: u64,
    source_pitch: i32, target_pitch: i32, source_width: i32, source_height: i32, width: i32, height: i32, bytes: i32,
    from_x: i32, x_by_x: i32, x_by_y: i32, from_y: i32, y_by_x: i32, y_by_y: i32, _fill: i32,
});

given!(Pairs, 40, [Kernel::Split, Kernel::Join], {
    pairs: u64, first: u64, second: u64, pairs_pitch: i32, plane_pitch: i32, width: i32, height: i32,
});
