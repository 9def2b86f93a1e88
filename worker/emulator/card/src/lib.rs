//! What the stand-ins for NVIDIA's driver share: which card they play, which faults they make, and the list of what their
//! client did wrong.
//!
//! | variable | says | without it |
//! |---|---|---|
//! | `FARM_CARD` | the cards of the machine, by their [profile](profile::named)s: `l4`, `t4,t4`, `none` | `l4` |
//! | `FARM_CARD_FAULTS` | what goes wrong, in the [grammar](fault) of faults | nothing |
//! | `FARM_CARD_VIOLATIONS` | the file that the [ledger] appends to | standard error |
//! | `FARM_CARD_SESSIONS` | a folder that processes share to count [encode sessions](session) together | each counts its own |
//!
//! They are read once, when the first stand-in asks, from the environment or else from a [file](settings) beside the
//! libraries. What is not understood is a violation, never a silent default; a ledger that can't be written ends the process.
//!
//! Each stand-in has its own copy of this crate's state, as each is a library of its own: a fault counts the calls of the
//! library that has the function.
#![deny(unsafe_code)]

pub mod fault;
pub mod folder;
pub mod ledger;
pub mod profile;
pub mod session;
pub mod settings;
mod visible;

use std::sync::OnceLock;

pub use fault::{Faults, strike};
pub use folder::{Library, folder, play};
pub use ledger::{leaked, write_violation};
pub use profile::{Card, Codec, Decodes, Encodes};
pub use session::Session;

/// Names of the variables that a test sets for its child.
pub mod variable {
    /// Which cards the machine has.
    pub const CARD: &str = "FARM_CARD";
    /// What goes wrong.
    pub const FAULTS: &str = "FARM_CARD_FAULTS";
    /// Where the ledger lies.
    pub const VIOLATIONS: &str = "FARM_CARD_VIOLATIONS";
    /// Where processes count sessions together.
    pub const SESSIONS: &str = "FARM_CARD_SESSIONS";
}

/// The cards that CUDA shows this process, in the order of their ordinals.
pub fn cards() -> &'static [Card] {
    static CARDS: OnceLock<Vec<Card>> = OnceLock::new();
    let named = || std::env::var_os("CUDA_VISIBLE_DEVICES").map(|named| named.to_string_lossy().into_owned());
    CARDS.get_or_init(|| visible::those_of(machine().to_vec(), named().as_deref()))
}

/// All cards of this machine; none is a machine with a driver and no card.
pub fn machine() -> &'static [Card] {
    static CARDS: OnceLock<Vec<Card>> = OnceLock::new();
    CARDS.get_or_init(|| {
        ledger::open();
        let names = variable_text(variable::CARD).unwrap_or_else(|| "l4".to_owned());
        profile::machine(&names).unwrap_or_else(|unknown| {
            violation!(variable::CARD, "no card is called {unknown:?}");
            Vec::new()
        })
    })
}

/// The faults to make.
pub fn faults() -> &'static Faults {
    static FAULTS: OnceLock<Faults> = OnceLock::new();
    FAULTS.get_or_init(|| {
        let written = variable_text(variable::FAULTS).unwrap_or_default();
        written.parse().unwrap_or_else(|error| {
            violation!(variable::FAULTS, "{error}");
            Faults::default()
        })
    })
}

/// The variable's text, if it is set and not empty.
fn variable_text(name: &str) -> Option<String> {
    settings::read(name).unwrap_or_else(|bytes| {
        violation!(name, "is not text: {bytes}");
        None
    })
}
