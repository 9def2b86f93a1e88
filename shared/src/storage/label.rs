//! What an object is and how long it may be kept, by its key: what a store, an origin and a cache tell players.
//!
//! | key | type | kept by caches |
//! |---|---|---|
//! | `*.m3u8`, `*.mpd`, text, and `poster.jpg`, which people link to by name | by extension | 60 s |
//! | names that carry a content hash (`<name>.<16 hex>.<ext>`): media, storyboard sheets | `video/mp4` … | one year, immutable |

/// `Cache-Control` of what never changes under its name.
pub const ONE_YEAR: &str = "public, max-age=31536000, immutable";
/// `Cache-Control` of everything else.
pub const ONE_MINUTE: &str = "public, max-age=60";

/// Digits of a content hash in a name.
const HASH_DIGITS: usize = 16;

/// `Content-Type`, where the extension says it.
pub fn content_type(key: &str) -> Option<&'static str> {
    let (_, extension) = key.rsplit_once('.')?;
    Some(match extension {
        "m3u8" => "application/vnd.apple.mpegurl",
        "mpd" => "application/dash+xml",
        "m4s" | "mp4" => "video/mp4",
        "vtt" => "text/vtt",
        "jpg" => "image/jpeg",
        "json" => "application/json",
        _ => return None,
    })
}

/// `Cache-Control`.
pub fn cache_control(key: &str) -> &'static str {
    if is_content_named(key) { ONE_YEAR } else { ONE_MINUTE }
}

/// Whether the content's hash is in the name, `<name>.<16 hex>.<ext>`, so that the name never gets other bytes.
pub fn is_content_named(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or(key);
    let mut parts = name.rsplit('.').skip(1);
    let hashed = |part: &str| part.len() == HASH_DIGITS && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    parts.next().is_some_and(hashed) && parts.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_with_a_hash_are_kept_for_ever() {
        for key in ["v720/000003.0123456789abcdef.m4s", "v720/init.fedcba9876543210.mp4", "a.0123456789abcdef.jpg"] {
            assert_eq!(cache_control(key), ONE_YEAR, "{key}");
        }
        for key in
            ["master.m3u8", "poster.jpg", "v720/0123456789abcdef.m4s", "a.0123456789abcdef/b.m4s", "index/0-000000"]
        {
            assert_eq!(cache_control(key), ONE_MINUTE, "{key}");
        }
    }
}
