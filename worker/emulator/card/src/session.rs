//! Encode sessions counted over all processes of a system, as GeForce drivers do.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::variable;

/// The right to one session. Dropping it gives it back, and so does the death of the process.
#[derive(Debug)]
pub struct Session(Place);

#[derive(Debug)]
enum Place {
    /// Held as long as the file is locked.
    Shared(#[expect(dead_code, reason = "held for its lock")] File),
    /// One of this process's own.
    Own,
}

static OWN: AtomicU32 = AtomicU32::new(0);

impl Session {
    /// One of `most`, or none if all are taken.
    pub fn take(most: u32) -> Option<Self> {
        let Some(folder) = crate::variable_text(variable::SESSIONS) else {
            let take = |taken| (taken < most).then_some(taken + 1);
            return OWN.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).ok().map(|_| Self(Place::Own));
        };
        let folder = PathBuf::from(folder);
        (0..most).find_map(|number| {
            let file = File::create(folder.join(number.to_string()));
            let file = file.inspect_err(|error| crate::violation!(variable::SESSIONS, "{error}")).ok()?;
            file.try_lock().ok().map(|()| Self(Place::Shared(file)))
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Place::Own = self.0 {
            OWN.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_free_again_when_it_was_given_back() {
        let first = Session::take(2).unwrap();
        let _second = Session::take(2).unwrap();
        assert!(Session::take(2).is_none());
        drop(first);
        assert!(Session::take(2).is_some());
    }
}
