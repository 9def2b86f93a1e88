//! Generated protobuf types; no logic and no conversions (those live in `shared::wire`).
#![forbid(unsafe_code)]

#[expect(missing_docs, reason = "generated; the comments are in the .proto files")]
#[expect(clippy::large_enum_variant, reason = "generated; messages live for one conversion")]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/farm.v1.rs"));
}
