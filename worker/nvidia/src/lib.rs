//! NVIDIA's decoder, scaler and encoder behind a safe face. The driver is loaded when it is asked for: without one the
//! program starts all the same, and this crate says what is missing.
//!
//! | file | what |
//! |---|---|
//! | [`load`] | is there a driver, and what an operator does if not |
//! | [`device`] | one GPU: what it is, its memory, its one stream |
//! | `kernels` | what runs on the GPU, and the same on the host; the source is `kernels/scale.cu` |
//! | [`planar`] | to and from the planes of software decoders and encoders |
//! | [`scale`] | one picture to one per rung |
//! | [`surface`] | pictures in device memory, and pools of them |
//! | [`decode`] | NVDEC |
//! | [`encode`] | NVENC |
//! | `raw` | the video libraries' structures as the bytes that they are |
//!
//! Everything a [`Device`] is asked to do goes through its one stream, in the order it was asked for; so memory that goes
//! back to a pool may be written again at once by whoever asks next.
#![deny(unsafe_code)]

pub mod codec;
pub mod decode;
pub mod device;
pub mod encode;
mod kernels;
pub mod load;
pub mod planar;
mod raw;
pub mod scale;
pub mod surface;

pub use codec::Codec;
pub use device::{Device, Fault};
pub use load::Lack;
pub use planar::Planar;
pub use scale::Scaler;
pub use surface::{Format, Pool, Surface};
