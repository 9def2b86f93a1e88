//! The origin: a presentation folder over HTTP, with the headers a CDN and a browser need.
//!
//! Objects are labelled as [`shared::storage::label`] says; while the presentation is growing, caches keep only what never
//! changes. The player page, `/` and `/~player/…`, is not kept at all.
//!
//! Everything allows any origin, answers `Range`, and nothing hidden (`.farm`) or escaped is ever looked up.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use shared::storage::label;
use tower_http::cors::{Any, CorsLayer};
use tower_http::services::ServeDir;
use tower_http::set_header::SetResponseHeaderLayer;

use super::page;
use crate::presentation::CERTIFICATE;

const NOT_AT_ALL: HeaderValue = HeaderValue::from_static("no-cache");

/// Serves the presentation in `dir`: mountable anywhere, used by `farm play` and by tests.
pub fn router(dir: impl Into<PathBuf>) -> Router {
    let dir = Arc::new(dir.into());
    let files = ServeDir::new(dir.as_path()).append_index_html_on_directories(false);
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::HEAD])
        .allow_headers([RANGE, HeaderName::from_static("if-modified-since")])
        .expose_headers([CONTENT_LENGTH, CONTENT_RANGE, ACCEPT_RANGES])
        .max_age(std::time::Duration::from_secs(86_400));
    let objects = Router::new().fallback_service(files).layer(middleware::from_fn_with_state(dir.clone(), label));
    Router::new()
        .route("/", get(page::html).with_state(dir))
        .route("/~player/{asset}", get(page::asset))
        .fallback_service(objects)
        .layer(SetResponseHeaderLayer::overriding(
            HeaderName::from_static("x-content-type-options"),
            HeaderValue::from_static("nosniff"),
        ))
        .layer(cors)
}

/// Turns away what is not an object's name, and says how long and as what an object may be kept.
async fn label(State(dir): State<Arc<PathBuf>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    if !is_object_name(&path) {
        return missing(&path);
    }
    let mut response = next.run(request).await;
    match response.status() {
        StatusCode::NOT_FOUND => return missing(&path),
        status if status.is_success() || status == StatusCode::NOT_MODIFIED => {
            let growing = !tokio::fs::try_exists(dir.join(CERTIFICATE)).await.unwrap_or(false);
            response.headers_mut().insert(CACHE_CONTROL, cache_control(&path, growing));
            if let Some(kind) = label::content_type(&path) {
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            }
        }
        _ => {
            response.headers_mut().insert(CACHE_CONTROL, NOT_AT_ALL);
        }
    }
    response
}

fn missing(path: &str) -> Response {
    let text = format!("there is no {path} in this presentation\n");
    (StatusCode::NOT_FOUND, [(CACHE_CONTROL, NOT_AT_ALL)], text).into_response()
}

/// Object names hold no hidden part, no step upwards and nothing that needs escaping.
fn is_object_name(path: &str) -> bool {
    let parts = path.strip_prefix('/').unwrap_or(path);
    !path.contains(['%', '\\']) && parts.split('/').all(|part| !part.is_empty() && !part.starts_with('.'))
}

