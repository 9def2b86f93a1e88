//! The worker does: index, decode, scale, encode, segment, upload. It never knows about other tasks.
//!
//! `unsafe` is allowed in one module: [`av`], the few FFmpeg calls that have no safe form.
#![deny(unsafe_code)]

pub mod audio;
pub mod av;
pub mod child;
pub mod codec;
pub mod config;
pub mod images;
pub mod index;
pub mod jpeg;
pub mod meter;
#[cfg(feature = "cluster")]
pub mod metrics;
pub mod promise;
pub mod proof;
pub mod quality;
pub mod run;
pub mod scratch;
pub mod segmenter;
pub mod slot;
pub mod source;
pub mod storyboard;
pub mod task;
pub mod video;
