//! The stand-in as its clients see it: FFmpeg, and a small client of the newer API in processes of its own.

mod client;
mod coding;
mod faults;
mod ffmpeg;
mod machine;
mod misdeeds;
mod refusals;
