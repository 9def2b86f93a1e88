//! Which surfaces are free.

/// The surfaces of a decoder, as the parser hands them out. What a card still needs for reference counts as free here once it
/// was shown, so that a client that maps late is found out sooner.
pub struct Indices {
    /// When each was released; none while it is in use.
    released: Vec<Option<u64>>,
    releases: u64,
}

impl Indices {
    pub fn new(count: usize) -> Self {
        Self { released: vec![Some(0); count.clamp(1, 32)], releases: 0 }
    }

    /// Another decoder: all are free.
    pub fn resize(&mut self, count: usize) {
        *self = Self::new(count);
    }

    pub fn len(&self) -> usize {
        self.released.len()
    }

    /// The one that has been free for longest, or with the fault `decode:reuse` the one that was released last.
    pub fn take(&mut self) -> Option<usize> {
        let free = self.released.iter().enumerate().filter_map(|(index, released)| Some(((*released)?, index)));
        let (_, index) = if card::faults().decode_reuse { free.max() } else { free.min() }?;
        self.released[index] = None;
        Some(index)
    }

    pub fn release(&mut self, index: usize) {
        self.releases += 1;
        if let Some(released) = self.released.get_mut(index) {
            *released = Some(self.releases);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surfaces_are_used_again_in_the_order_in_which_they_were_released() {
        let mut indices = Indices::new(3);
        assert_eq!([(); 4].map(|()| indices.take()), [Some(0), Some(1), Some(2), None]);
        indices.release(2);
        indices.release(0);
        assert_eq!([(); 3].map(|()| indices.take()), [Some(2), Some(0), None]);
    }
}
