//! Outgoing messages of one connection, laid out for few and large writes.
//!
//! Messages are written one behind the other into chunks, so that a gathered
//! write needs one slice a chunk and a small message costs no allocation. A
//! device's data is read straight into the chunk it leaves from: [`Outbox::lend`]
//! gives the room out, [`Outbox::settle`] takes it back with the header filled in.
//! What many clients get is not copied for each: [`Outbox::push_shared`].

mod chunk;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;

use super::compressor::Compressor;
use super::descriptors::{COMPANION, Descriptors};
use super::packer::Packer;
use super::pipe::Outgoing;
use crate::wire::header::{self, Header, HeaderForm};

pub use chunk::{Chunk, Chunks};

/// Size of a queue's first chunk. What a quiet channel says fits in.
const FIRST: usize = 1024;

/// Slices that one gathered write takes.
pub const SLICES: usize = 16;

/// Room lent to a reader: the header's place is kept free in front of it.
#[derive(Debug)]
pub struct Loan {
    /// Boxed, because it is taken out and put back for each message.
    chunk: Box<Chunk>,
    body_max: usize,
    form: HeaderForm,
    serial: u64,
}

/// The queue of outgoing bytes.
#[derive(Debug)]
pub struct Outbox {
    form: HeaderForm,
    serial: u64,
    chunks: VecDeque<Box<Chunk>>,
    /// Whether a loan is out.
    lent: bool,
    /// Pushed while a loan is out: leaves after it.
    behind: VecDeque<Box<Chunk>>,
    /// The first chunk, when it is empty.
    first: Option<Box<Chunk>>,
    /// Where the others come from.
    pool: Arc<Chunks>,
    chunk_size: usize,
    len: usize,
    /// Rewrites what leaves: compresses data, encodes sound.
    packer: Option<Box<dyn Packer>>,
}

impl Loan {
    /// Where the body goes: as many bytes as were asked for.
    pub fn body(&mut self) -> &mut [u8] {
        let at = self.chunk.end + self.form.bytes();
        &mut self.chunk.own()[at..at + self.body_max]
    }
}

impl Outbox {
    /// An empty queue whose chunks hold `chunk_size` bytes (or one message, if
    /// that is more). The first message's serial is 1.
    pub fn new(form: HeaderForm, chunk_size: usize) -> Self {
        Self {
            form,
            serial: 0,
            chunks: VecDeque::new(),
            lent: false,
            behind: VecDeque::new(),
            first: None,
            pool: Arc::default(),
            chunk_size,
            len: 0,
            packer: None,
        }
    }

    /// The same, with chunks from this pool.
    #[must_use]
    pub fn with_pool(self, pool: Arc<Chunks>) -> Self {
        Self { pool, ..self }
    }

    /// The same, for a client that takes compressed data.
    #[must_use]
    pub fn with_compressor(self, compressor: Compressor) -> Self {
        self.with_packer(Box::new(compressor))
    }

    /// The same, with what passes through here rewritten.
    #[must_use]
    pub fn with_packer(self, packer: Box<dyn Packer>) -> Self {
        Self { packer: Some(packer), ..self }
    }

    /// Whether what passes through here is rewritten.
    pub fn packs(&self) -> bool {
        self.packer.is_some()
    }

    /// An empty queue that goes on with this one's serials and rewrites nothing.
    #[must_use]
    pub fn like(&self) -> Self {
        let pool = Arc::clone(&self.pool);
        Self { serial: self.serial, pool, ..Self::new(self.form, self.chunk_size) }
    }

    /// An empty queue that rewrites as this one does, for the same connection's messages
    /// that are rewritten elsewhere at the same time; `None` if only one can.
    pub fn beside(&self) -> Option<Self> {
        let packer = self.packer.as_ref()?.another()?;
        Some(self.like().with_packer(packer))
    }

    /// The number of the next message.
    pub fn next_serial(&self) -> u64 {
        self.serial.wrapping_add(1)
    }

