//! Event scripts against the core: what the farm does when things go wrong, with no worker, no disk and no clock.

mod archiving;
mod classes;
mod commits;
mod counting;
mod families;
mod fleet;
mod giving_way;
mod invariants;
mod looping;
mod requests;
mod restart;
mod scripts;
mod stock;
mod traces;
mod world;
