//! Compiles the `.proto` files with a compiler written in Rust: no `protoc` needed.

use std::error::Error;
use std::path::PathBuf;

use prost_build::Config;

const WIRE: [&str; 3] = ["farm/v1/media.proto", "farm/v1/slot.proto", "farm/v1/task.proto"];
const CONTROL: &str = "farm/v1/control.proto";

fn main() -> Result<(), Box<dyn Error>> {
    for file in WIRE.iter().chain([&CONTROL]) {
        println!("cargo:rerun-if-changed={file}");
    }
    let mut config = Config::new();
    // An object is handed on as a slice of the message it came in; a `Vec` would be a copy of each segment. So are lists.
    config.bytes([".farm.v1.SlotObject.bytes", ".farm.v1.SlotRequest.lists"]);
    // The same request has the same bytes.
    config.btree_map([".farm.v1.JobSpec.labels"]);
    if std::env::var_os("CARGO_FEATURE_GRPC").is_none() {
        config.compile_fds(protox::compile(WIRE, ["."])?)?;
        return Ok(());
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo should say where to write")?);
    std::fs::write(
        out.join("control.bin"),
        protox::Compiler::new(["."])?
            .include_imports(true)
            .include_source_info(true)
            .open_file(CONTROL)?
            .encode_file_descriptor_set(),
    )?;
    let files = protox::compile(WIRE.iter().chain([&CONTROL]), ["."])?;
    tonic_prost_build::configure().compile_fds_with_config(files, config)?;
    Ok(())
}
