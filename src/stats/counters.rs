//! What one connection has moved, and sums of that.
//!
//! Each connection has its counters. The thread that moves bytes adds to them, once for a
//! batch where it can; any thread may read them meanwhile. Sums over a channel, a client or
//! a server are made by the reader (`registry.rs`), so that nothing is counted twice.

use std::sync::atomic::{AtomicU64, Ordering};

use super::time::Nanoseconds;

/// Counted while the connection exists, each number by one thread.
#[derive(Debug, Default)]
pub struct Counters {
    received_bytes: AtomicU64,
    received_messages: AtomicU64,
    sent_bytes: AtomicU64,
    sent_messages: AtomicU64,
    in_data: AtomicU64,
    in_compressed: AtomicU64,
    in_decompressed: AtomicU64,
    out_data: AtomicU64,
    out_compressed: AtomicU64,
    out_uncompressed: AtomicU64,
    queued: AtomicU64,
    queued_highest: AtomicU64,
    blocked_in: Stopwatch,
    blocked_out: Stopwatch,
    last_activity: AtomicU64,
}

/// Counters at one moment, or sums of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes from clients with the headers of messages, without what wraps them.
    pub received_bytes: u64,
    /// Messages from clients.
    pub received_messages: u64,
    /// Bytes that went to clients, likewise; the link's result is one of them.
    pub sent_bytes: u64,
    /// Messages to clients.
    pub sent_messages: u64,
    /// Data for a device, in messages that were not compressed.
    pub in_data: u64,
    /// Data for a device, compressed, as they came.
    pub in_compressed: u64,
    /// What the compressed bytes came to.
    pub in_decompressed: u64,
    /// Data from a device.
    pub out_data: u64,
    /// To clients, compressed, as it was sent.
    pub out_compressed: u64,
    /// To clients, what those bytes had been.
    pub out_uncompressed: u64,
    /// Bytes that wait for a client.
    pub queued: u64,
    /// The most that have ever waited for one client on one channel.
    pub queued_highest: u64,
    /// How long messages waited because their receiver was full.
    pub blocked_in: Nanoseconds,
    /// How long a device, or who else makes messages, waited because a client's queue was
    /// full.
    pub blocked_out: Nanoseconds,
    /// When bytes last came or went; 0: never.
    pub last_activity: Nanoseconds,
}

impl Counters {
    /// A turn of reading brought bytes.
    pub fn received(&self, bytes: usize, now: Nanoseconds) {
        add(&self.received_bytes, bytes as u64);
        self.last_activity.store(now, Ordering::Relaxed);
    }

    /// Messages that were cut out of these bytes.
    pub fn received_messages(&self, count: u64) {
        add(&self.received_messages, count);
    }

    /// A turn of writing took bytes; so many messages have been queued for it since the
    /// beginning.
    pub fn sent(&self, bytes: usize, messages: u64, now: Nanoseconds) {
        add(&self.sent_bytes, bytes as u64);
        self.sent_messages.store(messages, Ordering::Relaxed);
        self.last_activity.store(now, Ordering::Relaxed);
    }

    /// So many bytes wait for the client.
    pub fn set_queued(&self, bytes: usize) {
        let bytes = bytes as u64;
        self.queued.store(bytes, Ordering::Relaxed);
        // A locked instruction only for a new record.
        if bytes > self.queued_highest.load(Ordering::Relaxed) {
            self.queued_highest.fetch_max(bytes, Ordering::Relaxed);
        }
    }

    /// How many bytes wait for the client, as was said last.
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed) as usize
    }

    /// A message of the client's has to wait for its receiver. Main thread.
    pub fn block_in(&self, now: Nanoseconds) {
        self.blocked_in.start(now);
    }

    /// It has to wait no more. Main thread.
    pub fn unblock_in(&self, now: Nanoseconds) {
        self.blocked_in.stop(now);
    }

    /// The queue is full, and somebody waits for that. Main thread.
    pub fn block_out(&self, now: Nanoseconds) {
        self.blocked_out.start(now);
    }

    /// It has shrunk. Main thread.
    pub fn unblock_out(&self, now: Nanoseconds) {
        self.blocked_out.stop(now);
    }

    /// Data from a client that came as they are.
    pub fn received_data(&self, bytes: usize) {
        add(&self.in_data, bytes as u64);
    }

    /// Compressed bytes from a client.
    pub fn received_compressed(&self, bytes: usize) {
        add(&self.in_compressed, bytes as u64);
    }

    /// What came out of compressed bytes.
    pub fn decompressed(&self, bytes: usize) {
        add(&self.in_decompressed, bytes as u64);
    }

    /// Data read from the device. Main thread.
    pub fn read_from_device(&self, bytes: usize) {
        add(&self.out_data, bytes as u64);
    }

    /// A block of `before` bytes leaves as `after` bytes.
    pub fn compressed(&self, before: usize, after: usize) {
        add(&self.out_uncompressed, before as u64);
        add(&self.out_compressed, after as u64);
    }

    /// All of them; what is waited for now counts up to `now`.
    pub fn totals(&self, now: Nanoseconds) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            received_bytes: read(&self.received_bytes),
            received_messages: read(&self.received_messages),
            sent_bytes: read(&self.sent_bytes),
            sent_messages: read(&self.sent_messages),
            in_data: read(&self.in_data),
            in_compressed: read(&self.in_compressed),
            in_decompressed: read(&self.in_decompressed),
            out_data: read(&self.out_data),
            out_compressed: read(&self.out_compressed),
            out_uncompressed: read(&self.out_uncompressed),
            queued: read(&self.queued),
            queued_highest: read(&self.queued_highest),
            blocked_in: self.blocked_in.read(now),
            blocked_out: self.blocked_out.read(now),
            last_activity: read(&self.last_activity),
        }
    }
}

