//! A stand-in for libnvidia-encode that checks every call and does the work on the host.
#![deny(unsafe_code)]
