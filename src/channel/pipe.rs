//! What waits for one client of a channel with acknowledgements: messages that its
//! window, or its socket, does not let leave yet.
//!
//! The large part of a message is shared by all clients that get it.

use std::collections::VecDeque;

use bytes::Bytes;

use super::acks::Acks;
use super::descriptors::Descriptors;
use crate::wire::common::SET_ACK;

/// A message on its way to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Message type.
    pub kind: u16,
    /// How the body begins.
    pub head: Vec<u8>,
    /// How it goes on: a picture, shared by those who get it.
    pub shared: Bytes,
    /// What goes with it; only to clients on this machine.
    pub descriptors: Option<Descriptors>,
}

impl Outgoing {
    /// A message without a shared part.
    pub fn small(kind: u16, body: Vec<u8>) -> Self {
        Self::large(kind, body, Bytes::new())
    }

    /// A message with one.
    pub fn large(kind: u16, head: Vec<u8>, shared: Bytes) -> Self {
        Self { kind, head, shared, descriptors: None }
    }
}

/// One client's queue and window.
#[derive(Debug)]
pub struct Pipe {
    acks: Acks,
    /// SET_ACK has left.
    begun: bool,
    /// Oldest first.
    waiting: VecDeque<Outgoing>,
    /// Nothing is added or taken back any more.
    closed: bool,
}

impl Pipe {
    /// A queue that begins with SET_ACK.
    pub fn new(window: u32) -> Self {
        Self { acks: Acks::new(window), begun: false, waiting: VecDeque::new(), closed: false }
    }

    /// Puts a message at the end.
    pub fn push(&mut self, message: Outgoing) {
        if !self.closed {
            self.waiting.push_back(message);
        }
    }

    /// Puts the last message at the end: what comes later is not said.
    pub fn close(&mut self, message: Outgoing) {
        self.push(message);
        self.closed = true;
    }

    /// Drops what waits and is of one of these types: something newer says it all.
    pub fn drop_waiting(&mut self, kinds: &[u16]) {
        if !self.closed {
            self.waiting.retain(|message| !kinds.contains(&message.kind));
        }
    }

    /// The next message, if it may leave now: then it counts as sent.
    pub fn poll(&mut self) -> Option<Outgoing> {
        if !self.begun {
            self.begun = true;
            return Some(Outgoing::small(SET_ACK, self.acks.begin().to_vec()));
        }
        if !self.acks.may_send() {
            return None;
        }
        let message = self.waiting.pop_front()?;
        self.acks.handle_sent();
        Some(message)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.begun && self.waiting.is_empty()
    }

    /// The client follows this SET_ACK.
    pub fn handle_sync(&mut self, generation: u32) {
        self.acks.handle_sync(generation);
    }

    /// The client has got a window's worth.
    pub fn handle_ack(&mut self) {
        self.acks.handle_ack();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(pipe: &mut Pipe) -> Vec<u16> {
        std::iter::from_fn(|| pipe.poll()).map(|message| message.kind).collect()
    }

    #[test]
    fn set_ack_comes_first_and_the_rest_in_order() {
        let mut pipe = Pipe::new(20);
        assert!(!pipe.is_empty(), "SET_ACK waits");
        pipe.push(Outgoing::small(101, vec![]));
        pipe.push(Outgoing::small(102, vec![]));
        assert_eq!(kinds(&mut pipe), [SET_ACK, 101, 102]);
        assert!(pipe.is_empty());
    }

    #[test]
    fn a_closed_window_holds_messages_until_it_is_acknowledged() {
        let mut pipe = Pipe::new(2);
        for kind in 0..10 {
            pipe.push(Outgoing::small(kind, vec![]));
        }
        assert_eq!(kinds(&mut pipe), [SET_ACK, 0, 1, 2, 3]);
        pipe.handle_ack();
        assert!(pipe.poll().is_none(), "without ACK_SYNC");
        pipe.handle_sync(1);
        pipe.handle_ack();
        assert_eq!(kinds(&mut pipe), [4, 5]);
        assert!(!pipe.is_empty());
    }

    #[test]
    fn what_is_out_of_date_need_not_leave() {
        let mut pipe = Pipe::new(20);
        for kind in [7, 8, 7, 9] {
            pipe.push(Outgoing::small(kind, vec![]));
        }
        pipe.drop_waiting(&[7, 9]);
        assert_eq!(kinds(&mut pipe), [SET_ACK, 8]);
    }

    #[test]
    fn nothing_follows_the_last_message() {
        let mut pipe = Pipe::new(20);
        pipe.push(Outgoing::small(7, vec![]));
        pipe.close(Outgoing::small(1, vec![]));
        pipe.drop_waiting(&[7, 1]);
        pipe.push(Outgoing::small(8, vec![]));
        assert_eq!(kinds(&mut pipe), [SET_ACK, 7, 1]);
    }
}
