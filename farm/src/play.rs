//! `farm play`: watch a presentation, finished or still growing.

mod origin;
mod page;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use axum::serve::ListenerExt;

use crate::exit::{Exit, Failure};
use crate::presentation::{HIDDEN, MANIFEST, MULTIVARIANT};
use crate::progress::print_text;

pub use origin::router;

/// Serves OUT with a player page, until Ctrl-C.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  farm play out/ --port 8000      then open http://127.0.0.1:8000/")]
pub struct Args {
    /// Folder that `farm transcode` made, or is making
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// TCP port; 0 takes any free one
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Address to listen on; 0.0.0.0 lets other machines watch
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    listen: IpAddr,
}

/// Runs until it is interrupted.
///
/// # Errors
/// `no_presentation` and `listen`; `serve` if the network fails later.
pub async fn run(args: Args) -> Result<Exit, Failure> {
    check(&args.out)?;
    let address = SocketAddr::new(args.listen, args.port);
    let listener = tokio::net::TcpListener::bind(address).await.map_err(|error| {
        Failure::new(Exit::Usage, "listen", format!("{address}: {error}")).help("choose another --port; 0 takes any")
    })?;
    let bound = listener.local_addr().map_err(|error| Failure::internal(error.to_string()))?;
    print_text(&format!(
        "player  http://{bound}/\nHLS     http://{bound}/{MULTIVARIANT}\nDASH    http://{bound}/{MANIFEST}\nCtrl-C ends it.\n"
    ))?;
    // Without this the end of an object waits for the client to acknowledge its beginning, some 40 ms.
    let prompt = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
    tokio::select! {
        ended = axum::serve(prompt, router(args.out)) => {
            ended.map_err(|error| Failure::new(Exit::Internal, "serve", error.to_string()))?;
        }
        // Waiting for open connections would wait for the player's tab to be closed.
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(Exit::Done)
}

fn check(out: &Path) -> Result<(), Failure> {
    let has = |name: &str| out.join(name).try_exists().unwrap_or(false);
    if has(MULTIVARIANT) || has(HIDDEN) {
        return Ok(());
    }
    let place = out.display();
    Err(Failure::storage("no_presentation", format!("{place}: there is no {MULTIVARIANT} in this folder"))
        .help(format!("`farm transcode SOURCE {place}` makes one")))
}
