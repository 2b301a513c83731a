//! Carries one connection's messages between the I/O thread and the main thread.
//!
//! Both queues are bounded: the I/O thread stops reading a socket whose inbox is
//! full, the main thread stops reading a device whose bytes are not sent yet.
//! Each side is told once when something waits for it, not once a message.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::channel::ending::Ending;
use crate::channel::outbox::{Loan, Outbox};
use crate::channel::run::Parcel;
use crate::config::limits;

/// Shared by the two sides of one connection.
#[derive(Debug)]
pub struct Crossing {
    inbox: Mutex<Inbox>,
    /// What the main thread queued and the I/O thread has not fetched yet.
    outbox: Mutex<Outbox>,
    /// Bytes queued by the main thread and not written to the socket yet.
    unsent: AtomicUsize,
    /// From so many unsent bytes on the main thread may wait for fewer.
    full_at: usize,
    /// The I/O thread has been asked to fetch the outbox.
    fetch_asked: AtomicBool,
}

#[derive(Debug, Default)]
struct Inbox {
    parcels: VecDeque<Parcel>,
    bytes: usize,
    /// The socket is not read until the main thread has taken the messages.
    paused: bool,
    /// The main thread has been told that something is here.
    told: bool,
    /// Why nothing more will come.
    ended: Option<Ending>,
}

/// What the I/O thread does after it delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Tell the main thread.
    pub tell: bool,
    /// Stop reading the socket.
    pub pause: bool,
}

/// What the main thread got.
#[derive(Debug)]
pub struct Taken {
    /// The messages, in order.
    pub parcels: VecDeque<Parcel>,
    /// The socket was paused: ask the I/O thread to read on.
    pub resume: bool,
    /// Why nothing follows these messages.
    pub ended: Option<Ending>,
}

impl Crossing {
    /// Starts with an empty `outbox`; `unsent` bytes queued before moved to the I/O
    /// thread together with the socket. The main thread is told each time that fewer than
    /// `full_at` are left.
    pub fn new(outbox: Outbox, unsent: usize, full_at: usize) -> Self {
        Self {
            unsent: AtomicUsize::new(unsent),
            full_at,
            outbox: Mutex::new(outbox),
            inbox: Mutex::default(),
            fetch_asked: AtomicBool::new(false),
        }
    }

    /// I/O thread: hands over what was read, and perhaps that nothing follows.
    pub fn deliver(&self, mut parcels: VecDeque<Parcel>, ended: Option<Ending>) -> Delivered {
        let mut inbox = self.inbox.lock();
        inbox.bytes += parcels.iter().map(cost).sum::<usize>();
        inbox.parcels.append(&mut parcels);
        if ended.is_some() {
            inbox.ended = ended;
        }
        inbox.paused = inbox.bytes >= limits::INBOX;
        let something = !inbox.parcels.is_empty() || inbox.ended.is_some();
        let tell = something && !std::mem::replace(&mut inbox.told, something);
        Delivered { tell, pause: inbox.paused }
    }

    /// Main thread: takes all that arrived.
    pub fn take(&self) -> Taken {
        let mut inbox = self.inbox.lock();
        inbox.told = false;
        inbox.bytes = 0;
        Taken {
            parcels: std::mem::take(&mut inbox.parcels),
            resume: std::mem::take(&mut inbox.paused),
            ended: inbox.ended.take(),
        }
    }

    /// Main thread: works on the outgoing queue. Returns what `work` returned and
    /// whether the I/O thread must be asked to fetch.
    pub fn with_outbox<T>(&self, work: impl FnOnce(&mut Outbox) -> T) -> (T, bool) {
        let mut outbox = self.outbox.lock();
        let before = outbox.len();
        let result = work(&mut outbox);
        let added = outbox.len() - before;
        // Counted before the I/O thread can fetch and send it.
        self.unsent.fetch_add(added, Ordering::Relaxed);
        // Also without new bytes: older ones may have been out with a loan when the
        // I/O thread fetched.
        let something = !outbox.is_empty();
        drop(outbox);
        if !something {
            return (result, false);
        }
        (result, !self.fetch_asked.swap(true, Ordering::AcqRel))
    }

