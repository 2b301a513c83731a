//! An established connection whose home is the I/O thread.

use std::collections::VecDeque;
use std::sync::Arc;

use super::crossing::{Crossing, Delivered};
use super::endpoint::{Endpoint, Fill};
use super::reactor::IoRegistration;
use crate::channel::ending::Ending;

/// The I/O thread's end of a connection.
#[derive(Debug)]
pub(super) struct IoConnection {
    endpoint: Endpoint<IoRegistration>,
    crossing: Arc<Crossing>,
}

/// What the main thread must hear after a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// Messages wait, or the end.
    pub(super) arrived: bool,
    /// The device may be read again.
    pub(super) drained: bool,
}

impl IoConnection {
    pub(super) fn new(endpoint: Endpoint<IoRegistration>, crossing: Arc<Crossing>) -> Self {
        Self { endpoint, crossing }
    }

    /// Delivers what was read together with the link and sends what is queued.
    pub(super) fn begin(&mut self) -> Report {
        let arrived = self.deliver(None);
        Report { arrived, ..self.handle_queued() }
    }

    /// The socket is ready.
    pub(super) fn handle_ready(&mut self, readable: bool, writable: bool) -> Report {
        let mut report = Report::default();
        if writable {
            report = self.handle_queued();
        }
        if readable {
            let end = match self.endpoint.fill() {
                Ok(Fill::Open) => None,
                Ok(Fill::End) => Some(Ending::ByClient),
                Err(error) => Some(Ending::fault(error)),
            };
            report.arrived |= self.deliver(end);
        }
        report
    }

    /// The main thread queued something, or the socket has room. While the socket is
    /// full nothing is fetched: the other side gathers it in few chunks meanwhile.
    pub(super) fn handle_queued(&mut self) -> Report {
        let mut sent = 0;
        loop {
            match self.endpoint.flush() {
                Ok(count) => sent += count,
                Err(error) => {
                    self.endpoint.silence();
                    let end = Some(Ending::fault(error));
                    let arrived = self.crossing.deliver(VecDeque::new(), end).tell;
                    return Report { arrived, drained: false };
                }
            }
            if self.endpoint.outbox().is_empty() {
                self.crossing.fetch(self.endpoint.outbox());
            } else {
                break;
            }
            if self.endpoint.outbox().is_empty() {
                break;
            }
        }
        Report { drained: self.crossing.sent(sent), arrived: false }
    }

    /// The main thread has taken the messages: read on.
    pub(super) fn resume(&mut self) -> Report {
        self.endpoint.set_reading(true);
        Report { arrived: self.deliver(None), drained: false }
    }

    /// A step panicked: tells the other side that nothing more will come.
    pub(super) fn abandon(self) {
        let reason = Ending::fault("internal error in a step of this connection");
        self.crossing.deliver(VecDeque::new(), Some(reason));
    }

    /// Cuts what was read into messages and hands them over. Returns whether the
    /// main thread must be told.
    fn deliver(&mut self, mut end: Option<Ending>) -> bool {
        let mut messages = VecDeque::new();
        loop {
            match self.endpoint.poll_message() {
                Ok(Some(message)) => messages.push_back(message),
                Ok(None) => break,
                Err(too_large) => {
                    end = Some(Ending::fault(too_large));
                    break;
                }
            }
        }
        let ended = end.is_some();
        let Delivered { tell, pause } = self.crossing.deliver(messages, end);
        if ended {
            self.endpoint.silence();
        } else if pause {
            self.endpoint.set_reading(false);
        }
        tell
    }
}
