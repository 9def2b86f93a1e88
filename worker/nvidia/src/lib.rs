//! NVIDIA's decoder, scaler and encoder behind a safe face. The driver is loaded when it is asked for: without one the
//! program starts all the same, and this crate says what is missing.
#![deny(unsafe_code)]