/// While the presentation grows, only what never changes is kept.
fn cache_control(path: &str, growing: bool) -> HeaderValue {
    if growing && !label::is_content_named(path) {
        return NOT_AT_ALL;
    }
    HeaderValue::from_static(label::cache_control(path))
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS,
        ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
    };
    use tower::ServiceExt;

    use super::*;

    const SEGMENT: &str = "/v720/000003.0123456789abcdef.m4s";

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in [
            ("master.m3u8", "#EXTM3U"),
            ("manifest.mpd", "<MPD/>"),
            ("storyboard.vtt", "WEBVTT"),
            ("poster.jpg", "jpeg"),
            ("v720/playlist.m3u8", "#EXTM3U"),
            (&SEGMENT[1..], "0123456789"),
            ("v720/init.fedcba9876543210.mp4", "init"),
            ("v720.mp4", "movie"),
            (".farm/state.redb", "secret"),
            ("v720/.farm/state", "secret"),
            ("presentation.json", "{}"),
        ] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        dir
    }

    async fn ask(dir: &tempfile::TempDir, request: axum::http::request::Builder) -> Response {
        router(dir.path()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn fetch(dir: &tempfile::TempDir, path: &str) -> Response {
        ask(dir, Request::get(path)).await
    }

    fn header(response: &Response, name: HeaderName) -> &str {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[tokio::test]
    async fn objects_are_typed_and_kept_as_long_as_they_stay_true() {
        let dir = folder();
        let (minute, year) = ("public, max-age=60", "public, max-age=31536000, immutable");
        for (path, kind, kept) in [
            ("/master.m3u8", "application/vnd.apple.mpegurl", minute),
            ("/v720/playlist.m3u8", "application/vnd.apple.mpegurl", minute),
            ("/manifest.mpd", "application/dash+xml", minute),
            ("/storyboard.vtt", "text/vtt", minute),
            ("/poster.jpg", "image/jpeg", minute),
            ("/presentation.json", "application/json", minute),
            ("/v720.mp4", "video/mp4", minute),
            (SEGMENT, "video/mp4", year),
            ("/v720/init.fedcba9876543210.mp4", "video/mp4", year),
        ] {
            let response = fetch(&dir, path).await;
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert_eq!((header(&response, CONTENT_TYPE), header(&response, CACHE_CONTROL)), (kind, kept), "{path}");
        }
    }

    #[tokio::test]
    async fn playlists_are_not_kept_while_the_presentation_grows() {
        let dir = folder();
        std::fs::remove_file(dir.path().join(CERTIFICATE)).unwrap();
        assert_eq!(header(&fetch(&dir, "/master.m3u8").await, CACHE_CONTROL), "no-cache");
        assert!(header(&fetch(&dir, SEGMENT).await, CACHE_CONTROL).ends_with("immutable"));
    }

    #[tokio::test]
    async fn ranges_are_answered() {
        let dir = folder();
        let response = ask(&dir, Request::get(SEGMENT).header(RANGE, "bytes=2-4")).await;
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(header(&response, CONTENT_RANGE), "bytes 2-4/10");
        assert!(header(&response, CACHE_CONTROL).ends_with("immutable"));
        assert_eq!(to_bytes(response.into_body(), 100).await.unwrap(), "234");
        let beyond = ask(&dir, Request::get(SEGMENT).header(RANGE, "bytes=10-")).await;
        assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
        assert_eq!(header(&beyond, CACHE_CONTROL), "no-cache");
    }

    #[tokio::test]
    async fn any_origin_may_ask_for_ranges() {
        let dir = folder();
        let elsewhere = "https://app.example";
        for path in [SEGMENT, "/master.m3u8", "/nothing.m4s"] {
            let response = ask(&dir, Request::get(path).header(ORIGIN, elsewhere)).await;
            assert_eq!(header(&response, ACCESS_CONTROL_ALLOW_ORIGIN), "*", "{path}");
        }
        let preflight = Request::options(SEGMENT)
            .header(ORIGIN, elsewhere)
            .header(ACCESS_CONTROL_REQUEST_METHOD, "GET")
            .header(ACCESS_CONTROL_REQUEST_HEADERS, "range");
        let response = ask(&dir, preflight).await;
        assert!(response.status().is_success());
        assert!(header(&response, ACCESS_CONTROL_ALLOW_HEADERS).contains("range"));
    }

    #[tokio::test]
    async fn what_is_hidden_or_above_is_not_there() {
        let dir = folder();
        let inner = dir.path().join("v720");
        for path in [
            "/.farm/state.redb",
            "/v720/.farm/state",
            "/%2efarm/state.redb",
            "/v720/../.farm/state.redb",
            "/../master.m3u8",
            "/..%2fmaster.m3u8",
            "/%2e%2e/master.m3u8",
            "/..%5cmaster.m3u8",
            "//master.m3u8",
        ] {
            let request = || Request::get(path).body(Body::empty()).unwrap();
            for root in [dir.path(), &inner] {
                let response = router(root).oneshot(request()).await.unwrap();
                assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path} of {}", root.display());
            }
        }
    }

    #[tokio::test]
    async fn missing_objects_and_folders_are_named() {
        let dir = folder();
        for path in ["/v720/000009.0123456789abcdef.m4s", "/v720", "/v720/"] {
            let response = fetch(&dir, path).await;
            assert_eq!((response.status(), header(&response, CACHE_CONTROL)), (StatusCode::NOT_FOUND, "no-cache"));
            let text = to_bytes(response.into_body(), 1000).await.unwrap();
            assert_eq!(text, format!("there is no {path} in this presentation\n"));
        }
        assert_eq!(ask(&dir, Request::post("/master.m3u8")).await.status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[tokio::test]
    async fn the_player_comes_from_this_origin() {
        let dir = folder();
        let page = fetch(&dir, "/").await;
        assert_eq!(header(&page, CONTENT_TYPE), "text/html; charset=utf-8");
        for asset in ["hls.js", "player.js", "facts.js", "text.js", "player.css"] {
            assert_eq!(fetch(&dir, &format!("/~player/{asset}")).await.status(), StatusCode::OK, "{asset}");
        }
        assert_eq!(fetch(&dir, "/~player/origin.rs").await.status(), StatusCode::NOT_FOUND);
    }
}
