//! The names in an output folder, and what they say about it.

/// The HLS multivariant playlist: appears when every rendition has its first segment.
pub const MULTIVARIANT: &str = "master.m3u8";
/// The DASH manifest.
pub const MANIFEST: &str = "manifest.mpd";
/// The certificate: its presence means that the presentation is complete.
pub const CERTIFICATE: &str = "presentation.json";
/// State and intermediate objects of a run that has not ended.
pub const HIDDEN: &str = ".farm";
