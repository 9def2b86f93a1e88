//! The stand-in as its clients see it: loaded by its path, in processes of their own.

mod client;
mod misdeeds;
mod work;