    /// Numbers go on from this one. Nothing may be out with a loan.
    pub fn continue_serials(&mut self, next: u64) {
        self.serial = next.wrapping_sub(1);
    }

    /// Bytes queued, headers included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Messages that have been queued since the beginning.
    pub fn messages(&self) -> u64 {
        // The loan has taken a number already.
        self.serial - u64::from(self.lent)
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Queues a message.
    pub fn push(&mut self, kind: u16, body: &[u8]) {
        // Taken out meanwhile: what it gives back is its own buffer.
        let mut packer = self.packer.take();
        let packed = packer.as_mut().and_then(|packer| packer.pack(kind, body));
        let (kind, body) = packed.unwrap_or((kind, body));
        self.push_as_it_is(kind, body);
        self.packer = packer;
    }

    fn push_as_it_is(&mut self, kind: u16, body: &[u8]) {
        self.serial = self.serial.wrapping_add(1);
        let mut bytes = [0; header::LONGEST];
        self.form.write(&mut bytes, Header { kind, size: body.len() as u32 }, self.serial);
        let form = self.form;
        self.append(&bytes[..form.bytes()], body);
    }

    /// Queues a message with all that belongs to it.
    pub fn push_outgoing(&mut self, message: Outgoing) {
        let Outgoing { kind, head, shared, descriptors } = message;
        self.push_shared(kind, &head, shared);
        if let Some(descriptors) = descriptors {
            self.push_descriptors(descriptors);
        }
    }

    /// Queues a message whose body goes on with `shared`, which is not copied. Such
    /// messages are not compressed.
    pub fn push_shared(&mut self, kind: u16, head: &[u8], shared: Bytes) {
        self.serial = self.serial.wrapping_add(1);
        let mut bytes = [0; header::LONGEST];
        let size = (head.len() + shared.len()) as u32;
        self.form.write(&mut bytes, Header { kind, size }, self.serial);
        let form = self.form;
        self.append(&bytes[..form.bytes()], head);
        if !shared.is_empty() {
            self.len += shared.len();
            let queue = if self.lent { &mut self.behind } else { &mut self.chunks };
            queue.push_back(Chunk::shared(shared));
        }
    }

    /// Queues descriptors that belong to the message before. They leave with one byte that
    /// is part of no message.
    fn push_descriptors(&mut self, descriptors: Descriptors) {
        self.len += 1;
        let queue = if self.lent { &mut self.behind } else { &mut self.chunks };
        queue.push_back(Chunk::passed(descriptors, COMPANION));
    }

    /// Queues bytes that are no message: the link result.
    pub fn push_raw(&mut self, bytes: &[u8]) {
        self.append(&[], bytes);
    }

    fn append(&mut self, head: &[u8], body: &[u8]) {
        let total = head.len() + body.len();
        let mut chunk = self.writable(total);
        chunk.last = chunk.end;
        for part in [head, body] {
            let end = chunk.end + part.len();
            let start = std::mem::replace(&mut chunk.end, end);
            chunk.own()[start..end].copy_from_slice(part);
        }
        let queue = if self.lent { &mut self.behind } else { &mut self.chunks };
        queue.push_back(chunk);
        self.len += total;
    }

    /// Gives out room for a message whose body has at most `body_max` bytes.
    /// Until the loan is settled the queue's last bytes are out with it, and what
    /// is pushed meanwhile leaves after it. `None` while another loan is out.
    pub fn lend(&mut self, body_max: usize) -> Option<Loan> {
        if self.lent {
            return None;
        }
        let form = self.form;
        let chunk = self.writable(form.bytes() + body_max);
        self.lent = true;
        self.serial = self.serial.wrapping_add(1);
        Some(Loan { chunk, body_max, form, serial: self.serial })
    }

    /// Takes a loan back. `length` bytes of its body become a message of type
    /// `kind`, or compressed ones instead; none if `length` is 0.
    pub fn settle(&mut self, mut loan: Loan, mut kind: u16, length: usize) {
        self.lent = false;
        let mut length = length.min(loan.body_max);
        if let Some(packer) = &mut self.packer
            && let Some((packed, body)) = packer.pack(kind, &loan.body()[..length])
            && body.len() <= loan.body_max
        {
            kind = packed;
            length = body.len();
            loan.body()[..length].copy_from_slice(body);
        }
        if length > 0 {
            let header = Header { kind, size: length as u32 };
            let at = loan.chunk.end;
            loan.form.write(&mut loan.chunk.own()[at..], header, loan.serial);
            loan.chunk.last = at;
            loan.chunk.end += loan.form.bytes() + length;
            self.len += loan.form.bytes() + length;
        } else {
            self.serial = self.serial.wrapping_sub(1);
            for chunk in &mut self.behind {
                let (start, end) = (chunk.start, chunk.end);
                move_up(self.form, chunk.own().get_mut(start..end).unwrap_or_default());
            }
        }
        if loan.chunk.pending().is_empty() {
            self.keep(loan.chunk);
        } else {
            self.chunks.push_back(loan.chunk);
        }
        if !self.behind.is_empty() {
            self.chunks.append(&mut self.behind);
        }
    }

    /// A chunk to write `total` bytes to: the last one if it has room, a small one if
    /// nothing is queued and that is enough, or a large one. It is taken out of the queue
    /// meanwhile.
    #[expect(clippy::unnecessary_box_returns, reason = "it is put back without being moved")]
    fn writable(&mut self, total: usize) -> Box<Chunk> {
        let queue = if self.lent { &mut self.behind } else { &mut self.chunks };
        if queue.back().is_some_and(|last| last.takes(total))
            && let Some(last) = queue.pop_back()
        {
            return last;
        }
        if queue.is_empty() && total <= FIRST.min(self.chunk_size) {
            return self.first.take().unwrap_or_else(|| Chunk::new(FIRST.min(self.chunk_size)));
        }
        self.pool.take(self.chunk_size.max(total))
    }

    /// What stands at the front of the queue and leaves neither with what was before nor
    /// with what comes after: its byte, and the descriptors that go with it.
    pub fn passed(&self) -> Option<(&[u8], &Descriptors)> {
        let first = self.chunks.front()?;
        first.passes().map(|descriptors| (first.pending(), descriptors))
    }

    /// Fills `slices` with the front of the queue, up to what [`Outbox::passed`] will tell;
    /// returns how many were used. With `apart` the last message of each chunk has a slice
    /// of its own.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES], apart: bool) -> usize {
        let mut used = 0;
        let plain = self.chunks.iter().take_while(|chunk| chunk.passes().is_none());
        let parts = plain.flat_map(|chunk| {
            let (others, last) = if apart { chunk.halves() } else { (&[][..], chunk.pending()) };
            [others, last]
        });
        for (slot, part) in slices.iter_mut().zip(parts.filter(|part| !part.is_empty())) {
            *slot = IoSlice::new(part);
            used += 1;
        }
        used
    }

