//! When pictures are handed to the encoder, and which of them start anew: the pure part of the order of things.
//!
//! ```text
//! constant delay   I b b b P b b b P     handed on one by one; the encoder inside keeps back as many as it has B-frames
//! burst            I|P b b b|P b b b|    handed on group by group, when the group's last picture is in, which goes first
//! ```
//!
//! With look-ahead both begin so many pictures later.

use std::collections::VecDeque;

/// A picture to encode now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The number it was submitted under.
    pub number: u64,
    /// Starts anew: an IDR.
    pub idr: bool,
    /// Its place in display order behind the last IDR.
    pub place: u32,
    /// It has its turn after one that is shown later.
    pub between: bool,
}

/// Pictures that were submitted and are not yet handed on.
#[derive(Debug)]
pub struct Order {
    /// Pictures from one IDR to the next; `None`: only where asked.
    period: Option<u32>,
    /// Pictures from one P to the next in a burst; 1: no groups.
    group: u32,
    /// The last picture of a group has its turn first.
    reorders: bool,
    /// Pictures that are looked at ahead.
    ahead: usize,
    waiting: VecDeque<(u64, bool)>,
    /// The group so far.
    gathered: Vec<Turn>,
    since_idr: Option<u32>,
}

impl Order {
    /// Groups of 1 are for constant delay.
    pub fn new(period: Option<u32>, group: u32, reorders: bool, ahead: usize) -> Self {
        let (waiting, gathered) = (VecDeque::new(), Vec::new());
        Self { period, group: group.max(1), reorders, ahead, waiting, gathered, since_idr: None }
    }

    /// Takes a picture; gives those whose turn it is.
    pub fn push(&mut self, number: u64, forced_idr: bool) -> Vec<Turn> {
        self.waiting.push_back((number, forced_idr));
        let mut turns = Vec::new();
        while self.waiting.len() > self.ahead {
            self.release(&mut turns);
        }
        turns
    }

    /// Nothing follows: gives all that is left. The next picture starts anew.
    pub fn finish(&mut self) -> Vec<Turn> {
        let mut turns = Vec::new();
        while !self.waiting.is_empty() {
            self.release(&mut turns);
        }
        self.close_group(&mut turns);
        self.since_idr = None;
        turns
    }

    fn release(&mut self, turns: &mut Vec<Turn>) {
        let Some((number, forced)) = self.waiting.pop_front() else { return };
        let idr = match self.since_idr {
            None => true,
            Some(since) => forced || self.period.is_some_and(|period| since >= period),
        };
        let place = if idr { 0 } else { self.since_idr.unwrap_or(0) };
        self.since_idr = Some(place + 1);
        let turn = Turn { number, idr, place, between: false };
        if idr {
            self.close_group(turns);
            turns.push(turn);
        } else {
            self.gathered.push(turn);
            if self.gathered.len() >= self.group as usize {
                self.close_group(turns);
            }
        }
    }

    fn close_group(&mut self, turns: &mut Vec<Turn>) {
        if self.reorders && !self.gathered.is_empty() {
            self.gathered.rotate_right(1);
            self.gathered.iter_mut().skip(1).for_each(|turn| turn.between = true);
        }
        turns.append(&mut self.gathered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(turns: &[Turn]) -> Vec<u64> {
        turns.iter().map(|turn| turn.number).collect()
    }

    #[test]
    fn a_burst_waits_for_its_last_picture_or_for_an_idr() {
        let mut order = Order::new(Some(8), 4, true, 0);
        let bursts: Vec<_> = (0..10).map(|number| numbers(&order.push(number, false))).collect();
        assert_eq!(bursts, [&[0][..], &[], &[], &[], &[4, 1, 2, 3], &[], &[], &[], &[7, 5, 6, 8], &[]]);
        assert_eq!(order.finish(), [Turn { number: 9, idr: false, place: 1, between: false }]);
    }

    #[test]
    fn an_idr_comes_each_period_and_where_it_is_forced_and_the_period_starts_anew() {
        let mut order = Order::new(Some(4), 1, false, 0);
        let turns: Vec<Turn> = (0..12).flat_map(|number| order.push(number, number == 6)).collect();
        let idrs: Vec<u64> = turns.iter().filter(|turn| turn.idr).map(|turn| turn.number).collect();
        assert_eq!(idrs, [0, 4, 6, 10]);
        assert_eq!(turns.len(), 12);
    }

    #[test]
    fn looking_ahead_begins_later_and_loses_nothing() {
        let mut order = Order::new(None, 1, false, 3);
        let turns: Vec<_> = (0..5).map(|number| numbers(&order.push(number, false))).collect();
        assert_eq!(turns, [&[][..], &[], &[], &[0], &[1]]);
        assert_eq!(numbers(&order.finish()), [2, 3, 4]);
        assert!(order.push(5, false).is_empty());
        assert_eq!(order.finish(), [Turn { number: 5, idr: true, place: 0, between: false }]);
    }
}
