//! What `deploy/` promises, on real servers: the accounts there are enough for a farm, and its backups bring one back.

mod accounts;
mod restore;
#[allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
#[path = "../support/mod.rs"]
mod support;
