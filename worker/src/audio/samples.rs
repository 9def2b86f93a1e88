//! Decoded sound between the stages.

/// Planar 32-bit float samples; every channel has the same number.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples(Vec<Vec<f32>>);

impl Samples {
    /// Takes one vector a channel.
    pub fn new(channels: Vec<Vec<f32>>) -> Self {
        debug_assert!(channels.windows(2).all(|pair| pair[0].len() == pair[1].len()));
        Self(channels)
    }

    /// `count` samples of digital silence.
    pub fn silence(channels: u32, count: usize) -> Self {
        Self(vec![vec![0.0; count]; channels as usize])
    }

    /// Samples a channel.
    pub fn len(&self) -> usize {
        self.0.first().map_or(0, Vec::len)
    }

    /// One slice a channel.
    pub fn channels(&self) -> &[Vec<f32>] {
        &self.0
    }

    /// Puts `other`, which must have as many channels, behind.
    pub fn append(&mut self, other: &Self) {
        for (mine, more) in self.0.iter_mut().zip(&other.0) {
            mine.extend_from_slice(more);
        }
    }

    /// Removes and returns the first `count` samples, or all if there are fewer.
    pub fn take_front(&mut self, count: usize) -> Self {
        let count = count.min(self.len());
        Self(self.0.iter_mut().map(|channel| channel.drain(..count).collect()).collect())
    }

    /// All samples in blocks of at most `size`.
    pub fn blocks(&self, size: usize) -> impl Iterator<Item = Self> {
        (0..self.len()).step_by(size).map(move |start| {
            let end = self.len().min(start + size);
            Self(self.0.iter().map(|channel| channel[start..end].to_vec()).collect())
        })
    }

    /// Cuts or extends with silence to `count` samples.
    pub fn resize(&mut self, count: usize) {
        for channel in &mut self.0 {
            channel.resize(count, 0.0);
        }
    }
}
