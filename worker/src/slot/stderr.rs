//! What a slot says on its standard error: logged line by line, the end kept for the message of a crash.

use std::collections::VecDeque;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::process::ChildStderr;

/// Lines kept for the message of a crash.
const KEPT_LINES: usize = 12;

/// Longer lines are broken.
const LONGEST_LINE_BYTES: usize = 400;

/// What allocators say before they abort: Rust's, then C++'s.
const OUT_OF_MEMORY: [&str; 2] = ["memory allocation of ", "std::bad_alloc"];

/// A slot's standard error.
#[derive(Debug)]
pub struct SlotStderr {
    pipe: Option<ChildStderr>, // `None` once it has ended
    unread: BytesMut,          // shorter than a line
    kept: VecDeque<String>,
    tells_of_memory: bool,
}

impl SlotStderr {
    /// Reads from `pipe`.
    pub fn new(pipe: Option<ChildStderr>) -> Self {
        Self { pipe, unread: BytesMut::new(), kept: VecDeque::new(), tells_of_memory: false }
    }

    /// The next line; `None` at the end. Can be dropped and called again.
    pub async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(line) = self.take_line() {
                return Some(line);
            }
            let Some(pipe) = &mut self.pipe else { return None };
            self.unread.reserve(LONGEST_LINE_BYTES);
            if !matches!(pipe.read_buf(&mut self.unread).await, Ok(1..)) {
                self.pipe = None;
            }
        }
    }

    /// Waits until there is nothing more to read.
    pub async fn drain(&mut self) {
        while self.line().await.is_some() {}
    }

    /// Whether [`Self::line`] would say `None`.
    pub fn ended(&self) -> bool {
        self.pipe.is_none() && self.unread.is_empty()
    }

    /// What was said belongs to an earlier task.
    pub fn forget(&mut self) {
        self.kept.clear();
        self.tells_of_memory = false;
    }

    /// Whether an allocator has complained. A backtrace may follow, so it need not be among the last lines.
    pub fn tells_of_memory(&self) -> bool {
        self.tells_of_memory
    }

    /// The last lines.
    pub fn last_words(&self) -> String {
        self.kept.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    fn take_line(&mut self) -> Option<String> {
        let end = self.unread.iter().take(LONGEST_LINE_BYTES).position(|byte| *byte == b'\n');
        let line = match end {
            Some(end) => self.unread.split_to(end + 1),
            None if self.unread.len() >= LONGEST_LINE_BYTES => self.unread.split_to(LONGEST_LINE_BYTES),
            None if self.pipe.is_none() && !self.unread.is_empty() => self.unread.split(),
            None => return None,
        };
        // Control characters of a hostile source must not reach a terminal.
        let line = String::from_utf8_lossy(line.trim_ascii_end()).replace(|c: char| c.is_control() && c != '\t', "?");
        let line = without_pointers(&line);
        self.tells_of_memory |= OUT_OF_MEMORY.iter().any(|text| line.contains(text));
        if self.kept.len() == KEPT_LINES {
            self.kept.pop_front();
        }
        self.kept.push_back(line.clone());
        Some(line)
    }
}

/// FFmpeg names its contexts by where they lie (`[h264 @ 0x559cc69f6440] no frame!`), which differs each time: without that
/// the same trouble has the same words.
fn without_pointers(line: &str) -> String {
    let mut parts = line.split(" @ 0x");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    parts.for_each(|part| plain.push_str(part.trim_start_matches(|c: char| c.is_ascii_hexdigit())));
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_trouble_has_the_same_words() {
        assert_eq!(without_pointers("[h264 @ 0x559cc69f6440] no frame!"), "[h264] no frame!");
        let two = "[mov,mp4 @ 0x7f00] x [aac @ 0x0] 0x2a";
        assert_eq!(without_pointers(two), "[mov,mp4] x [aac] 0x2a");
        for line in ["", "mail a@b at @ 5", "code 0xdead"] {
            assert_eq!(without_pointers(line), line);
        }
    }
}