    /// Main thread: room to read a device's data into.
    pub fn lend(&self, body_max: usize) -> Option<Loan> {
        self.outbox.lock().lend(body_max)
    }

    /// I/O thread: moves what is queued to its own end.
    pub fn fetch(&self, to: &mut Outbox) {
        self.fetch_asked.store(false, Ordering::Release);
        self.outbox.lock().drain_into(to);
    }

    /// I/O thread: `count` bytes were written. True when who waited for the queue to
    /// shrink may go on.
    pub fn sent(&self, count: usize) -> bool {
        let before = self.unsent.fetch_sub(count, Ordering::Relaxed);
        before >= self.full_at && before - count < self.full_at
    }

    /// Bytes queued and not written yet.
    pub fn unsent(&self) -> usize {
        self.unsent.load(Ordering::Relaxed)
    }
}

/// What a parcel counts for: its bytes, and something for existing, so that
/// empty messages are bounded too.
fn cost(parcel: &Parcel) -> usize {
    parcel.len() + 64
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::channel::framing::Message;
    use crate::wire::header::HeaderForm;

    fn crossing() -> Crossing {
        Crossing::new(Outbox::new(HeaderForm::Mini, 1024), 0, limits::DEVICE_TO_CLIENT)
    }

    fn messages(count: usize, size: usize) -> VecDeque<Parcel> {
        let message = || Message { kind: 101, body: Bytes::from(vec![0; size]) };
        (0..count).map(|_| Parcel::Message(message())).collect()
    }

    #[test]
    fn the_main_thread_is_told_once_until_it_takes() {
        let crossing = crossing();
        assert!(!crossing.deliver(VecDeque::new(), None).tell, "nothing to tell");
        assert!(crossing.deliver(messages(1, 1), None).tell);
        assert!(!crossing.deliver(messages(1, 1), None).tell);
        assert_eq!(crossing.take().parcels.len(), 2);
        assert!(crossing.deliver(VecDeque::new(), Some(Ending::ByClient)).tell);
        assert_eq!(crossing.take().ended, Some(Ending::ByClient));
    }

    #[test]
    fn a_full_inbox_pauses_the_socket_until_it_is_taken() {
        let crossing = crossing();
        assert!(!crossing.deliver(messages(1, limits::INBOX / 2), None).pause);
        assert!(crossing.deliver(messages(1, limits::INBOX / 2), None).pause);
        assert!(crossing.take().resume);
        assert!(!crossing.take().resume);
        let empty = limits::INBOX / 64;
        assert!(crossing.deliver(messages(empty, 0), None).pause, "empty messages count too");
    }

    #[test]
    fn bytes_that_were_out_with_a_loan_are_fetched_afterwards() {
        let crossing = crossing();
        assert!(crossing.with_outbox(|outbox| outbox.push(101, b"first")).1);
        let loan = crossing.lend(10).expect("no other loan");
        let mut theirs = Outbox::new(HeaderForm::Mini, 1024);
        crossing.fetch(&mut theirs);
        assert!(theirs.is_empty(), "out with the loan");
        let ((), ask) = crossing.with_outbox(|outbox| outbox.settle(loan, 101, 0));
        assert!(ask, "nothing was added, but something waits");
        crossing.fetch(&mut theirs);
        assert_eq!(theirs.len(), crossing.unsent());
    }

    #[test]
    fn a_device_may_be_read_again_once_the_queue_shrank() {
        let crossing = crossing();
        let body = vec![0; limits::DEVICE_TO_CLIENT];
        let ((), ask) = crossing.with_outbox(|outbox| outbox.push(101, &body));
        assert!(ask);
        let ((), ask) = crossing.with_outbox(|outbox| outbox.push(101, b"x"));
        assert!(!ask, "already asked");
        assert_eq!(crossing.unsent(), body.len() + 6 + 7);
        assert!(!crossing.sent(13));
        assert!(crossing.sent(1));
        assert!(!crossing.sent(1));
    }
}
