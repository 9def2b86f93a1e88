//! Which messages have come, which have been handled.
//!
//! The broker may deliver a message twice, and a worker that did not hear of its success sends it twice. Each has an id.

use std::collections::{HashMap, HashSet, VecDeque};

use async_nats::Subject;

/// Handled messages that are remembered. One of them comes again only if its ack got lost.
const REMEMBERED: usize = 16_384;

/// What is to be done with a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is new.
    New,
    /// It has come before and is not handled yet.
    Waiting,
    /// It was handled: its ack got lost.
    Handled,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Not handled yet, and where the ack of its latest delivery goes.
    open: HashMap<String, Subject>,
    handled: HashSet<String>,
    order: VecDeque<String>,
}

impl Ledger {
    pub fn arrived(&mut self, id: &str, reply: Subject) -> Arrival {
        if self.handled.contains(id) {
            return Arrival::Handled;
        }
        match self.open.insert(id.to_owned(), reply) {
            Some(_) => Arrival::Waiting,
            None => Arrival::New,
        }
    }

    /// Returns where the ack goes; `None` if it is not open.
    pub fn handle(&mut self, id: String) -> Option<Subject> {
        let reply = self.open.remove(&id)?;
        self.order.push_back(id.clone());
        self.handled.insert(id);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.handled.remove(&oldest);
        }
        Some(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_delivery_of_a_message_is_acknowledged_once() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.arrived("a", "first".into()), Arrival::New);
        assert_eq!(ledger.arrived("a", "second".into()), Arrival::Waiting);
        assert_eq!(ledger.handle("a".into()), Some("second".into()));
        assert_eq!(ledger.handle("a".into()), None);
        assert_eq!(ledger.arrived("a", "third".into()), Arrival::Handled);
    }

    #[test]
    fn what_was_handled_long_ago_is_forgotten() {
        let mut ledger = Ledger::default();
        for number in 0..=REMEMBERED {
            ledger.arrived(&number.to_string(), "reply".into());
            ledger.handle(number.to_string());
        }
        assert_eq!(ledger.arrived("0", "reply".into()), Arrival::New);
        assert_eq!(ledger.arrived("1", "reply".into()), Arrival::Handled);
        assert_eq!(ledger.handled.len(), ledger.order.len());
    }
}
