//! The byte source of an index task: an open file, one that is still being written, or reads that the worker answers over
//! a socket.
//!
//! A slot has no network. Where a source is not a file of this host, the slot asks its worker for one block after another:
//! it sends a block's number (8 bytes, little endian) and gets that block's bytes, which are [`BLOCK_BYTES`] unless it is
//! the last. The worker answers or, when it can't, ends the attempt: no error crosses the socket, so a network fault is
//! never taken for the end of the source. It reads ahead (`worker/src/run/feed.rs`); the slot keeps what it has read, so
//! that containers whose streams lie apart don't read anything twice.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// What is asked for at once.
pub const BLOCK_BYTES: u64 = 1 << 20;

/// Blocks that a slot keeps: as far as streams of one container usually lie apart.
const KEPT_BLOCKS: usize = 24;

/// How often a file that grows is looked at by a reader that waits for more of it.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A source that can be read at any offset. Clones read the same source.
#[derive(Debug, Clone)]
pub struct ByteSource {
    size: Option<u64>,
    bytes: Bytes,
}

#[derive(Debug, Clone)]
enum Bytes {
    File(Arc<File>),
    Growing(Arc<Growing>),
    Worker(Arc<Mutex<Blocks>>),
}

impl ByteSource {
    /// An open file, as long as it is now.
    pub fn of_file(file: File) -> io::Result<Self> {
        Ok(Self { size: Some(file.metadata()?.len()), bytes: Bytes::File(Arc::new(file)) })
    }

    /// An open file that is still being written: who reads on waits for more, until it has not grown for `quiet`.
    pub fn of_growing_file(file: File, quiet: Duration) -> Self {
        Self { size: None, bytes: Bytes::Growing(Arc::new(Growing { file, quiet, whole: OnceLock::new() })) }
    }

    /// A source of `size` bytes whose reads are answered over `socket`.
    pub fn of_worker(socket: OwnedFd, size: u64) -> Self {
        let blocks = Blocks { socket: socket.into(), size, kept: VecDeque::new() };
        Self { size: Some(size), bytes: Bytes::Worker(Arc::new(Mutex::new(blocks))) }
    }

    /// Bytes in all; `None` while it may grow.
    pub fn size(&self) -> Option<u64> {
        match &self.bytes {
            Bytes::Growing(growing) => growing.whole.get().copied(),
            Bytes::File(_) | Bytes::Worker(_) => self.size,
        }
    }

    /// Reads what is there at `offset`, at most as much as fits; 0 only at the end. Waits for what is still to come.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = self.size().map_or(u64::MAX, |size| size.saturating_sub(offset));
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        if wanted == 0 {
            return Ok(0);
        }
        match &self.bytes {
            Bytes::File(file) => file.read_at(&mut buffer[..wanted], offset),
            Bytes::Growing(growing) => growing.read_at(&mut buffer[..wanted], offset),
            Bytes::Worker(blocks) => {
                let mut blocks = blocks.lock().unwrap_or_else(PoisonError::into_inner);
                let from = usize::try_from(offset % BLOCK_BYTES).expect("a block should fit into memory");
                let block = blocks.get(offset / BLOCK_BYTES)?;
                let there = block.get(from..).unwrap_or_default();
                let read = wanted.min(there.len());
                buffer[..read].copy_from_slice(&there[..read]);
                Ok(read)
            }
        }
    }

    /// Fills the buffer.
    pub fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    buffer = &mut buffer[read..];
                    offset += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A reader with a position of its own.
    pub fn reader(&self) -> SourceReader {
        SourceReader { source: self.clone(), position: 0 }
    }
}

/// A file that somebody else is writing.
#[derive(Debug)]
struct Growing {
    file: File,
    /// It is whole once it has not grown for so long.
    quiet: Duration,
    whole: OnceLock<u64>,
}

impl Growing {
    /// Reads what is there, or waits until it is.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let (mut size, mut grew) = (self.file.metadata()?.len(), Instant::now());
        loop {
            let read = self.file.read_at(buffer, offset)?;
            if read > 0 {
                return Ok(read);
            }
            if grew.elapsed() >= self.quiet {
                self.whole.get_or_init(|| size);
                return Ok(0);
            }
            #[expect(clippy::disallowed_methods, reason = "files don't say when they grow; `quiet` limits the time")]
            std::thread::sleep(LOOK_AGAIN);
            let now = self.file.metadata()?.len();
            if now != size {
                (size, grew) = (now, Instant::now());
            }
        }
    }
}

/// What the worker has answered.
#[derive(Debug)]
struct Blocks {
    socket: UnixStream,
    size: u64,
    kept: VecDeque<(u64, Vec<u8>)>, // by number, the one used last in front
}

impl Blocks {
    fn get(&mut self, number: u64) -> io::Result<&[u8]> {
        let found = self.kept.iter().position(|(kept, _)| *kept == number);
        let block = match found.and_then(|at| self.kept.remove(at)) {
            Some(block) => block,
            None => (number, self.ask(number)?),
        };
        self.kept.truncate(KEPT_BLOCKS - 1);
        self.kept.push_front(block);
        Ok(&self.kept[0].1)
    }

