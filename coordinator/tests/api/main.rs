//! The control API against a coordinator that has no workers: rights, requests, lists, forwarding.

mod archive;
mod forwarding;
mod requests;
mod rights;
mod stand;