    /// Forgets the first `sent` bytes.
    pub fn consume(&mut self, mut sent: usize) {
        self.len -= sent;
        while let Some(first) = self.chunks.front_mut() {
            let pending = first.pending().len();
            if pending > sent {
                first.start += sent;
                return;
            }
            sent -= pending;
            if let Some(empty) = self.chunks.pop_front() {
                self.keep(empty);
            }
        }
    }

    /// Moves everything queued here to the end of `other`, from one end of a thread
    /// crossing to the other.
    pub fn drain_into(&mut self, other: &mut Self) {
        // Bytes that are out with a loan stay counted here.
        let moved: usize = self.chunks.iter().map(|chunk| chunk.pending().len()).sum();
        self.len -= moved;
        other.len += moved;
        other.serial = self.messages();
        other.chunks.append(&mut self.chunks);
    }

    /// Moves the chunk behind the next one to the end of `other`, if there is one and `by`
    /// would rewrite `least` bytes of it or more: work enough for another thread.
    pub fn lend_second(&mut self, other: &mut Self, by: &Self, least: usize) {
        let (Some(second), Some(packer)) = (self.chunks.get(1), &by.packer) else {
            return;
        };
        let tried = messages(self.form, second.pending()).filter(|(head, body)| {
            let kind = self.form.parse(head).map_or(0, |header| header.kind);
            packer.would_try(kind, body.len())
        });
        let work: usize = tried.map(|(_, body)| body.len()).sum();
        if work >= least
            && let Some(second) = self.chunks.remove(1)
        {
            self.len -= second.pending().len();
            other.push_chunk(second);
        }
    }

