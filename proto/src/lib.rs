//! Generated protobuf types; no logic and no conversions (those live in `shared::wire` and `coordinator::api`).
#![forbid(unsafe_code)]

#[expect(missing_docs, reason = "generated; the comments are in the .proto files")]
#[expect(clippy::large_enum_variant, reason = "generated; messages live for one conversion")]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/farm.v1.rs"));

    /// The control API as a `FileDescriptorSet` with comments, for reflection and for tests.
    #[cfg(feature = "grpc")]
    pub const CONTROL_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/control.bin"));
}
