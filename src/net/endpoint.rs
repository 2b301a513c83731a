//! An established socket with its framing and its outgoing queue: what both homes
//! do alike, whichever loop watches the socket.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::reactor::{Interest, Registration};
use super::stream::{Received, Stream};
use crate::channel::framing::{Framer, Refused};
use crate::channel::outbox::{Outbox, SLICES};
use crate::channel::read_buffers::ReadBuffers;
use crate::channel::run::Parcel;
use crate::fault;
use crate::stats::{self, Counters};

/// A connection's socket and everything between it and whole messages.
#[derive(Debug)]
pub struct Endpoint<R: Registration> {
    // Declared before the stream: the watch must end before the socket closes.
    registration: R,
    stream: Stream,
    framer: Framer,
    outbox: Outbox,
    buffers: Arc<ReadBuffers>,
    counters: Arc<Counters>,
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
    /// Takes over a socket that `registration` watches for reading. It is read into
    /// `buffers`, and what passes is counted by `counters`.
    pub fn new(
        stream: Stream,
        registration: R,
        framer: Framer,
        outbox: Outbox,
        buffers: Arc<ReadBuffers>,
        counters: Arc<Counters>,
    ) -> Self {
        let interest = Interest::READ;
        Self { registration, stream, framer, outbox, buffers, counters, reading: true, interest }
    }

    /// Reads what has arrived, at most one turn's worth. What comes of it is to be taken
    /// by [`Endpoint::poll_parcel`].
    pub fn fill(&mut self) -> io::Result<Fill> {
        fault::point("reading a socket");
        let turn = self.stream.turn();
        self.framer.prepare(&self.buffers, turn);
        let before = self.framer.input().len();
        let fill = self.read_turn(turn);
        let taken = self.framer.input().len() - before;
        if taken > 0 {
            self.counters.received(taken, stats::now());
        }
        fill
    }

    fn read_turn(&mut self, turn: usize) -> io::Result<Fill> {
        let mut taken = 0;
        while taken < turn {
            let input = self.framer.input();
            if input.len() == input.capacity() {
                break;
            }
            match self.stream.recv(input)? {
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

    /// What comes next out of what was read.
    pub fn poll_parcel(&mut self) -> Result<Option<Parcel>, Refused> {
        let parcel = self.framer.poll_parcel()?;
        let count = self.framer.take_count();
        if count > 0 {
            self.counters.received_messages(count);
        }
        if parcel.is_none() {
            self.framer.rest(&self.buffers);
        }
        Ok(parcel)
    }

    /// What has passed here.
    pub fn counters(&self) -> &Counters {
        &self.counters
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
            if let Some((byte, descriptors)) = self.outbox.passed() {
                match self.stream.pass(byte, descriptors) {
                    Ok(0) => break Ok(sent),
                    Ok(count) => {
                        self.outbox.consume(count);
                        sent += count;
                        continue;
                    }
                    Err(error) => break Err(error),
                }
            }
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
        if sent > 0 {
            self.counters.sent(sent, self.outbox.messages(), stats::now());
        }
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
