//! What the packet lists promise of a chunk: which frames, and until when the last one is shown.

use shared::index::PacketList;
use shared::source::Timing;
use shared::task::VideoTask;
use shared::time::MediaTime;

/// A chunk's frames as its lists have them.
#[derive(Debug, Clone)]
pub struct Promise {
    /// Shown frames in the chunk.
    pub frames: u64,
    /// Presentation time of the first; `None` if there is none or times go by order.
    pub first: Option<i64>,
    /// Frames before this are decoded and dropped; those from here on warm up the deinterlacer.
    pub warm_up_from: i64,
    next: Option<i64>, // the frame after the chunk
    end: i64,          // of the last frame, where no frame follows
    frame_duration: i64,
    timing: Timing,
    start: MediaTime,
}

impl Promise {
    /// Reads the lists.
    pub fn of(task: &VideoTask, lists: &[PacketList]) -> Self {
        let rate = task.stream.frame_rate;
        let ticks = i64::from(task.stream.timescale.get()) * i64::from(rate.denominator);
        let frame_duration = (ticks / i64::from(rate.numerator.max(1))).max(1);
        let warm_up = if task.transform.deinterlace { 2 * frame_duration } else { 0 };
        let mut promise = Self {
            frames: 0,
            first: None,
            warm_up_from: task.start - warm_up,
            next: None,
            end: task.start,
            frame_duration,
            timing: task.stream.timing,
            start: MediaTime::new(task.start, task.stream.timescale),
        };
        for packet in lists.iter().flat_map(|list| &list.packets).filter(|packet| !packet.discard) {
            let duration = if packet.duration > 0 { i64::from(packet.duration) } else { frame_duration };
            if task.end.is_some_and(|end| packet.pts >= end) {
                promise.next = Some(promise.next.map_or(packet.pts, |next: i64| next.min(packet.pts)));
            } else if packet.pts >= task.start {
                promise.frames += 1;
                promise.first = Some(promise.first.map_or(packet.pts, |first: i64| first.min(packet.pts)));
                promise.end = promise.end.max(packet.pts.saturating_add(duration));
            }
        }
        if promise.timing != Timing::Packets {
            promise.first = None;
        }
        promise
    }

    /// Until when the last frame is shown: to the frame after the chunk, or for its own duration.
    pub fn end_after(&self, last: Option<i64>) -> i64 {
        match (self.next, last) {
            (Some(next), _) => next,
            (None, Some(last)) if self.timing != Timing::Packets => last + self.frame_duration,
            _ => self.end,
        }
    }

    /// Frames a receipt is held against. By order, how many packets show a frame is only known once decoded.
    pub fn expected(&self, made: u64) -> u64 {
        if self.timing == Timing::Order { made } else { self.frames }
    }

    /// Where the chunk begins, for messages.
    pub fn text(&self) -> String {
        self.start.to_string()
    }
}
