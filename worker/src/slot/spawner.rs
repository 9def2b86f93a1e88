//! The thread that starts slots.
//!
//! A slot asks to be killed when its parent dies, and to the kernel the parent is the *thread* that made it. Threads of
//! a runtime come and go; this one lives as long as any slot it made.

use std::io;
use std::sync::mpsc;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// A handle to the thread; it ends with the last of them.
#[derive(Debug, Clone)]
pub struct Spawner(mpsc::Sender<Order>);

#[derive(Debug)]
struct Order {
    command: Command,
    runtime: Handle,
    reply: oneshot::Sender<io::Result<Child>>,
}

impl Spawner {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        let (sender, orders) = mpsc::channel::<Order>();
        std::thread::Builder::new().name("slot-spawner".into()).spawn(move || {
            for mut order in orders {
                let _runtime = order.runtime.enter();
                // If nobody waits for the child any more it is dropped here, and killed by that.
                drop(order.reply.send(order.command.spawn()));
            }
        })?;
        Ok(Self(sender))
    }

    /// Starts a program.
    pub async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (reply, child) = oneshot::channel();
        let order = Order { command, runtime: Handle::current(), reply };
        let gone = || io::Error::other("the thread that starts slots is gone");
        self.0.send(order).map_err(|_| gone())?;
        child.await.map_err(|_| gone())?
    }
}
