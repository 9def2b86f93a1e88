//! A NATS broker that nobody installs any more.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

/// Says that it is `version`, and speaks enough of the protocol to be connected to. Returns its port; it ends with the test
/// program.
///
/// # Panics
/// If this host has no port left.
pub fn old_broker(version: &str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("this host should have a free port");
    let port = listener.local_addr().expect("a bound socket should have an address").port();
    let info = format!(
        r#"INFO {{"server_id":"x","version":"{version}","proto":1,"headers":true,"max_payload":1048576,"jetstream":true}}"#
    );
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // Whoever connects may leave at any time.
            let _ = talk(client, &info);
        }
    });
    port
}

fn talk(mut client: TcpStream, info: &str) -> io::Result<()> {
    write!(client, "{info}\r\n")?;
    for line in BufReader::new(client.try_clone()?).lines() {
        if line?.starts_with("PING") {
            write!(client, "PONG\r\n")?;
        }
    }
    Ok(())
}
