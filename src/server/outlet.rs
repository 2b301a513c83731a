//! A connection's outgoing queue for a thread that is not the main one.
//!
//! Where the I/O thread has the connection, messages go there directly. Where the host's
//! main loop has it, they wait until that comes round. Either way one thread only may send
//! by an outlet, and the connection sends nothing else meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::channel::pipe::Outgoing;
use crate::net::crossing::Crossing;
use crate::net::io_thread::{ConnectionId, Fetcher};
use crate::stats::Counters;

/// The queue's end. Clones are the same queue.
#[derive(Clone, Debug)]
pub struct Outlet {
    way: Way,
    gathered: Arc<Gathered>,
}

#[derive(Clone, Debug)]
enum Way {
    Thread {
        id: ConnectionId,
        crossing: Arc<Crossing>,
        fetcher: Fetcher,
    },
    /// The counters say what waits in the connection.
    Main(Arc<Counters>),
}

/// What waits for the main loop.
pub(super) struct Gathered {
    waiting: Mutex<Waiting>,
    /// Bytes that wait here.
    here: AtomicUsize,
    rouse: Box<dyn Fn() + Send + Sync>,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Outgoing>,
    /// The connection is to be closed for this reason.
    end: Option<String>,
}

impl Outlet {
    /// Of a connection on the I/O thread; `rouse` makes the main loop come round.
    pub(super) fn on_thread(
        id: ConnectionId,
        crossing: Arc<Crossing>,
        fetcher: Fetcher,
        rouse: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        let way = Way::Thread { id, crossing, fetcher };
        Self { way, gathered: Arc::new(Gathered::new(rouse)) }
    }

    /// Of a connection on the main loop, which `rouse` makes come round.
    pub(super) fn on_main_loop(
        counters: Arc<Counters>,
        rouse: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self { way: Way::Main(counters), gathered: Arc::new(Gathered::new(rouse)) }
    }

    /// The main thread's end.
    pub(super) fn gathered(&self) -> Arc<Gathered> {
        Arc::clone(&self.gathered)
    }

    /// Bytes that have not left yet.
    pub fn queued(&self) -> usize {
        match &self.way {
            Way::Thread { crossing, .. } => crossing.unsent(),
            // In this order: what is handed on meanwhile counts twice and not never.
            Way::Main(counters) => self.gathered.here.load(Ordering::Acquire) + counters.queued(),
        }
    }

    /// Queues a message.
    pub fn send(&self, message: Outgoing) {
        match &self.way {
            Way::Thread { id, crossing, fetcher } => {
                let ((), ask) = crossing.with_outbox(|outbox| outbox.push_outgoing(message));
                if ask {
                    fetcher.fetch(*id);
                }
            }
            Way::Main(_) => {
                let bytes = message.head.len() + message.shared.len();
                self.gathered.here.fetch_add(bytes, Ordering::AcqRel);
                self.gathered.waiting.lock().messages.push_back(message);
                (self.gathered.rouse)();
            }
        }
    }

    /// Makes the main loop come round.
    pub fn rouse(&self) {
        (self.gathered.rouse)();
    }

    /// Asks the main thread to close the connection.
    pub fn end(&self, reason: &str) {
        self.gathered.waiting.lock().end = Some(reason.to_owned());
        (self.gathered.rouse)();
    }
}

impl Gathered {
    fn new(rouse: Box<dyn Fn() + Send + Sync>) -> Self {
        Self { waiting: Mutex::default(), here: AtomicUsize::new(0), rouse }
    }

    /// Main thread: takes all that waits, and why the connection is to be closed.
    pub(super) fn take(&self) -> (VecDeque<Outgoing>, Option<String>) {
        let mut waiting = self.waiting.lock();
        (std::mem::take(&mut waiting.messages), waiting.end.take())
    }

    /// Main thread: what was taken, so many bytes, is in the connection's queue.
    pub(super) fn handed_on(&self, taken: usize) {
        self.here.fetch_sub(taken, Ordering::AcqRel);
    }
}

impl std::fmt::Debug for Gathered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gathered").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_the_main_loop_nothing_is_queued_when_all_has_left() {
        let counters = Arc::new(Counters::default());
        let outlet = Outlet::on_main_loop(Arc::clone(&counters), Box::new(|| {}));
        outlet.send(Outgoing::small(1, vec![0; 100]));
        assert_eq!(outlet.queued(), 100);
        let gathered = outlet.gathered();
        assert_eq!(gathered.take().0.len(), 1);
        counters.set_queued(106);
        gathered.handed_on(100);
        assert_eq!(outlet.queued(), 106);
        // The socket takes it, by parts; nobody tells the outlet.
        counters.set_queued(50);
        assert_eq!(outlet.queued(), 50);
        counters.set_queued(0);
        assert_eq!(outlet.queued(), 0);
    }
}
