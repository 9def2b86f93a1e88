//! What benches share.
#![forbid(unsafe_code)]

pub mod chance;
pub mod film;
