//! Sources of web servers, by ranges. Everything that is asked for has passed the [`Guard`].

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, LAST_MODIFIED, LOCATION, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};

use super::SERVER_DOWN;
use super::StorageConfig;
use super::guard::{Guard, Refused};
use crate::error::{ErrorKind, TaskError};

/// Pauses double, so more than this would take for ever.
const MOST_RETRIES: u32 = 10;

/// Where a web source is.
#[derive(Debug, Clone)]
pub(super) struct WebSource {
    client: Client,
    guard: Guard,
    url: Url,
    redirects: u32,
    retries: u32,
    retry_pause: Duration,
}

/// What a web source is recognised by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WebMark {
    pub(super) size: u64,
    e_tag: Option<String>,
    modified: Option<String>,
}

impl WebMark {
    /// Another one, other bytes; as far as the server says.
    pub(super) fn version(&self) -> String {
        let said = self.e_tag.as_ref().or(self.modified.as_ref());
        said.cloned().unwrap_or_default()
    }
}

/// One answer to a request for a range.
struct Part {
    mark: WebMark,
    first: u64,
    response: Response,
}

impl WebSource {
    pub(super) fn new(uri: &str, config: &StorageConfig) -> Result<Self, TaskError> {
        let guard = Guard::new(config);
        let url = guard.check(uri).map_err(|error| refused(uri, &error))?;
        let client = Client::builder()
            .redirect(Policy::none()) // each is checked, in `ask`
            .no_proxy()
            .dns_resolver(guard.clone())
            .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
            .timeout(Duration::from_millis(config.request_timeout_ms))
            .build()
            .map_err(|error| TaskError::bug(format!("web client: {error}")))?;
        let retry_pause = Duration::from_millis(config.retry_pause_ms);
        Ok(Self { client, guard, url, redirects: config.web_redirects, retries: config.retries, retry_pause })
    }

    /// Without what may be secret in it.
    pub(super) fn name(&self) -> String {
        shown(&self.url)
    }

    /// Finds out what is there.
    pub(super) async fn look(&self) -> Result<WebMark, TaskError> {
        let mut pauses = self.pauses();
        loop {
            match self.ask(0, 1).await {
                Err(error) => tokio::time::sleep(again_after(error, &mut pauses)?).await,
                Ok(part) => return Ok(part.mark),
            }
        }
    }

    /// Reads `len` bytes from `offset` of what `mark` is of; `None` if something else is there now.
    pub(super) async fn read(&self, mark: &WebMark, offset: u64, len: u64) -> Result<Option<Bytes>, TaskError> {
        let mut pauses = self.pauses();
        loop {
            match self.read_once(mark, offset, len).await {
                Err(error) => tokio::time::sleep(again_after(error, &mut pauses)?).await,
                Ok(read) => return Ok(read),
            }
        }
    }

    async fn read_once(&self, mark: &WebMark, offset: u64, len: u64) -> Result<Option<Bytes>, TaskError> {
        let mut part = self.ask(offset, len).await?;
        if part.mark != *mark || part.first != offset {
            return Ok(None);
        }
        let mut bytes = BytesMut::new();
        while let Some(more) = part.response.chunk().await.map_err(|error| self.broken(&error))? {
            bytes.extend_from_slice(&more);
            if bytes.len() as u64 > len {
                return Err(self.wrong("source_no_ranges", "its server sends more than was asked for"));
            }
        }
        if bytes.len() as u64 != len {
            return Err(TaskError::transient(SERVER_DOWN, format!("{}: the answer ends early", self.name())));
        }
        Ok(Some(bytes.freeze()))
    }

    /// Before each retry.
    fn pauses(&self) -> impl Iterator<Item = Duration> + Send + use<> {
        let first = self.retry_pause;
        (0..self.retries.min(MOST_RETRIES)).map(move |retry| first * 2u32.pow(retry))
    }

    /// Asks for a range, wherever the server sends on to.
    async fn ask(&self, offset: u64, len: u64) -> Result<Part, TaskError> {
        let mut url = self.url.clone();
        for _ in 0..=self.redirects {
            self.guard.check_url(&url).map_err(|error| refused(&shown(&url), &error))?;
            let range = format!("bytes={offset}-{}", offset + (len - 1));
            let sent = self.client.get(url.clone()).header(RANGE, range).send().await;
            let response = sent.map_err(|error| self.broken(&error))?;
            if !response.status().is_redirection() {
                return self.understand(response);
            }
            let target = text(response.headers(), LOCATION).and_then(|target| url.join(&target).ok());
            url = target.ok_or_else(|| self.wrong("source_redirect", "sends on to nowhere"))?;
        }
        Err(self.wrong("source_redirect", "sends on too often (web_redirects)"))
    }

    fn understand(&self, response: Response) -> Result<Part, TaskError> {
        let headers = response.headers();
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {}
            StatusCode::RANGE_NOT_SATISFIABLE => {
                let size = text(headers, CONTENT_RANGE).and_then(|range| range.strip_prefix("bytes */")?.parse().ok());
                let mark = WebMark {
                    size: size.unwrap_or(0),
                    e_tag: text(headers, ETAG),
                    modified: text(headers, LAST_MODIFIED),
                };
                return Ok(Part { mark, first: u64::MAX, response });
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                return Err(self.wrong("source_missing", "does not exist; check the source's URI"));
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(
                    self.wrong("source_denied", "may not be read; give a URL that anybody may read, or a signed one")
                );
            }
            status if status.is_success() => {
                return Err(
                    self.wrong("source_no_ranges", "its server does not answer ranges; put it into an object store")
                );
            }
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Err(TaskError::transient(SERVER_DOWN, format!("{}: {status}", self.name())));
            }
            status => return Err(self.wrong("source_unreadable", &format!("its server says {status}"))),
        }
        if text(headers, CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
            return Err(self.wrong("source_no_ranges", "its server encodes what it sends"));
        }
        let range = text(headers, CONTENT_RANGE).and_then(|range| content_range(&range));
        let (first, size) =
            range.ok_or_else(|| self.wrong("source_no_ranges", "its server does not say which range it sends"))?;
        let mark = WebMark { size, e_tag: text(headers, ETAG), modified: text(headers, LAST_MODIFIED) };
        Ok(Part { mark, first, response })
    }

    fn wrong(&self, code: &str, what: &str) -> TaskError {
        TaskError::input(code, format!("{}: {what}", self.name()))
    }

    /// What the client said: a guard's refusal, or a network in trouble.
    fn broken(&self, error: &reqwest::Error) -> TaskError {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        let mut last = String::new();
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<Refused>() {
                return refused(&self.name(), error);
            }
            last = error.to_string();
            cause = error.source();
        }
        TaskError::transient(SERVER_DOWN, format!("{}: {last}", self.name()))
    }
}

/// The pause after which a network or server in trouble is asked again; the error, if it is another or enough was asked.
fn again_after(error: TaskError, pauses: &mut impl Iterator<Item = Duration>) -> Result<Duration, TaskError> {
    if error.kind == ErrorKind::Transient { pauses.next().ok_or(error) } else { Err(error) }
}

/// First byte and size of a `Content-Range` (RFC 9110 14.4).
fn content_range(text: &str) -> Option<(u64, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, size.parse().ok()?))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// A query may carry a signature, so nobody gets to see it.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

fn refused(uri: &str, error: &Refused) -> TaskError {
    let uri = uri.split(['?', '#']).next().unwrap_or_default();
    TaskError::input("source_refused", format!("{uri} is not asked for: {error}"))
}
