//! What `deploy/` promises, on real servers: the accounts there are enough for a farm, its backups bring one back, and it
//! becomes another version while it works.

mod accounts;
mod records;
mod restore;
#[allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
#[path = "../support/mod.rs"]
mod support;
mod upgrade;
