//! Sources of web servers, against a server that does what its paths say.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shared::error::{ErrorKind, TaskError};
use shared::storage::{RemoteSource, StorageConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const CONTENT: &[u8] = b"0123456789";

/// Answers `GET`s; counts them.
struct WebServer {
    port: u16,
    asked: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl WebServer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, asked) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let count = asked.clone();
        let serve = async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = count.fetch_add(1, Ordering::Relaxed);
                answer(stream, number).await;
            }
        };
        Self { port, asked, _serving: JoinSet::from_iter([serve]) }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// One request on each connection.
async fn answer(mut stream: TcpStream, number: usize) {
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).await.is_ok() {
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).unwrap().to_ascii_lowercase();
    let path = request.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap().to_owned();
    let range = request.lines().find_map(|line| line.strip_prefix("range: bytes=")).unwrap_or("0-9");
    let (first, last) = range.split_once('-').unwrap();
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.trim().parse::<usize>().unwrap().min(9));
    let part = |e_tag: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{last}/10\r\nETag: \"{e_tag}\"\r\nContent-Length: {}\r\n",
            last + 1 - first
        );
        (head, body.to_vec())
    };
    let body = &CONTENT[first..=last];
    let status = |line: &str| (format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n"), Vec::new());
    let to = |place: &str| (format!("HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n"), Vec::new());
    let (head, body) = match path.as_str() {
        "/clip" => part("a", body),
        "/changing" => part(&number.to_string(), body),
        "/short" if number > 0 => part("a", &body[..body.len() - 1]),
        "/short" => part("a", body),
        "/shaky" if number.is_multiple_of(2) => status("503 Service Unavailable"),
        "/shaky" => part("a", body),
        "/whole" => ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n".to_owned(), CONTENT.to_vec()),
        "/empty" => (
            "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */0\r\nContent-Length: 0\r\n".to_owned(),
            vec![],
        ),
        "/forbidden" => status("403 Forbidden"),
        "/down" => status("502 Bad Gateway"),
        "/moved" => to("clip"),
        "/circle" => to("circle"),
        "/inside" => to("http://localhost/latest/meta-data"),
        "/file" => to("file:///etc/passwd"),
        _ => status("404 Not Found"),
    };
    // Whoever asked may have gone.
    let _ = stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).await;
    let _ = stream.write_all(&body).await;
}

fn config() -> StorageConfig {
    StorageConfig {
        web_allow_http: true,
        web_allow_private: true,
        web_hosts: vec!["127.0.0.1".into()],
        retries: 1,
        retry_pause_ms: 1,
        ..StorageConfig::default()
    }
}

async fn refusal(server: &WebServer, path: &str, config: &StorageConfig) -> TaskError {
    match RemoteSource::open(&server.url(path), config).await {
        Ok(source) => source.read(0, 5).await.unwrap_err(),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_web_source_is_read_by_ranges_wherever_it_has_moved_and_however_shaky_its_server() {
    let server = WebServer::start().await;
    for path in ["clip", "moved", "shaky"] {
        let source = RemoteSource::open(&server.url(path), &config()).await.unwrap();
        assert_eq!(source.size_bytes(), 10, "{path}");
        assert_eq!(source.read(2, 3).await.unwrap(), "234", "{path}");
        assert_eq!(source.read(0, 10).await.unwrap(), CONTENT, "{path}");
        assert_eq!(source.read(8, 3).await.unwrap_err().code, "source_changed", "{path}");
    }
    assert_eq!(RemoteSource::open(&server.url("empty"), &config()).await.unwrap().size_bytes(), 0);
}

#[tokio::test]
async fn what_is_wrong_with_a_web_source_is_told_without_its_query() {
    let server = WebServer::start().await;
    for (path, kind, code) in [
        ("changing?signature=secret", ErrorKind::Input, "source_changed"),
        ("gone?signature=secret", ErrorKind::Input, "source_missing"),
        ("forbidden?signature=secret", ErrorKind::Input, "source_denied"),
        ("whole?signature=secret", ErrorKind::Input, "source_no_ranges"),
        ("circle?signature=secret", ErrorKind::Input, "source_redirect"),
        ("inside?signature=secret", ErrorKind::Input, "source_refused"),
        ("file?signature=secret", ErrorKind::Input, "source_refused"),
        ("down?signature=secret", ErrorKind::Transient, "source_unavailable"),
    ] {
        let error = refusal(&server, path, &config()).await;
        assert_eq!((error.kind, error.code.as_str()), (kind, code), "{path}: {error}");
        assert!(!error.message.contains("secret"), "{error}");
    }
    let small = StorageConfig { largest_source_bytes: 9, ..config() };
    assert_eq!(refusal(&server, "clip", &small).await.code, "source_too_large");
}

#[tokio::test]
async fn an_answer_that_ends_early_is_no_part_of_a_source() {
    let server = WebServer::start().await;
    let error = refusal(&server, "short", &config()).await;
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Transient, "source_unavailable"));
}

#[tokio::test]
async fn nothing_inside_is_asked_for_unless_it_is_allowed() {
    let server = WebServer::start().await;
    let config = StorageConfig { web_allow_private: false, web_hosts: vec![], ..config() };
    let by_name = format!("http://localhost:{}/clip", server.port);
    for url in [server.url("clip"), by_name] {
        let error = RemoteSource::open(&url, &config).await.err().unwrap();
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Input, "source_refused"), "{error}");
    }
    assert_eq!(server.asked(), 0);
}
