//! What the stand-ins for NVIDIA's driver share: which card they play, which faults they make, and the list of what their
//! client did wrong.
#![deny(unsafe_code)]
