//! What one channel of a char device has moved, over all its clients.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counted by both threads while the channel exists. All are bytes of data, without
/// headers.
#[derive(Debug, Default)]
pub struct ChannelCounters {
    in_data: AtomicU64,
    in_compressed: AtomicU64,
    in_decompressed: AtomicU64,
    out_data: AtomicU64,
    out_compressed: AtomicU64,
    out_uncompressed: AtomicU64,
}

/// The counters at one moment; upstream's names in its node "spicevmc".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelTotals {
    /// From clients, in messages that were not compressed.
    pub in_data: u64,
    /// From clients, compressed, as it came.
    pub in_compressed: u64,
    /// From clients, what the compressed bytes came to.
    pub in_decompressed: u64,
    /// From the device.
    pub out_data: u64,
    /// To clients, compressed, as it was sent.
    pub out_compressed: u64,
    /// To clients, what those bytes had been.
    pub out_uncompressed: u64,
}

impl ChannelCounters {
    /// Data from a client that came as they are.
    pub fn received(&self, bytes: usize) {
        add(&self.in_data, bytes);
    }

    /// Compressed bytes from a client.
    pub fn received_compressed(&self, bytes: usize) {
        add(&self.in_compressed, bytes);
    }

    /// What came out of compressed bytes.
    pub fn decompressed(&self, bytes: usize) {
        add(&self.in_decompressed, bytes);
    }

    /// Data read from the device. Only the main thread calls this, so that the counter needs
    /// no locked instruction, which would cost more than the rest of a short read.
    pub fn read_from_device(&self, bytes: usize) {
        let before = self.out_data.load(Ordering::Relaxed);
        self.out_data.store(before.wrapping_add(bytes as u64), Ordering::Relaxed);
    }

    /// A block of `before` bytes leaves as `after` bytes.
    pub fn compressed(&self, before: usize, after: usize) {
        add(&self.out_uncompressed, before);
        add(&self.out_compressed, after);
    }

    /// The totals now.
    pub fn totals(&self) -> ChannelTotals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ChannelTotals {
            in_data: read(&self.in_data),
            in_compressed: read(&self.in_compressed),
            in_decompressed: read(&self.in_decompressed),
            out_data: read(&self.out_data),
            out_compressed: read(&self.out_compressed),
            out_uncompressed: read(&self.out_uncompressed),
        }
    }
}

fn add(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(bytes as u64, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_is_its_own() {
        let counters = ChannelCounters::default();
        counters.received_compressed(10);
        counters.decompressed(100);
        counters.received(7);
        counters.read_from_device(50);
        counters.compressed(40, 4);
        let expected = ChannelTotals {
            in_data: 7,
            in_compressed: 10,
            in_decompressed: 100,
            out_data: 50,
            out_compressed: 4,
            out_uncompressed: 40,
        };
        assert_eq!(counters.totals(), expected);
    }
}
