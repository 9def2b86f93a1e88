//! The farm's own programs on stand-ins for NVIDIA's libraries: whatever a card can do, and whatever goes wrong with it, the
//! presentation is right, and it says what it was made on.

mod cards;
mod faults;
mod fleet;
mod lost;
mod machine;
#[allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
#[path = "../support/mod.rs"]
mod support;

// Only loaded at run time; named here so that they are built.
use emulated_cuda as _;
use emulated_cuvid as _;
use emulated_encode as _;
