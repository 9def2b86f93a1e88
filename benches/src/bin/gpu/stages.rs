//! What is looked at, one file each.

mod decode;
mod farm;
mod inventory;
mod kernels;
mod ladder;
mod nvenc;
mod parallel;
mod zero_copy;

use std::process::ExitCode;

use anyhow::Result;

use crate::Stage;
use crate::bench::Bench;
use crate::findings::Findings;

/// Runs one stage in this process.
///
/// # Errors
/// It could not be finished; what it has found so far has been told.
pub fn run(stage: Stage, bench: &Bench, findings: &mut Findings) -> Result<ExitCode> {
    match stage {
        Stage::Look => inventory::look(),
        Stage::Inventory => inventory::run(bench, findings)?,
        Stage::Kernels => kernels::run(bench, findings)?,
        Stage::Decode => decode::run(bench, findings)?,
        Stage::Parallel => parallel::run(bench, findings)?,
        Stage::Nvenc => nvenc::run(bench, findings)?,
        Stage::ZeroCopy => zero_copy::run(bench, findings)?,
        Stage::Ladder => ladder::run(bench, findings)?,
        Stage::Farm => farm::run(bench, findings)?,
    }
    Ok(if findings.is_right() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
