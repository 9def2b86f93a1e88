//! The GPU path on stand-ins for NVIDIA's libraries: what a card proves, chunks in every placement, and what becomes of
//! each fault. The stand-ins check every call; what they complain of fails the test.
//!
//! This test program is its own slot program.

mod chunks;
mod corruption;
mod faults;
#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "../support/indexed.rs"]
mod indexed;
mod pictures;
mod proof;
mod scene;

use worker::child::run_child;

// Only loaded at run time; named here so that they are built.
use emulated_cuda as _;
use emulated_cuvid as _;
use emulated_encode as _;

/// Run with this argument, the test below is no test but the slot program of all others.
const AS_SLOT: &str = "as-slot";
const SLOT_TEST: &str = "is_the_slot_program";

#[test]
fn is_the_slot_program() {
    if std::env::args().any(|arg| arg == AS_SLOT) {
        std::process::exit(i32::from(format!("{:?}", run_child()) != format!("{:?}", std::process::ExitCode::SUCCESS)));
    }
}
