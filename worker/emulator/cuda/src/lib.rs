//! A stand-in for libcuda that checks every call and does the work on the host.
#![deny(unsafe_code)]
