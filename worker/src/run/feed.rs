//! Answers the reads of an index task whose source is not a file of this host: see [`crate::source`].
//!
//! Blocks are fetched ahead while a slot reads on; one that it never asks for is dropped when too many wait. A read that
//! fails ends the attempt, from here: the slot never learns of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use shared::error::{ErrorKind, TaskError};
use shared::storage::RemoteSource;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::source::{BLOCK_BYTES, block_len};

/// Blocks fetched ahead of the one that is wanted.
const BLOCKS_AHEAD: u64 = 4;
/// Blocks that wait for a slot to ask for them, at most.
const MOST_WAITING: usize = 16;
/// Blocks that were asked for and are remembered, to see whether a slot reads on.
const REMEMBERED: usize = 64;
/// How often a slot that waits for a read is said to be no standstill.
const PARDON_INTERVAL: Duration = Duration::from_secs(1);

/// The reads of one slot, answered until it hangs up.
#[derive(Debug)]
pub struct Feed {
    serving: JoinSet<Result<(), TaskError>>,
    state: watch::Receiver<State>,
}

/// What a slot's reads are up to.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    waits: bool,
    answered: u64,
}

impl Feed {
    /// Starts answering; the other end is for the slot.
    pub fn start(source: RemoteSource) -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (tell, state) = watch::channel(State::default());
        let size = source.size_bytes();
        let fetch = move |offset, len| {
            let source = source.clone();
            async move { source.read(offset, len).await }.boxed()
        };
        let server = Server { socket: UnixStream::from_std(ours)?, blocks: Blocks::new(size, fetch), tell };
        let serving = JoinSet::from_iter([server.serve()]);
        Ok((Self { serving, state }, theirs.into()))
    }

    /// Waits until a read was answered, or a while if one is under way: the slot is not to blame for that time. Can be
    /// dropped and called again.
    ///
    /// # Errors
    /// Why a read could not be answered; the slot waits in vain.
    pub async fn advanced(&mut self) -> Result<(), TaskError> {
        let waits = self.state.borrow_and_update().waits;
        tokio::select! {
            biased;
            Some(ended) = self.serving.join_next() => {
                ended.unwrap_or_else(|error| Err(TaskError::bug(format!("answering reads: {error}"))))
            }
            Ok(()) = self.state.changed() => Ok(()),
            () = tokio::time::sleep(PARDON_INTERVAL), if waits => Ok(()),
            else => std::future::pending().await, // the slot has hung up
        }
    }
}

struct Server {
    socket: UnixStream,
    blocks: Blocks,
    tell: watch::Sender<State>,
}

