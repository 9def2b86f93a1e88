//! The control API against a coordinator that has no workers: rights, requests, lists, forwarding.

mod archive;
mod forwarding;
#[cfg(feature = "cluster")]
mod metered;
mod requests;
mod rights;
mod stand;
