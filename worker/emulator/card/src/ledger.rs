//! What the client did wrong, one line each: `cuMemFree: 0x7f00 was freed before`.
//!
//! A call that a driver would refuse is only a violation where a careful client would not have made it: asking for a codec
//! that the card lacks is none, giving back what was given back already is one.

use std::fmt::Arguments;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::OnceLock;

use crate::{settings, variable};

/// Writes a violation: the function that was called, then what was wrong as in `format!`.
#[macro_export]
macro_rules! violation {
    ($function:expr, $($what:tt)+) => {
        $crate::write_violation($function, format_args!($($what)+))
    };
}

/// Has a function without arguments called when the library is unloaded or the process ends in good order: the place to
/// tell what was never given back.
#[macro_export]
macro_rules! at_unload {
    ($function:path) => {
        // SAFETY: the loader calls what stands in this section, one after the other, without arguments, once, before the
        // library's code and data go away.
        #[used]
        #[unsafe(link_section = ".fini_array")]
        static AT_UNLOAD: extern "C" fn() = {
            extern "C" fn unload() {
                $function()
            }
            unload
        };
    };
}

/// Appends one line to the ledger. Lines of several threads and processes never mix: each is one write at the end of the
/// file.
pub fn write_violation(function: &str, what: Arguments<'_>) {
    let line = format!("{function}: {what}\n");
    let written = match open() {
        Some(mut file) => file.write_all(line.as_bytes()),
        None => std::io::stderr().write_all(line.as_bytes()),
    };
    written.unwrap_or_else(|error| unwritable(&error));
}

/// Tells at unload how many of something were never given back; nothing if none.
pub fn leaked(what: &str, count: usize) {
    if count > 0 {
        violation!("unload", "{count} {what} never given back");
    }
}

/// The file, if one is named. It is opened when the first stand-in asks for its card, so that one that can't be written is
/// found out by the first call, and not by the first violation.
pub(crate) fn open() -> Option<&'static File> {
    static LEDGER: OnceLock<Option<File>> = OnceLock::new();
    let open = || {
        let path = settings::read(variable::VIOLATIONS).unwrap_or_else(|bytes| {
            unwritable(&std::io::Error::other(format!("{bytes} is not text")));
        })?;
        let opened = OpenOptions::new().create(true).append(true).open(path);
        Some(opened.unwrap_or_else(|error| unwritable(&error)))
    };
    LEDGER.get_or_init(open).as_ref()
}

/// A list that can't be written must not look like an empty one, and there is nobody to return an error to.
fn unwritable(error: &std::io::Error) -> ! {
    eprintln!("the ledger of violations can't be written: {error}");
    std::process::abort();
}
