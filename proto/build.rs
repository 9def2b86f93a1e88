//! Compiles the `.proto` files with a compiler written in Rust: no `protoc` needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["farm/v1/media.proto", "farm/v1/task.proto"];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    prost_build::Config::new().compile_fds(protox::compile(files, ["."])?)?;
    Ok(())
}
