//! Field pairs: two packets that make one frame (ITU-T H.264 7.4.1.2.4, second field of a complementary pair).

use shared::source::VideoStream;
use shared::time::FrameRate;

use super::timeline::{Placed, RawPacket};

/// Joins the two packets of a frame: the first stands for the frame, the second shows nothing of its own.
#[derive(Debug, Clone, Default)]
pub struct FieldPairs {
    first: Option<(i64, u32)>, // time and duration of a field whose partner has not come
}

impl FieldPairs {
    /// For a stream whose packets are fields, as far as its first packets tell; `None` if they are frames.
    pub fn of(video: &VideoStream, packets: &[RawPacket]) -> Option<Self> {
        let FrameRate { numerator, denominator } = video.frame_rate;
        let frame = u64::from(video.timescale.get()) * u64::from(denominator) / u64::from(numerator.max(1));
        let halves = |duration: u32| duration > 0 && (u64::from(duration) * 2).abs_diff(frame) * 50 <= frame;
        let mut of_video = packets.iter().filter(|packet| packet.stream == video.index).peekable();
        let fields = video.interlaced && of_video.peek().is_some() && of_video.all(|packet| halves(packet.duration));
        fields.then(Self::default)
    }

    /// In decode order.
    pub fn join(&mut self, packet: &mut Placed) {
        let Some(pts) = packet.pts else { return };
        match self.first.take() {
            Some((first, duration)) if pts == first + i64::from(duration) => packet.discard = true,
            _ => {
                self.first = Some((pts, packet.duration));
                packet.duration *= 2;
            }
        }
    }
}
