//! Keys below a prefix.

use sha2::{Digest, Sha256};

use crate::task::StoredObject;

/// Longest key [`is_plain_key`] accepts.
const LONGEST_KEY_BYTES: usize = 512;

/// Whether a key stays below its prefix on any kind of store, and away from what is not for slots there: plain names
/// between slashes, none of them hidden (a farm's own state is).
pub fn is_plain_key(key: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let name = |name: &str| !name.is_empty() && !name.starts_with('.') && name.bytes().all(plain);
    key.len() <= LONGEST_KEY_BYTES && key.split('/').all(name)
}

/// A segment as an object: the content's hash is in its key, so a key has one content whoever writes it and however often.
pub fn segment_object(rendition: &str, number: u64, bytes: &[u8]) -> StoredObject {
    let digest = Sha256::digest(bytes);
    let key = format!("{rendition}/{number:06}.{}.m4s", crate::hex::encode(&digest[..8]));
    StoredObject { key, size: bytes.len() as u64, sha256: digest.to_vec() }
}

/// A storyboard sheet as an object, named like segments: nothing refers to it but the thumbnail track.
pub fn sheet_object(number: usize, bytes: &[u8]) -> StoredObject {
    let digest = Sha256::digest(bytes);
    let key = format!("storyboard/{number:03}.{}.jpg", crate::hex::encode(&digest[..8]));
    StoredObject { key, size: bytes.len() as u64, sha256: digest.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_below_their_prefix() {
        for key in ["720p/000001.0a1b2c3d.m4s", "index/0-000000", "poster.jpg"] {
            assert!(is_plain_key(key), "{key}");
        }
        for key in ["", "/etc/passwd", "a/../b", "..", "a//b", "a/", ".farm/state", "a b", "a\\b", "ü", "a\0"] {
            assert!(!is_plain_key(key), "{key}");
        }
        assert!(!is_plain_key(&"a".repeat(LONGEST_KEY_BYTES + 1)));
    }
}
