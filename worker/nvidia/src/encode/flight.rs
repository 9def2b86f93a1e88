//! Which packet may be waited for.
//!
//! `NvEncEncodePicture` answers at once: either that packets will come, or that it needs more pictures first (it reorders,
//! and looks ahead). Packets fill the buffers in the order in which these were handed in, and waiting for one that isn't
//! due would hang. So: a buffer whose picture was answered with "more" is not waited for before a later "success"; and
//! the oldest is not waited for before `depth` are in flight, so that the engine always has something to do.

use std::collections::VecDeque;

/// What is in flight, oldest first.
#[derive(Debug)]
pub(super) struct Flight<T> {
    waiting: VecDeque<T>,
    /// How many of the oldest will be filled without another picture.
    due: usize,
    depth: usize,
    ended: bool,
}

impl<T> Flight<T> {
    /// Nothing yet; `depth` is how much the driver is given before its first packet is waited for, at least 1.
    pub(super) fn new(depth: usize) -> Self {
        Self { waiting: VecDeque::with_capacity(depth), due: 0, depth: depth.max(1), ended: false }
    }

    /// One more was handed in.
    pub(super) fn begin(&mut self, one: T) {
        self.waiting.push_back(one);
    }

    /// The driver took the last one in, and needs no more pictures for all so far.
    pub(super) fn success(&mut self) {
        self.due = self.waiting.len();
    }

    /// The driver was told that nothing comes any more: all will be filled.
    pub(super) fn end(&mut self) {
        self.ended = true;
        self.success();
    }

    /// The oldest, if its packet may and should be waited for now.
    pub(super) fn oldest_due(&self) -> Option<&T> {
        let enough = self.ended || self.waiting.len() >= self.depth;
        self.waiting.front().filter(|_| enough && self.due > 0)
    }

    /// The oldest's packet was taken.
    pub(super) fn land(&mut self) -> Option<T> {
        self.due = self.due.saturating_sub(1);
        self.waiting.pop_front()
    }

    /// How many are in flight.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays statuses (`true`: success) and tells after which picture each was taken, or `None` for after the end.
    fn play(depth: usize, answers: &[bool]) -> Vec<(usize, Option<usize>)> {
        let mut flight = Flight::new(depth);
        let mut taken = Vec::new();
        for (number, success) in answers.iter().enumerate() {
            flight.begin(number);
            if *success {
                flight.success();
            }
            while let Some(&oldest) = flight.oldest_due() {
                taken.push((oldest, Some(number)));
                flight.land();
            }
        }
        flight.end();
        while let Some(&oldest) = flight.oldest_due() {
            taken.push((oldest, None));
            flight.land();
        }
        taken
    }

    #[test]
    fn a_driver_with_a_delay_is_waited_for_in_order_and_only_when_enough_is_in_flight() {
        // Every picture from the fourth on makes one packet.
        let answers: Vec<bool> = (0..10).map(|number| number >= 3).collect();
        let taken = play(8, &answers);
        assert_eq!(taken.iter().map(|(packet, _)| *packet).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
        assert_eq!(taken[0], (0, Some(7)));
        assert_eq!(taken[2], (2, Some(9)));
        assert!(taken[3..].iter().all(|(_, after)| after.is_none()));
    }

    #[test]
    fn a_group_that_comes_at_once_is_not_waited_for_before_its_last_picture() {
        // I, then groups of three B-frames whose packets come with the P that follows.
        let answers: Vec<bool> = (0..24).map(|number| number % 4 == 0).collect();
        let success = |packet: usize| packet.next_multiple_of(4);
        let taken = play(16, &answers);
        assert_eq!(taken.len(), 24);
        for (packet, after) in taken {
            if let Some(after) = after {
                assert!(after >= success(packet), "packet {packet} was waited for after picture {after}");
                assert!(after + 1 >= 16);
            }
        }
    }

    #[test]
    fn nothing_is_waited_for_before_the_first_success_however_long_that_takes() {
        let taken = play(4, &[false; 12]);
        assert!(taken.iter().all(|(_, after)| after.is_none()));
        assert_eq!(taken.len(), 12);
    }

    #[test]
    fn what_came_after_the_last_success_waits_for_the_end() {
        let taken = play(2, &[true, true, true, false, false]);
        assert_eq!(taken, [(0, Some(1)), (1, Some(2)), (2, Some(3)), (3, None), (4, None)]);
    }
}
