//! The player page and what it needs, inside the binary: it works with no network but this origin.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use crate::presentation::{CERTIFICATE, MANIFEST, MULTIVARIANT};

const PAGE: &str = include_str!("page.html");
const SCRIPT: &str = "text/javascript; charset=utf-8";
/// Name, type, content. `hls.js` is the npm package's `dist/hls.min.js`, unchanged (Apache-2.0, `hls.LICENSE`).
const ASSETS: [(&str, &str, &str); 5] = [
    ("player.css", "text/css; charset=utf-8", include_str!("player.css")),
    ("player.js", SCRIPT, include_str!("player.js")),
    ("facts.js", SCRIPT, include_str!("facts.js")),
    ("text.js", SCRIPT, include_str!("text.js")),
    ("hls.js", SCRIPT, include_str!("hls.min.js")),
];
/// Nothing from elsewhere; hls.js plays from blobs and runs its demuxer in a worker made from one.
const POLICY: &str = "default-src 'self'; media-src 'self' blob:; worker-src 'self' blob:; \
                      img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'";

/// `GET /`.
pub(super) async fn html(State(dir): State<Arc<PathBuf>>) -> Response {
    let full = std::path::absolute(dir.as_path()).unwrap_or_else(|_| dir.to_path_buf());
    let name = full.file_name().map_or_else(|| "presentation".into(), |name| name.to_string_lossy().into_owned());
    let page = PAGE
        .replace("{{playlist}}", MULTIVARIANT)
        .replace("{{manifest}}", MANIFEST)
        .replace("{{certificate}}", CERTIFICATE)
        .replace("{{name}}", &escape(&name));
    let headers =
        [(CONTENT_TYPE, "text/html; charset=utf-8"), (CACHE_CONTROL, "no-cache"), (CONTENT_SECURITY_POLICY, POLICY)];
    (headers, page).into_response()
}

/// `GET /~player/NAME`.
pub(super) async fn asset(Path(wanted): Path<String>) -> Response {
    match ASSETS.iter().find(|(name, ..)| *name == wanted) {
        Some((_, kind, content)) => ([(CONTENT_TYPE, *kind), (CACHE_CONTROL, "no-cache")], *content).into_response(),
        None => (StatusCode::NOT_FOUND, "there is no such part of the player\n").into_response(),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_asks_for_nothing_from_elsewhere() {
        for text in ASSETS.iter().filter(|(name, ..)| *name != "hls.js").map(|(.., content)| *content).chain([PAGE]) {
            assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("src=\"//"));
        }
    }

    #[tokio::test]
    async fn a_folder_name_cannot_become_markup() {
        let dir = Arc::new(PathBuf::from("/x/<script>\"&"));
        let body = axum::body::to_bytes(html(State(dir)).await.into_body(), 1 << 20).await.unwrap();
        let page = String::from_utf8(body.to_vec()).unwrap();
        assert!(page.contains("<h1>&lt;script&gt;&quot;&amp;</h1>"), "{page}");
        assert!(!page.contains("{{"), "a placeholder was left: {page}");
    }
}
