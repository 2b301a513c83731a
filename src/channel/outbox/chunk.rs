//! A run of bytes in the queue, and the large ones that all queues share.

#![expect(
    clippy::unnecessary_box_returns,
    clippy::vec_box,
    reason = "a chunk is taken out of its queue and put back for each message: boxed, that \
              moves a pointer"
)]

use bytes::Bytes;
use parking_lot::Mutex;

use super::messages;
use crate::channel::descriptors::Descriptors;
use crate::config::limits;
use crate::wire::header::HeaderForm;

/// A run of bytes on its way out: `data[start..end]` is still to be sent.
#[derive(Debug)]
pub struct Chunk {
    data: Data,
    pub(super) start: usize,
    pub(super) end: usize,
    /// Where the last message in it begins.
    pub(super) last: usize,
}

#[derive(Debug)]
enum Data {
    /// This queue's own.
    Own(Box<[u8]>),
    /// The end of a message that other queues have too.
    Shared(Bytes),
    /// A byte, and what goes with it.
    Passed([u8; 1], Descriptors),
}

/// Large chunks that no queue has: a connection at rest costs none, and a busy one uses
/// memory that is in the processor's cache.
#[derive(Debug, Default)]
pub struct Chunks(Mutex<Vec<Box<Chunk>>>);

impl Chunk {
    pub(super) fn new(size: usize) -> Box<Self> {
        let data = Data::Own(vec![0; size].into_boxed_slice());
        Box::new(Self { data, start: 0, end: 0, last: 0 })
    }

    pub(super) fn shared(bytes: Bytes) -> Box<Self> {
        Box::new(Self { start: 0, end: bytes.len(), last: 0, data: Data::Shared(bytes) })
    }

    pub(super) fn passed(descriptors: Descriptors, byte: u8) -> Box<Self> {
        let data = Data::Passed([byte], descriptors);
        Box::new(Self { start: 0, end: 1, last: 0, data })
    }

    /// What goes with its byte.
    pub(super) fn passes(&self) -> Option<&Descriptors> {
        match &self.data {
            Data::Passed(_, descriptors) => Some(descriptors),
            Data::Own(_) | Data::Shared(_) => None,
        }
    }

    /// Whether it is this queue's own, and of this size or less.
    pub(super) fn is_own(&self, most: usize) -> bool {
        matches!(&self.data, Data::Own(data) if data.len() <= most)
    }

    /// Forgets what was in it.
    pub(super) fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
        self.last = 0;
    }

    /// Whether so many bytes can be written to it.
    pub(super) fn takes(&self, total: usize) -> bool {
        matches!(&self.data, Data::Own(data) if data.len() - self.end >= total)
    }

    /// Where can be written; nowhere in what is shared.
    pub(super) fn own(&mut self) -> &mut [u8] {
        match &mut self.data {
            Data::Own(data) => data,
            Data::Shared(_) | Data::Passed(..) => &mut [],
        }
    }

    /// Whether nothing of it is shared, nor the end of its last message.
    pub(super) fn holds_whole_messages(&self, form: HeaderForm) -> bool {
        let lengths = messages(form, self.pending()).map(|(head, body)| head.len() + body.len());
        matches!(self.data, Data::Own(_)) && lengths.sum::<usize>() == self.pending().len()
    }

    /// The bytes still to be sent.
    pub fn pending(&self) -> &[u8] {
        let data = match &self.data {
            Data::Own(data) => &data[..],
            Data::Shared(data) => &data[..],
            Data::Passed(byte, _) => &byte[..],
        };
        &data[self.start..self.end]
    }

    /// The same in two, the second of which has bytes of one message only.
    pub(super) fn halves(&self) -> (&[u8], &[u8]) {
        self.pending().split_at(self.last.saturating_sub(self.start))
    }
}

impl Chunks {
    /// An empty chunk of this size.
    pub(super) fn take(&self, size: usize) -> Box<Chunk> {
        let mut idle = self.0.lock();
        let fitting = idle.iter().rposition(|chunk| chunk.takes(size));
        fitting.map_or_else(|| Chunk::new(size), |place| idle.swap_remove(place))
    }

    /// Takes an empty one back.
    pub(super) fn give_back(&self, chunk: Box<Chunk>) {
        let mut idle = self.0.lock();
        if idle.len() < limits::IDLE_CHUNKS {
            idle.push(chunk);
        }
    }
}
