//! Frames and files between a worker and its slots: the asynchronous side of the worker, the blocking side of the slot.
//!
//! A frame is its length (4 bytes, little endian) and a protobuf message. Files travel behind the request that names
//! them, as `SCM_RIGHTS` on single bytes, so that reading a frame of known length never touches them.

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest frame in either direction: a 2160p segment of 10 s at 100 Mbit/s has half of this.
pub const LARGEST_FRAME_BYTES: usize = 256 << 20;

/// Files sent at once; the kernel takes 253.
pub const FILES_PER_MESSAGE: usize = 64;

/// The byte that carries files.
const FILES_MARK: u8 = b'F';

/// How much room is made for a frame before its bytes are there: a length that lies costs no more than this.
const GROWTH_BYTES: usize = 1 << 20;

/// A frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The socket.
    #[error("socket: {0}")]
    Io(#[from] io::Error),
    /// Nobody may send this much.
    #[error("a frame of {0} bytes is longer than {LARGEST_FRAME_BYTES}")]
    TooLong(usize),
    /// The other side ended in the middle.
    #[error("the frame ends early")]
    Truncated,
    /// The content of a frame, or a file, is not what it should be.
    #[error("{0}")]
    Content(String),
}

impl From<prost::DecodeError> for FrameError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Content(error.to_string())
    }
}

/// A message with its length in front.
pub fn frame(message: &impl Message) -> Result<Vec<u8>, FrameError> {
    let len = message.encoded_len();
    let header = u32::try_from(len).ok().filter(|_| len <= LARGEST_FRAME_BYTES).ok_or(FrameError::TooLong(len))?;
    let mut bytes = Vec::with_capacity(4 + len);
    bytes.extend(header.to_le_bytes());
    message.encode(&mut bytes).expect("a vector should grow as needed");
    Ok(bytes)
}

fn frame_len(header: [u8; 4]) -> Result<usize, FrameError> {
    let len = u32::from_le_bytes(header) as usize;
    if len <= LARGEST_FRAME_BYTES { Ok(len) } else { Err(FrameError::TooLong(len)) }
}

/// Reads frames from an asynchronous socket.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: BytesMut, // the start of the next frame, header included
}

impl FrameReader {
    /// The next frame's content; `None` when the other side has closed. Can be dropped and called again: nothing that
    /// was read is lost.
    pub async fn next(&mut self, socket: &mut (impl AsyncRead + Unpin)) -> Result<Option<Bytes>, FrameError> {
        loop {
            let wanted = match self.buffer.first_chunk() {
                Some(header) => 4 + frame_len(*header)?,
                None => 4,
            };
            if wanted == self.buffer.len() {
                return Ok(Some(std::mem::take(&mut self.buffer).freeze().slice(4..)));
            }
            let room = (wanted - self.buffer.len()).min(GROWTH_BYTES);
            self.buffer.reserve(room);
            if socket.read_buf(&mut (&mut self.buffer).limit(room)).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(FrameError::Truncated) };
            }
        }
    }
}

/// Reads one frame's content from a blocking socket; `None` when the other side has closed.
pub fn read_frame(socket: &mut impl Read) -> Result<Option<Vec<u8>>, FrameError> {
    let mut header = Vec::with_capacity(4);
    socket.by_ref().take(4).read_to_end(&mut header)?;
    let header = match header[..] {
        [] => return Ok(None),
        [a, b, c, d] => [a, b, c, d],
        _ => return Err(FrameError::Truncated),
    };
    let len = frame_len(header)?;
    let mut content = Vec::with_capacity(len.min(GROWTH_BYTES));
    socket.by_ref().take(len as u64).read_to_end(&mut content)?;
    if content.len() == len { Ok(Some(content)) } else { Err(FrameError::Truncated) }
}

/// Sends up to [`FILES_PER_MESSAGE`] files.
pub fn send_files(socket: BorrowedFd<'_>, files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(FILES_PER_MESSAGE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many files for one message"));
    }
    sendmsg(socket, &[IoSlice::new(&[FILES_MARK])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Takes the `count` files that [`send_files`] sent at once.
pub fn receive_files(socket: BorrowedFd<'_>, count: usize) -> Result<Vec<OwnedFd>, FrameError> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(FILES_PER_MESSAGE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut mark = [0];
    let message = rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(&mut mark)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })
    .map_err(io::Error::from)?;
    let mut files = Vec::with_capacity(count);
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            files.extend(received);
        }
    }
    let whole = message.bytes == 1 && mark == [FILES_MARK] && !message.flags.contains(ReturnFlags::CTRUNC);
    if !whole || files.len() != count {
        return Err(FrameError::Content(format!("{} of {count} files arrived", files.len())));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn frames_survive_any_split() {
        let message = proto::v1::SlotObject { key: "a/b".into(), bytes: vec![7; 3000].into(), ..Default::default() };
        let bytes = [frame(&message).unwrap(), frame(&message).unwrap()].concat();
        for split in [0, 1, 4, 5, 1000, bytes.len() / 2, bytes.len()] {
            let mut pieces = in_two_pieces(&bytes, split);
            let mut frames = FrameReader::default();
            for _ in 0..2 {
                let content = frames.next(&mut pieces).await.unwrap().unwrap();
                assert_eq!(proto::v1::SlotObject::decode(content).unwrap(), message);
            }
            assert!(frames.next(&mut pieces).await.unwrap().is_none());
        }
        assert_eq!(read_frame(&mut &bytes[..]).unwrap().unwrap(), message.encode_to_vec());
    }

    fn in_two_pieces(bytes: &[u8], split: usize) -> impl AsyncRead + Unpin + '_ {
        AsyncReadExt::chain(&bytes[..split], &bytes[split..])
    }

    #[tokio::test]
    async fn a_length_that_lies_is_refused_before_room_is_made() {
        let huge = (LARGEST_FRAME_BYTES as u32 + 1).to_le_bytes();
        assert!(matches!(FrameReader::default().next(&mut &huge[..]).await, Err(FrameError::TooLong(_))));
        assert!(matches!(read_frame(&mut &huge[..]), Err(FrameError::TooLong(_))));
        let early = [&(LARGEST_FRAME_BYTES as u32).to_le_bytes()[..], b"abc"].concat();
        let mut frames = FrameReader::default();
        assert!(matches!(frames.next(&mut &early[..]).await, Err(FrameError::Truncated)));
        assert!(frames.buffer.capacity() <= 4 * GROWTH_BYTES);
        assert!(matches!(read_frame(&mut &early[..]), Err(FrameError::Truncated)));
    }

    #[test]
    fn files_arrive_open_and_in_order() {
        let (parent, child) = UnixStream::pair().unwrap();
        let files: Vec<File> = (0..FILES_PER_MESSAGE)
            .map(|n| {
                let file = tempfile::tempfile().unwrap();
                file.write_all_at(&[n as u8], 0).unwrap();
                file
            })
            .collect();
        let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        send_files(parent.as_fd(), &borrowed).unwrap();
        for (n, file) in receive_files(child.as_fd(), files.len()).unwrap().into_iter().enumerate() {
            let mut byte = [0];
            File::from(file).read_exact_at(&mut byte, 0).unwrap();
            assert_eq!(byte, [n as u8]);
        }
        send_files(parent.as_fd(), &borrowed[..2]).unwrap();
        let error = receive_files(child.as_fd(), 3).unwrap_err();
        assert_eq!(error.to_string(), "2 of 3 files arrived");
    }
}
