//! An established socket with its framing and its outgoing queue: what both homes
//! do alike, whichever loop watches the socket.

use std::io::{self, IoSlice};

use super::reactor::{Interest, Registration};
use super::stream::{Received, Stream};
use crate::channel::framing::{Framer, Message, Refused};
use crate::channel::outbox::{Outbox, SLICES};
use crate::config::limits;
use crate::fault;

/// A connection's socket and everything between it and whole messages.
#[derive(Debug)]
pub struct Endpoint<R: Registration> {
    // Declared before the stream: the watch must end before the socket closes.
    registration: R,
    stream: Stream,
    framer: Framer,
    outbox: Outbox,
    reading: bool,
    interest: Interest,
}

/// What a turn of reading brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// More may come later.
    Open,
    /// The peer closed; what arrived before is in the framer.
    End,
}

impl<R: Registration> Endpoint<R> {
    /// Takes over a socket that `registration` watches for reading.
    pub fn new(stream: Stream, registration: R, framer: Framer, outbox: Outbox) -> Self {
        Self { registration, stream, framer, outbox, reading: true, interest: Interest::READ }
    }

    /// Reads what has arrived, at most one turn's worth.
    pub fn fill(&mut self) -> io::Result<Fill> {
        fault::point("reading a socket");
        let mut taken = 0;
        while taken < limits::READ_TURN {
            match self.stream.recv(self.framer.input())? {
                Received::Data { bytes, more: true } => taken += bytes,
                Received::Data { .. } | Received::Nothing => break,
                Received::End => return Ok(Fill::End),
            }
        }
        if self.stream.has_unsent() {
            // An answer of a layer's.
            self.update_interest(false);
        }
        Ok(Fill::Open)
    }

    /// The next message out of what was read.
    pub fn poll_message(&mut self) -> Result<Option<Message>, Refused> {
        self.framer.poll_message()
    }

    /// The outgoing queue.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Writes what the socket takes, and waits for room if something is left.
    /// Returns how many bytes left.
    pub fn flush(&mut self) -> io::Result<usize> {
        let mut sent = 0;
        let result = loop {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = self.outbox.slices(&mut slices, self.stream.is_layered());
            if used == 0 {
                break self.stream.flush().map(|()| sent);
            }
            let offered: usize = slices[..used].iter().map(|slice| slice.len()).sum();
            match self.stream.send(&slices[..used]) {
                Ok(count) => {
                    fault::point("flush");
                    self.outbox.consume(count);
                    sent += count;
                    if count < offered {
                        break Ok(sent);
                    }
                }
                Err(error) => break Err(error),
            }
        };
        self.update_interest(false);
        result
    }

    /// Asks to be told when there is room, instead of writing now.
    pub fn flush_later(&mut self) {
        self.update_interest(true);
    }

    /// Whether the socket is read at all.
    pub fn set_reading(&mut self, reading: bool) {
        self.reading = reading;
        self.update_interest(false);
    }

    /// Waits for nothing any more: the connection is about to be closed.
    pub fn silence(&mut self) {
        self.reading = false;
        self.apply(Interest { read: false, write: false });
    }

    fn update_interest(&mut self, later: bool) {
        let write = later || !self.outbox.is_empty() || self.stream.has_unsent();
        self.apply(Interest { read: self.reading, write });
    }

    fn apply(&mut self, interest: Interest) {
        if interest != self.interest {
            self.interest = interest;
            self.registration.set_interest(interest);
        }
    }
}