impl Totals {
    /// Adds another connection's, or a sum of others.
    pub fn add(&mut self, other: &Self) {
        self.received_bytes += other.received_bytes;
        self.received_messages += other.received_messages;
        self.sent_bytes += other.sent_bytes;
        self.sent_messages += other.sent_messages;
        self.in_data += other.in_data;
        self.in_compressed += other.in_compressed;
        self.in_decompressed += other.in_decompressed;
        self.out_data += other.out_data;
        self.out_compressed += other.out_compressed;
        self.out_uncompressed += other.out_uncompressed;
        self.queued += other.queued;
        self.queued_highest = self.queued_highest.max(other.queued_highest);
        self.blocked_in += other.blocked_in;
        self.blocked_out += other.blocked_out;
        self.last_activity = self.last_activity.max(other.last_activity);
    }

    /// What stays of a connection that is closed: nothing waits for it any more.
    #[must_use]
    pub fn closed(self) -> Self {
        Self { queued: 0, ..self }
    }
}

/// Time that is counted while something lasts. One thread starts and stops it.
#[derive(Debug, Default)]
struct Stopwatch {
    total: AtomicU64,
    /// Since when it runs; 0: it stands.
    since: AtomicU64,
}

impl Stopwatch {
    fn start(&self, now: Nanoseconds) {
        if self.since.load(Ordering::Relaxed) == 0 {
            self.since.store(now.max(1), Ordering::Relaxed);
        }
    }

    fn stop(&self, now: Nanoseconds) {
        let since = self.since.load(Ordering::Relaxed);
        if since != 0 {
            let total = self.total.load(Ordering::Relaxed) + now.saturating_sub(since);
            // A reader between the two sees a little less, never more.
            self.since.store(0, Ordering::Relaxed);
            self.total.store(total, Ordering::Release);
        }
    }

    fn read(&self, now: Nanoseconds) -> Nanoseconds {
        let total = self.total.load(Ordering::Acquire);
        match self.since.load(Ordering::Relaxed) {
            0 => total,
            since => total + now.saturating_sub(since),
        }
    }
}

/// One thread alone adds to a counter: the one whose loop has the socket, or for what comes
/// from a device the main thread. So there is no need for a locked instruction, which would
/// cost more than the rest of a short read.
fn add(counter: &AtomicU64, amount: u64) {
    let before = counter.load(Ordering::Relaxed);
    counter.store(before.wrapping_add(amount), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_is_its_own() {
        let counters = Counters::default();
        counters.received(1000, 5);
        counters.received_messages(3);
        counters.sent(2000, 7, 6);
        counters.set_queued(90);
        counters.set_queued(80);
        counters.received_compressed(10);
        counters.decompressed(100);
        counters.received_data(7);
        counters.read_from_device(50);
        counters.compressed(40, 4);
        let expected = Totals {
            received_bytes: 1000,
            received_messages: 3,
            sent_bytes: 2000,
            sent_messages: 7,
            in_data: 7,
            in_compressed: 10,
            in_decompressed: 100,
            out_data: 50,
            out_compressed: 4,
            out_uncompressed: 40,
            queued: 80,
            queued_highest: 90,
            blocked_in: 0,
            blocked_out: 0,
            last_activity: 6,
        };
        assert_eq!(counters.totals(9), expected);
        let mut sum = expected.closed();
        sum.add(&expected);
        assert_eq!((sum.received_bytes, sum.sent_messages), (2000, 14));
        assert_eq!((sum.queued, sum.queued_highest, sum.last_activity), (80, 90, 6));
    }

    #[test]
    fn what_lasts_is_counted_up_to_now() {
        let counters = Counters::default();
        counters.block_in(10);
        counters.block_in(20);
        assert_eq!(counters.totals(25).blocked_in, 15, "the first one counts");
        counters.unblock_in(30);
        counters.unblock_in(40);
        assert_eq!(counters.totals(50).blocked_in, 20);
        counters.block_out(50);
        counters.unblock_out(51);
        let totals = counters.totals(60);
        assert_eq!((totals.blocked_in, totals.blocked_out), (20, 1));
    }
}
