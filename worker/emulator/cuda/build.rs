//! Compiles the kernels for the host: what the stand-in runs when they are launched.

fn main() {
    let kernels = "../../nvidia/kernels";
    println!("cargo::rerun-if-changed={kernels}");
    cc::Build::new()
        .file(format!("{kernels}/scale.cu"))
        .flags(["-x", "c", "-std=c11"])
        .opt_level(2) // in debug builds too: tests scale whole clips
        .compile("launched_kernels");
}