    /// Moves the next chunk of `raw` to the end of this queue, with its messages
    /// rewritten. Their serials in `raw` are this queue's. Returns how many bytes that
    /// has saved.
    pub fn press(&mut self, raw: &mut Self) -> usize {
        let Some(chunk) = raw.chunks.pop_front() else {
            return 0;
        };
        let before = chunk.pending().len();
        raw.len -= before;
        self.serial = raw.serial;
        let whole = chunk.holds_whole_messages(raw.form);
        let Some(packer) = self.packer.as_mut().filter(|_| whole) else {
            self.push_chunk(chunk);
            return 0;
        };
        let kind_of = |head: &[u8]| raw.form.parse(head).map_or(0, |header| header.kind);
        let sizes =
            || messages(raw.form, chunk.pending()).map(|(head, body)| (kind_of(head), body.len()));
        if !sizes().any(|(kind, length)| packer.would_try(kind, length)) {
            sizes().for_each(|(kind, length)| packer.pass(kind, length));
            self.push_chunk(chunk);
            return 0;
        }
        let len_before = self.len;
        // Taken out meanwhile: what it gives back is its own buffer.
        let mut packer = self.packer.take();
        for (head, body) in messages(raw.form, chunk.pending()) {
            match packer.as_mut().and_then(|packer| packer.pack(kind_of(head), body)) {
                None => self.append(head, body),
                Some((kind, packed)) => {
                    let mut bytes = [0; header::LONGEST];
                    let head_bytes = &mut bytes[..head.len()];
                    head_bytes.copy_from_slice(head);
                    raw.form.rewrite(head_bytes, Header { kind, size: packed.len() as u32 });
                    self.append(head_bytes, packed);
                }
            }
        }
        self.packer = packer;
        raw.keep(chunk);
        before - (self.len - len_before)
    }

    fn push_chunk(&mut self, chunk: Box<Chunk>) {
        self.len += chunk.pending().len();
        self.chunks.push_back(chunk);
    }

    fn keep(&mut self, mut chunk: Box<Chunk>) {
        chunk.clear();
        if chunk.is_own(FIRST) {
            self.first = Some(chunk);
        } else if chunk.is_own(self.chunk_size) {
            self.pool.give_back(chunk);
        }
    }
}

/// The messages in a run of bytes, up to one that is not whole: header and body.
fn messages(form: HeaderForm, bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let header = form.parse(rest)?;
        let (head, behind) = rest.split_at(form.bytes());
        let (body, behind) = behind.split_at_checked(header.size as usize)?;
        rest = behind;
        Some((head, body))
    })
}

/// Takes one off the serials of the messages in `bytes`, the last of which may go on
/// elsewhere.
fn move_up(form: HeaderForm, mut bytes: &mut [u8]) {
    while let Some(header) = form.parse(bytes) {
        form.rewrite_serial(bytes, |serial| serial.wrapping_sub(1));
        bytes = bytes.get_mut(form.bytes() + header.size as usize..).unwrap_or_default();
    }
}
