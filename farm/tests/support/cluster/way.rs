//! A way over the network that can be cut: what is on it waits then, and goes on when it is mended.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// A port of this host that leads to another, or nowhere.
#[derive(Debug, Clone)]
pub struct Way {
    port: u16,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Default)]
struct State {
    server: u16,
    cut: bool,
}

impl Way {
    /// Listens; it leads nowhere yet.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let way = Self { port: listener.local_addr().unwrap().port(), state: Arc::default() };
        // All threads end with the test program.
        let accepting = way.clone();
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let way = accepting.clone();
                thread::spawn(move || drop(way.carry(near)));
            }
        });
        way
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn lead_to(&self, server: u16) {
        self.state.0.lock().unwrap().server = server;
    }

    /// Nothing passes any more, and nobody is told; or it does again.
    pub fn cut(&self, cut: bool) {
        self.state.0.lock().unwrap().cut = cut;
        self.state.1.notify_all();
    }

    /// Waits until something passes; says where it leads.
    fn open(&self) -> u16 {
        let state = self.state.0.lock().unwrap();
        self.state.1.wait_while(state, |state| state.cut).unwrap().server
    }

    fn carry(&self, near: TcpStream) -> io::Result<()> {
        let far = TcpStream::connect((Ipv4Addr::LOCALHOST, self.open()))?;
        let (way, from, to) = (self.clone(), far.try_clone()?, near.try_clone()?);
        let back = thread::spawn(move || way.pass(from, to));
        self.pass(near, far);
        let _ = back.join();
        Ok(())
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut piece = [0; 16 << 10];
        while let Ok(read @ 1..) = from.read(&mut piece) {
            self.open();
            if to.write_all(&piece[..read]).is_err() {
                break;
            }
        }
        self.open();
        // Either may be gone already.
        let _ = (from.shutdown(Shutdown::Read), to.shutdown(Shutdown::Write));
    }
}