    fn ask(&mut self, number: u64) -> io::Result<Vec<u8>> {
        let mut block = vec![0; block_len(self.size, number)];
        self.socket.write_all(&number.to_le_bytes())?;
        self.socket.read_exact(&mut block)?;
        Ok(block)
    }
}

/// Bytes of block `number` of a source of `size` bytes; 0 behind its end.
pub fn block_len(size: u64, number: u64) -> usize {
    let start = number.saturating_mul(BLOCK_BYTES);
    usize::try_from(size.saturating_sub(start).min(BLOCK_BYTES)).expect("a block should fit into memory")
}

/// Reads a source from front to back, for libavformat: never mapped, never panicking.
#[derive(Debug)]
pub struct SourceReader {
    source: ByteSource,
    position: u64,
}

impl Read for SourceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read_at(buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for SourceReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(delta) => self.source.size().and_then(|size| size.checked_add_signed(delta)),
            SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
        };
        self.position = target.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Answers for `bytes`; says which blocks were asked for.
    fn answer(bytes: Vec<u8>, mut socket: UnixStream) -> thread::JoinHandle<Vec<u64>> {
        thread::spawn(move || {
            let mut asked = Vec::new();
            let mut number = [0; 8];
            while socket.read_exact(&mut number).is_ok() {
                let number = u64::from_le_bytes(number);
                let start = (number * BLOCK_BYTES) as usize;
                socket.write_all(&bytes[start..][..block_len(bytes.len() as u64, number)]).unwrap();
                asked.push(number);
            }
            asked
        })
    }

    fn pattern(len: u64) -> Vec<u8> {
        (0..len).map(|at| (at * 31 % 251) as u8).collect()
    }

    #[test]
    fn a_source_reads_the_same_through_the_worker() {
        let bytes = pattern(3 * BLOCK_BYTES + 17);
        let (parent, child) = UnixStream::pair().unwrap();
        let worker = answer(bytes.clone(), parent);
        let source = ByteSource::of_worker(child.into(), bytes.len() as u64);
        let mut read = Vec::new();
        source.reader().read_to_end(&mut read).unwrap();
        assert!(read == bytes);

        let across = &mut [0; 100];
        let offset = BLOCK_BYTES - 50;
        source.read_exact_at(across, offset).unwrap();
        assert_eq!(across, &bytes[offset as usize..][..100]);
        assert!(source.read_exact_at(across, bytes.len() as u64 - 99).is_err());
        assert_eq!(source.read_at(across, u64::MAX).unwrap(), 0);
        assert_eq!(source.reader().seek(SeekFrom::End(-17)).unwrap(), 3 * BLOCK_BYTES);
        drop(source);
        assert_eq!(worker.join().unwrap(), [0, 1, 2, 3]); // nothing twice
    }

    #[test]
    fn two_places_far_apart_are_read_in_turn_without_reading_anything_twice() {
        let bytes = pattern(2 * (KEPT_BLOCKS as u64) * BLOCK_BYTES);
        let (parent, child) = UnixStream::pair().unwrap();
        let worker = answer(bytes.clone(), parent);
        let source = ByteSource::of_worker(child.into(), bytes.len() as u64);
        let half = bytes.len() as u64 / 2;
        for offset in (0..half).step_by(1 << 16) {
            for at in [offset, half + offset] {
                let mut piece = [0; 1 << 10];
                source.read_exact_at(&mut piece, at).unwrap();
                assert_eq!(piece, bytes[at as usize..][..1 << 10]);
            }
        }
        drop(source);
        assert_eq!(worker.join().unwrap().len() as u64, bytes.len() as u64 / BLOCK_BYTES);
    }

    #[test]
    fn a_worker_that_is_gone_is_an_error_and_no_end() {
        let (parent, child) = UnixStream::pair().unwrap();
        drop(parent);
        let source = ByteSource::of_worker(child.into(), 10);
        assert!(source.reader().read(&mut [0; 4]).is_err());
    }

    #[test]
    fn a_file_that_grows_is_read_to_the_end_it_comes_to() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writing = file.reopen().unwrap();
        let (told, tell) = std::sync::mpsc::channel();
        let source = ByteSource::of_growing_file(file.reopen().unwrap(), Duration::from_millis(400));
        assert_eq!(source.size(), None);
        let reader = thread::spawn(move || {
            let (mut reader, mut read, mut piece) = (source.reader(), Vec::new(), [0; 64]);
            assert!(reader.seek(SeekFrom::End(0)).is_err(), "nobody knows where that is");
            while let Ok(1..) = reader.read(&mut piece).inspect(|n| read.extend_from_slice(&piece[..*n])) {
                let _ = told.send(read.len()); // nobody listens any more at the end
            }
            read
        });
        let bytes = pattern(1000);
        for part in bytes.chunks(250) {
            writing.write_all(part).unwrap();
            tell.recv().unwrap(); // it was read before the next part was there
        }
        assert!(reader.join().unwrap() == bytes);
    }
}
