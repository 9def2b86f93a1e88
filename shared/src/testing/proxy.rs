//! A bad network in front of an HTTP server: requests that fail or take their time, answers that end early, nobody there,
//! nobody who answers.
//!
//! Each connection carries one request, so that each request meets its own fate.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What requests meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// The server.
    Fine,
    /// One request of so many is refused, or cut off on the way there or back, in turn.
    Rough(u64),
    /// The server, so much later.
    Slow(Duration),
    /// Nobody: connections are closed at once.
    Down,
    /// Nobody who says anything, until the weather changes; then they are hung up on.
    Silent,
}

/// What one request meets.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// After so long.
    Served(Duration),
    Refused(&'static str),
    HungUp,
    /// The server gets half of it.
    RequestCut,
    /// The server carries it out, and half of the answer comes back.
    AnswerCut,
    Ignored,
}

/// The faults of rough weather.
const FAULTS: [Fate; 5] = [
    Fate::Refused("503 Service Unavailable"),
    Fate::HungUp,
    Fate::AnswerCut,
    Fate::Refused("500 Internal Server Error"),
    Fate::RequestCut,
];

/// A port of this host behind which an HTTP server is reached, or is not.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    sky: Arc<Sky>,
}

#[derive(Debug)]
struct Sky {
    weather: Mutex<Weather>,
    changed: Condvar,
    server: Mutex<u16>,
    forbidden: Mutex<Option<String>>,
    words: Mutex<&'static [(&'static str, &'static str)]>,
    requests: AtomicU64,
    faults: AtomicU64,
}

impl Proxy {
    /// Listens; the weather is fine. It leads nowhere yet.
    ///
    /// # Panics
    /// If this host has no port left.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("this host should have a free port");
        let port = listener.local_addr().expect("a bound socket should have an address").port();
        let sky = Arc::new(Sky {
            weather: Mutex::new(Weather::Fine),
            changed: Condvar::new(),
            server: Mutex::new(0),
            forbidden: Mutex::new(None),
            words: Mutex::new(&[]),
            requests: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        });
        // Both kinds of threads end with the test program.
        thread::spawn({
            let sky = sky.clone();
            move || {
                for client in listener.incoming().flatten() {
                    let sky = sky.clone();
                    // A broken connection is what this is about.
                    thread::spawn(move || drop(sky.carry(client)));
                }
            }
        });
        Self { port, sky }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Requests go to the server on this port of the host from now on.
    pub fn lead_to(&self, server: u16) {
        *self.sky.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
    }

    /// Changes the weather.
    pub fn set(&self, weather: Weather) {
        *self.sky.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
        self.sky.changed.notify_all();
    }

    /// What has this in its path is refused from now on as nothing that one may have, whatever the weather.
    pub fn forbid(&self, path: &str) {
        *self.sky.forbidden.lock().unwrap_or_else(PoisonError::into_inner) = Some(path.to_owned());
    }

    /// From now on, header lines of requests that begin with the left, in lower case, are the right to the server.
    pub fn translate(&self, words: &'static [(&'static str, &'static str)]) {
        *self.sky.words.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }

    /// Requests that were not served.
    pub fn faults(&self) -> u64 {
        self.sky.faults.load(Ordering::Relaxed)
    }
}

impl Sky {
    fn carry(&self, mut client: TcpStream) -> io::Result<()> {
        let request = self.translated(read_request(&mut client)?);
        let fate = if self.forbids(&request) { Fate::Refused("403 Forbidden") } else { self.fate() };
        match fate {
            Fate::Served(delay) => {
                pause(delay);
                io::copy(&mut self.send(&request)?, &mut client)?;
            }
            Fate::Refused(status) => {
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                client.write_all(answer.as_bytes())?;
            }
            Fate::HungUp => {}
            Fate::RequestCut => drop(self.send(&request[..request.len() / 2])?),
            Fate::AnswerCut => {
                let mut answer = Vec::new();
                self.send(&request)?.read_to_end(&mut answer)?;
                client.write_all(&answer[..answer.len() / 2])?;
            }
            Fate::Ignored => {
                let weather = self.weather.lock().unwrap_or_else(PoisonError::into_inner);
                let waited = self.changed.wait_while(weather, |weather| *weather == Weather::Silent);
                drop(waited);
            }
        }
        client.shutdown(Shutdown::Both)
    }

    fn translated(&self, mut request: Vec<u8>) -> Vec<u8> {
        let words = *self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let end = request.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(0);
        let head = String::from_utf8_lossy(&request[..end]).into_owned();
        let other = |line: &str| {
            let word = words.iter().find(|(word, _)| line.to_lowercase().starts_with(word));
            word.map_or_else(|| line.to_owned(), |(_, other)| (*other).to_owned())
        };
        let head = head.split("\r\n").map(other).collect::<Vec<_>>().join("\r\n");
        request.splice(..end, head.into_bytes());
        request
    }

    fn forbids(&self, request: &[u8]) -> bool {
        let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let forbidden = self.forbidden.lock().unwrap_or_else(PoisonError::into_inner);
        forbidden.as_ref().is_some_and(|path| String::from_utf8_lossy(line).contains(path))
    }

    fn fate(&self) -> Fate {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let fate = match *self.weather.lock().unwrap_or_else(PoisonError::into_inner) {
            Weather::Fine => Fate::Served(Duration::ZERO),
            Weather::Rough(every) if number.is_multiple_of(every) => {
                FAULTS[usize::try_from(number / every).unwrap_or(0) % FAULTS.len()]
            }
            Weather::Rough(_) => Fate::Served(Duration::ZERO),
            Weather::Slow(delay) => Fate::Served(delay),
            Weather::Down => Fate::HungUp,
            Weather::Silent => Fate::Ignored,
        };
        if !matches!(fate, Fate::Served(_)) {
            self.faults.fetch_add(1, Ordering::Relaxed);
        }
        fate
    }

    /// The answer can be read from what is returned; the server closes the connection after it.
    fn send(&self, request: &[u8]) -> io::Result<TcpStream> {
        let port = *self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        server.write_all(request)?;
        Ok(server)
    }
}

#[expect(clippy::disallowed_methods, reason = "the time that a slow server takes, on a thread of its own")]
fn pause(delay: Duration) {
    thread::sleep(delay);
}

/// Reads a request whole, and asks in it for the connection to be closed after the answer.
fn read_request(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    let end = loop {
        let mut some = [0; 64 << 10];
        let len = client.read(&mut some)?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        request.extend_from_slice(&some[..len]);
        if let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
    };
    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
    let missing = (end + 4 + length).saturating_sub(request.len());
    client.take(missing as u64).read_to_end(&mut request)?;
    request.splice(end..end, *b"\r\nConnection: close");
    Ok(request)
}