impl Server {
    async fn serve(mut self) -> Result<(), TaskError> {
        let mut number = [0; 8];
        // A slot that hangs up has read enough, or has died, which is seen elsewhere.
        while self.blocks.meanwhile(self.socket.read_exact(&mut number)).await.is_ok() {
            self.tell.send_modify(|state| state.waits = true);
            let block = self.blocks.get(u64::from_le_bytes(number)).await?;
            self.tell.send_modify(|state| *state = State { waits: false, answered: state.answered + 1 });
            if self.blocks.meanwhile(self.socket.write_all(&block)).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

type Fetch = Box<dyn Fn(u64, u64) -> BoxFuture<'static, Result<Bytes, TaskError>> + Send>;

/// Blocks on their way from the source to the slot.
struct Blocks {
    size: u64,
    fetch: Fetch, // by offset and length
    coming: FuturesUnordered<BoxFuture<'static, (u64, Result<Bytes, TaskError>)>>,
    numbers_coming: BTreeSet<u64>,
    waiting: BTreeMap<u64, Result<Bytes, TaskError>>,
    arrived: VecDeque<u64>, // of `waiting`, the oldest in front
    asked: VecDeque<u64>,
}

impl Blocks {
    fn new(
        size: u64,
        fetch: impl Fn(u64, u64) -> BoxFuture<'static, Result<Bytes, TaskError>> + Send + 'static,
    ) -> Self {
        Self {
            size,
            fetch: Box::new(fetch),
            coming: FuturesUnordered::new(),
            numbers_coming: BTreeSet::new(),
            waiting: BTreeMap::new(),
            arrived: VecDeque::new(),
            asked: VecDeque::new(),
        }
    }

    /// Lets blocks come while something else is waited for.
    async fn meanwhile<T>(&mut self, other: impl Future<Output = T>) -> T {
        tokio::pin!(other);
        loop {
            tokio::select! {
                biased;
                done = &mut other => return done,
                Some((number, block)) = self.coming.next() => self.keep(number, block),
            }
        }
    }

    /// The block with this number, and more of those that follow if the slot reads on.
    async fn get(&mut self, number: u64) -> Result<Bytes, TaskError> {
        if block_len(self.size, number) == 0 {
            let text = format!("the slot broke the protocol: it asks for block {number}, which there is not");
            return Err(TaskError::new(ErrorKind::Bug, "slot_protocol", text));
        }
        self.begin(number);
        if number == 0 || self.asked.contains(&(number - 1)) {
            for next in number + 1..=number + BLOCKS_AHEAD {
                if !self.asked.contains(&next) {
                    self.begin(next); // otherwise the slot has it
                }
            }
        }
        if self.asked.len() == REMEMBERED {
            self.asked.pop_front();
        }
        self.asked.push_back(number);
        loop {
            if let Some(block) = self.waiting.remove(&number) {
                self.arrived.retain(|arrived| *arrived != number);
                return block;
            }
            let (arrived, block) = self.coming.next().await.expect("a block that was begun should come");
            self.keep(arrived, block);
        }
    }

    fn begin(&mut self, number: u64) {
        let len = block_len(self.size, number) as u64;
        if len == 0 || self.waiting.contains_key(&number) || !self.numbers_coming.insert(number) {
            return;
        }
        let block = (self.fetch)(number * BLOCK_BYTES, len);
        self.coming.push(block.map(move |block| (number, block)).boxed());
    }

    fn keep(&mut self, number: u64, block: Result<Bytes, TaskError>) {
        self.numbers_coming.remove(&number);
        if self.arrived.len() == MOST_WAITING
            && let Some(oldest) = self.arrived.pop_front()
        {
            self.waiting.remove(&oldest);
        }
        self.waiting.insert(number, block);
        self.arrived.push_back(number);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A source of so many blocks and a bit, and how much of it was fetched.
    fn source(blocks: u64) -> (Blocks, Arc<AtomicU64>, u64) {
        let fetched = Arc::new(AtomicU64::new(0));
        let (count, size) = (fetched.clone(), blocks * BLOCK_BYTES + 5);
        let fetch = move |offset: u64, len: u64| {
            count.fetch_add(len, Ordering::Relaxed);
            let first = (offset / BLOCK_BYTES) as u8;
            async move { Ok(Bytes::from(vec![first; len as usize])) }.boxed()
        };
        (Blocks::new(size, fetch), fetched, size)
    }

    #[tokio::test]
    async fn a_source_is_fetched_once_whichever_end_is_read_first() {
        let orders: [&[u64]; 3] =
            [&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], &[0, 9, 1, 2, 3, 4, 5, 6, 7, 8], &[0, 5, 1, 6, 2, 7, 3, 8, 4, 9]];
        for order in orders {
            let (mut blocks, fetched, size) = source(9);
            for number in order {
                let block = blocks.get(*number).await.unwrap();
                assert_eq!((block[0], block.len()), (*number as u8, block_len(size, *number)));
            }
            assert_eq!(fetched.load(Ordering::Relaxed), size, "{order:?}");
        }
    }

    #[tokio::test]
    async fn blocks_that_nobody_asks_for_do_not_pile_up() {
        let (mut blocks, _, _) = source(200);
        for number in (0..190).step_by(7).flat_map(|number| [number, number + 1]) {
            blocks.get(number).await.unwrap();
            while let Some(Some((number, block))) = blocks.coming.next().now_or_never() {
                blocks.keep(number, block);
            }
        }
        assert!(blocks.waiting.len() <= MOST_WAITING && blocks.arrived.len() == blocks.waiting.len());
    }

    #[tokio::test]
    async fn a_block_that_there_is_not_is_the_slots_fault() {
        let (mut blocks, _, _) = source(2);
        for number in [3, u64::MAX] {
            assert_eq!(blocks.get(number).await.unwrap_err().code, "slot_protocol");
        }
    }
}
