//! A stand-in for libcuda: it checks every call, keeps device memory in memory of the host, and runs the kernels of
//! `worker/nvidia/kernels` as they were built for the host.
//!
//! What it takes note of, in the ledger of [`card`], beside refusing it:
//!
//! * calls before `cuInit`, without a current context, or with a handle that is unknown, was destroyed, or belongs to
//!   another context;
//! * memory that is used beyond its end or after it was freed, freed twice, or freed by the middle; host memory where
//!   device memory is wanted and the other way round; kernel arguments that point nowhere;
//! * what was not given back when the library is unloaded.
//!
//! Device memory can't be read or written by the host but through calls: everybody who tries dies of SIGSEGV, as does a
//! kernel that leaves the allocations it was given.
//!
//! Work is done at once. With the fault `lazy_streams` it waits on its stream until somebody waits for it, so that a client
//! that forgets to do so reads what was there before.
#![deny(unsafe_code)]

mod absent;
mod allocate;
mod context;
mod copy;
mod device;
mod driver;
mod event;
mod memory;
mod module;
mod status;
mod stream;

card::at_unload!(driver::tell_what_is_left);
