//! Every session and every handle that was ever given out, so that a wrong one can be named: never given out, another
//! session's, or given back before.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::session::Session;

/// What a handle stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An open session.
    Session,
    /// An input buffer.
    Input,
    /// An output buffer.
    Output,
    /// Memory of the client's that is registered.
    Registered,
    /// The same, mapped.
    Mapped,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Session => "session",
            Self::Input => "input buffer",
            Self::Output => "bitstream buffer",
            Self::Registered => "registered resource",
            Self::Mapped => "mapped resource",
        })
    }
}

struct Given {
    kind: Kind,
    session: usize,
    returned: bool,
}

static HANDLES: Mutex<BTreeMap<usize, Given>> = Mutex::new(BTreeMap::new());
static SESSIONS: Mutex<Option<HashMap<usize, Arc<Session>>>> = Mutex::new(None);
/// Handles are numbers that no allocator gives out: they are looked up, never followed.
static NEXT: AtomicUsize = AtomicUsize::new(0x00e0_0010);

/// A lock that outlives a panic: the state behind it is only looked at to say what is wrong.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A new handle of this kind for that session; a session's own is its `session` too.
pub fn hand_out(kind: Kind, session: Option<usize>) -> usize {
    let handle = NEXT.fetch_add(0x10, Ordering::Relaxed);
    lock(&HANDLES).insert(handle, Given { kind, session: session.unwrap_or(handle), returned: false });
    handle
}

/// The handle is no longer good.
pub fn take_back(handle: usize) {
    if let Some(given) = lock(&HANDLES).get_mut(&handle) {
        given.returned = true;
    }
}

/// Why this handle is not one of that kind in that session.
pub fn explain(handle: usize, wanted: Kind, session: usize) -> String {
    let handles = lock(&HANDLES);
    match handles.get(&handle) {
        None => format!("{handle:#x} is no {wanted}: it was never given out"),
        Some(given) if given.kind != wanted => format!("{handle:#x} is no {wanted}: its kind is {}", given.kind),
        Some(given) if given.session != session => format!("{wanted} {handle:#x} is of another session"),
        Some(_) => format!("{wanted} {handle:#x} was given back before"),
    }
}

/// The open session with this handle.
pub fn session(handle: usize) -> Option<Arc<Session>> {
    lock(&SESSIONS).as_ref()?.get(&handle).cloned()
}

/// From now on the session can be found.
pub fn opened(session: Arc<Session>) {
    lock(&SESSIONS).get_or_insert_default().insert(session.handle, session);
}

/// From now on it can't.
pub fn closed(handle: usize) {
    if let Some(sessions) = lock(&SESSIONS).as_mut() {
        sessions.remove(&handle);
    }
    take_back(handle);
}

/// Tells of the sessions that were never destroyed.
pub fn unload() {
    let open = lock(&SESSIONS).as_ref().map_or(0, HashMap::len);
    card::leaked("encode sessions", open);
}
