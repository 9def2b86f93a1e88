//! Compiles the kernels for the host as well: the plain path that the GPU is compared with, bit by bit.

fn main() {
    println!("cargo::rerun-if-changed=kernels");
    cc::Build::new()
        .file("kernels/scale.cu")
        .flags(["-x", "c", "-std=c11"])
        .opt_level(2) // in debug builds too: tests compare whole pictures
        .compile("nvidia_kernels");
}
