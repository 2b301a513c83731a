//! One client of a device and its flow control.

use std::collections::VecDeque;
use std::time::Instant;

/// Names a client; the core only compares it.
pub type ClientKey = usize;

/// The window of a client with flow control, as both sides agree on it at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowControl {
    /// Messages that may wait for the client's tokens before it is cut.
    pub max_send_queue: usize,
    /// Messages the client may send before it is given more tokens.
    pub client_tokens: u64,
    /// Messages that may be sent to the client before it grants more.
    pub send_tokens: u64,
}

/// A client of the device.
#[derive(Debug)]
pub(super) struct Client<M> {
    pub(super) key: ClientKey,
    pub(super) window: Option<Window<M>>,
    /// Messages delivered, for the migration block of clients without a window.
    pub(super) delivered: u32,
}

/// Both directions of a client's flow control.
#[derive(Debug)]
pub(super) struct Window<M> {
    /// What the client may still send: our view of its counter.
    pub(super) client_tokens: u64,
    /// Used up by the client and not handed back yet.
    pub(super) client_tokens_free: u64,
    /// What may still be sent to the client.
    pub(super) send_tokens: u64,
    /// Waiting for send tokens, oldest first.
    pub(super) queue: VecDeque<M>,
    pub(super) max_queue: usize,
    /// When the client is cut unless it grants tokens before.
    pub(super) deadline: Option<Instant>,
}

/// What became of a message for one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// It leaves now.
    Now,
    /// It waits for tokens.
    Queued,
    /// Too many wait already.
    Overflow,
}

impl<M: Clone> Client<M> {
    pub(super) fn new(key: ClientKey, flow: Option<FlowControl>) -> Self {
        let window = flow.map(|flow| Window {
            client_tokens: flow.client_tokens,
            client_tokens_free: 0,
            send_tokens: flow.send_tokens,
            queue: VecDeque::new(),
            max_queue: flow.max_send_queue,
            deadline: None,
        });
        Self { key, window, delivered: 0 }
    }

    /// Whether a message could leave now.
    pub(super) fn can_send(&self) -> bool {
        self.window.as_ref().is_none_or(|window| window.send_tokens > 0)
    }

    /// Takes a message; one that must wait starts the clock at `deadline`.
    pub(super) fn deliver(&mut self, message: &M, deadline: Instant) -> Delivery {
        let Some(window) = &mut self.window else {
            self.delivered = self.delivered.wrapping_add(1);
            return Delivery::Now;
        };
        if window.send_tokens > 0 && window.queue.is_empty() {
            window.send_tokens -= 1;
            return Delivery::Now;
        }
        if window.queue.len() >= window.max_queue {
            return Delivery::Overflow;
        }
        window.queue.push_back(message.clone());
        window.deadline.get_or_insert(deadline);
        Delivery::Queued
    }
}

impl<M> Window<M> {
    /// The next waiting message, if a token is there for it.
    pub(super) fn pop_ready(&mut self) -> Option<M> {
        if self.send_tokens == 0 {
            return None;
        }
        let message = self.queue.pop_front()?;
        self.send_tokens -= 1;
        Some(message)
    }

    /// The client's messages of this price were consumed. Returns how many tokens
    /// to hand back now: only lots of at least `interval` are.
    pub(super) fn give_back(&mut self, price: u64, interval: u64) -> Option<u64> {
        self.client_tokens_free += price;
        if self.client_tokens_free < interval {
            return None;
        }
        let lot = std::mem::take(&mut self.client_tokens_free);
        self.client_tokens = self.client_tokens.saturating_add(lot);
        (lot > 0).then_some(lot)
    }

    /// Counts what the client used up as handed back.
    pub(super) fn take_back(&mut self) {
        let lot = std::mem::take(&mut self.client_tokens_free);
        self.client_tokens = self.client_tokens.saturating_add(lot);
    }
}
