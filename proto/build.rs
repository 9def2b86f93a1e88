//! Compiles the `.proto` files with a compiler written in Rust: no `protoc` needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["farm/v1/media.proto", "farm/v1/slot.proto", "farm/v1/task.proto"];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    // An object is handed on as a slice of the message it came in; a `Vec` would be a copy of each segment. So are lists.
    prost_build::Config::new()
        .bytes([".farm.v1.SlotObject.bytes", ".farm.v1.SlotRequest.lists"])
        .compile_fds(protox::compile(files, ["."])?)?;
    Ok(())
}
