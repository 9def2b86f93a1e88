//! A stand-in for libnvcuvid that checks every call and does the work on the host.
#![deny(unsafe_code)]
