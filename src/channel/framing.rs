//! Cuts what a client sends into messages (docs/protocol/channel.md, "Receiving").
//!
//! The announced length never decides how much memory is taken: it is compared
//! with the channel's rule first, and long data messages pass in pieces. Where
//! compression is offered, compressed data come out as data.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::decompressor::{Corrupt, Decompressor};
use super::ending::Ending;
use super::read_buffers::ReadBuffers;
use super::run::{Parcel, Run};
use crate::config::limits;
use crate::stats::{Counters, EndingKind};
use crate::wire::common::MIGRATE_DATA;
use crate::wire::header::HeaderForm;
use crate::wire::spicevmc::{COMPRESSED_DATA, DATA};

/// A message, or a piece of a long one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Message type.
    pub kind: u16,
    /// The body, or this piece of it.
    pub body: Bytes,
}

/// What a channel accepts for one message type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyRule {
    /// Up to this many bytes, handed over whole.
    Whole(u32),
    /// Up to this many bytes, handed over in pieces once it is longer than
    /// [`limits::WHOLE_MESSAGE`]. For bodies that are only a run of bytes.
    Stream(u32),
}

/// A channel's rules by message type.
pub type Rules = fn(kind: u16) -> BodyRule;

/// Why what a client sends cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A message that is larger than its channel allows.
    #[error("message type {kind} announces {size} bytes, more than this channel takes")]
    TooLarge {
        /// Message type.
        kind: u16,
        /// Announced length of the body.
        size: u32,
    },
    /// Compressed data that are wrong.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}

impl From<Refused> for Ending {
    fn from(refused: Refused) -> Self {
        let kind = match refused {
            Refused::TooLarge { .. } => EndingKind::TooLarge,
            Refused::Corrupt(_) => EndingKind::Corrupt,
        };
        Self::Refused(kind, refused.to_string())
    }
}

/// The receiving side of one connection.
#[derive(Debug)]
pub struct Framer {
    form: HeaderForm,
    rules: Rules,
    input: BytesMut,
    /// `input` is one of the thread's large buffers.
    borrowed: bool,
    /// A long message under way: its type and the bytes still to come.
    piecewise: Option<(u16, u32)>,
    /// Where compression is offered.
    decompressor: Option<Decompressor>,
    /// Where data are counted.
    counters: Option<Arc<Counters>>,
    /// The next MIGRATE_DATA may be long.
    awaits_migration_data: bool,
    /// Messages that have begun and nobody has asked for.
    begun: u64,
}

impl Framer {
    /// A framer at the start of a message.
    pub fn new(form: HeaderForm, rules: Rules) -> Self {
        Self {
            form,
            rules,
            input: BytesMut::new(),
            borrowed: false,
            piecewise: None,
            decompressor: None,
            counters: None,
            awaits_migration_data: false,
            begun: 0,
        }
    }

    /// The same, on a channel where clients may compress what they send.
    #[must_use]
    pub fn with_decompressor(self, decompressor: Decompressor) -> Self {
        Self { decompressor: Some(decompressor), ..self }
    }

    /// The same, on a channel whose data are counted as they arrive.
    #[must_use]
    pub fn with_counters(self, counters: Arc<Counters>) -> Self {
        Self { counters: Some(counters), ..self }
    }

    /// The same, on a channel whose client comes from another host and brings its state,
    /// once.
    #[must_use]
    pub fn with_migration_data(self) -> Self {
        Self { awaits_migration_data: true, ..self }
    }

    /// How many messages have been looked at since this was asked last; a long one that
    /// comes in pieces is one.
    pub fn take_count(&mut self) -> u64 {
        std::mem::take(&mut self.begun)
    }

    /// The buffer that received bytes are appended to; bytes are only ever added at its
    /// end.
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// Makes room for a turn of reading, `turn` bytes.
    pub fn prepare(&mut self, buffers: &ReadBuffers, turn: usize) {
        if !self.borrowed {
            let torn = std::mem::replace(&mut self.input, buffers.take());
            self.input.extend_from_slice(&torn);
            self.borrowed = true;
        }
        // No more than half of it more: a message that is torn for long must not make the
        // buffer grow by a turn each time.
        self.input.reserve(turn - self.input.len().min(turn / 2));
    }

    /// What has been read has been taken out: gives the buffer back, unless much of a
    /// message is in it.
    pub fn rest(&mut self, buffers: &ReadBuffers) {
        if self.borrowed && self.input.len() <= limits::TORN_MESSAGE {
            let torn = BytesMut::from(&self.input[..]);
            buffers.give_back(std::mem::replace(&mut self.input, torn));
            self.borrowed = false;
        }
    }

    /// The next message, or run of data messages; `None` while nothing is whole.
    pub fn poll_parcel(&mut self) -> Result<Option<Parcel>, Refused> {
        if let Some(run) = self.poll_run() {
            return Ok(Some(Parcel::Run(run)));
        }
        Ok(self.poll_message()?.map(Parcel::Message))
    }

    /// The data messages that are there and whole, if such a one is next. What is odd
    /// about a message, such as an empty body, is the channel's to see: it ends the run.
    fn poll_run(&mut self) -> Option<Run> {
        let counters = self.counters.as_ref()?;
        let busy = self.decompressor.as_ref().is_some_and(Decompressor::is_busy);
        if self.piecewise.is_some() || busy {
            return None;
        }
        let BodyRule::Stream(limit) = (self.rules)(DATA) else {
            return None;
        };
        let most = limits::WHOLE_MESSAGE.min(limit as usize);
        let (mut end, mut data) = (0, 0);
        while let Some(header) = self.form.parse(&self.input[end..])
            && header.kind == DATA
            && (1..=most).contains(&(header.size as usize))
            && self.input.len() - end - self.form.bytes() >= header.size as usize
        {
            end += self.form.bytes() + header.size as usize;
            data += header.size as usize;
        }
        if end == 0 {
            return None;
        }
        counters.received_data(data);
        // Not counted in the loop: with small messages that alone could be measured.
        self.begun += ((end - data) / self.form.bytes()) as u64;
        Some(Run::new(self.form, self.input.split_to(end).freeze()))
    }

    /// The next message, `None` while it has not arrived whole.
    pub fn poll_message(&mut self) -> Result<Option<Message>, Refused> {
        loop {
            let together = self.is_next_decoded_together();
            if let Some(decompressor) = &mut self.decompressor
                && !together
                && let Some(body) = decompressor.poll_data()?
            {
                return Ok(Some(Message { kind: DATA, body }));
            }
            let Some(message) = self.poll_as_sent()? else {
                return Ok(None);
            };
            let left = self.piecewise.map_or(0, |(_, left)| left);
            match &mut self.decompressor {
                Some(decompressor) if message.kind == COMPRESSED_DATA => {
                    decompressor.handle_piece(message.body, left)?;
                }
                _ => {
                    if message.kind == DATA
                        && let Some(counters) = &self.counters
                    {
                        counters.received_data(message.body.len());
                    }
                    return Ok(Some(message));
                }
            }
        }
    }

    /// Whether another compressed message is there and whole, and may be decoded before
    /// what came of the last ones is given out.
    fn is_next_decoded_together(&self) -> bool {
        let Some(decompressor) = &self.decompressor else {
            return false;
        };
        let Some(header) = self.form.parse(&self.input).filter(|_| self.piecewise.is_none()) else {
            return false;
        };
        header.kind == COMPRESSED_DATA
            && decompressor.takes_more(header.size as usize)
            && self.input.len() - self.form.bytes() >= header.size as usize
    }

    fn poll_as_sent(&mut self) -> Result<Option<Message>, Refused> {
        if let Some((kind, left)) = self.piecewise {
            return Ok(self.poll_piece(kind, left));
        }
        let Some(header) = self.form.parse(&self.input) else {
            return Ok(None);
        };
        let brings_state = self.awaits_migration_data && header.kind == MIGRATE_DATA;
        let rule = match (self.rules)(header.kind) {
            _ if brings_state => BodyRule::Whole(limits::MIGRATION_DATA),
            rule => rule,
        };
        let (limit, stream) = match rule {
            BodyRule::Whole(limit) => (limit, false),
            BodyRule::Stream(limit) => (limit, header.size as usize > limits::WHOLE_MESSAGE),
        };
        if header.size > limit {
            return Err(Refused::TooLarge { kind: header.kind, size: header.size });
        }
        if stream {
            let _header = self.input.split_to(self.form.bytes());
            self.begun += 1;
            return Ok(self.poll_piece(header.kind, header.size));
        }
        let end = self.form.bytes() + header.size as usize;
        if self.input.len() < end {
            return Ok(None);
        }
        self.awaits_migration_data &= !brings_state;
        self.begun += 1;
        let mut whole = self.input.split_to(end);
        let body = whole.split_off(self.form.bytes()).freeze();
        Ok(Some(Message { kind: header.kind, body }))
    }

    fn poll_piece(&mut self, kind: u16, left: u32) -> Option<Message> {
        let length = self.input.len().min(left as usize).min(limits::WHOLE_MESSAGE);
        let rest = left - length as u32;
        self.piecewise = (rest > 0).then_some((kind, rest));
        (length > 0).then(|| Message { kind, body: self.input.split_to(length).freeze() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::header::Header;
    use crate::wire::spicevmc::compressed_header;

    const SMALL: u16 = 1;
    const BULK: u16 = 101;

    fn rules(kind: u16) -> BodyRule {
        if [BULK, COMPRESSED_DATA].contains(&kind) {
            BodyRule::Stream(1 << 30)
        } else {
            BodyRule::Whole(1000)
        }
    }

    fn frame(form: HeaderForm, kind: u16, body: &[u8]) -> Vec<u8> {
        let mut out = vec![0; form.bytes()];
        form.write(&mut out, Header { kind, size: body.len() as u32 }, 1);
        out.extend_from_slice(body);
        out
    }

    fn all(framer: &mut Framer) -> Vec<Message> {
        std::iter::from_fn(|| framer.poll_message().expect("within the limits")).collect()
    }

    #[test]
    fn an_announcement_over_the_limit_is_refused_before_the_body_arrives() {
        let mut framer = Framer::new(HeaderForm::Mini, rules);
        framer.input().extend_from_slice(&[1, 0, 0xff, 0xff, 0xff, 0xff]);
        let refused = Refused::TooLarge { kind: 1, size: u32::MAX };
        assert_eq!(framer.poll_message(), Err(refused));
    }

    #[test]
    fn a_message_waits_for_its_last_byte() {
        let bytes = frame(HeaderForm::Full, SMALL, b"hello");
        let mut framer = Framer::new(HeaderForm::Full, rules);
        framer.input().extend_from_slice(&bytes[..bytes.len() - 1]);
        assert_eq!(framer.poll_message(), Ok(None));
        framer.input().extend_from_slice(&bytes[bytes.len() - 1..]);
        assert_eq!(all(&mut framer), [Message { kind: SMALL, body: Bytes::from_static(b"hello") }]);
    }

    #[test]
    fn a_long_data_message_needs_no_more_memory_than_has_arrived() {
        let mut framer = Framer::new(HeaderForm::Mini, rules);
        let size: u32 = 1 << 29;
        framer.input().extend_from_slice(&BULK.to_le_bytes());
        framer.input().extend_from_slice(&size.to_le_bytes());
        assert_eq!(framer.poll_message(), Ok(None));
        framer.input().extend_from_slice(b"abc");
        assert_eq!(all(&mut framer), [Message { kind: BULK, body: Bytes::from_static(b"abc") }]);
        assert!(framer.input.capacity() < 1 << 20);
    }

    #[test]
    fn one_migrate_data_may_be_long_where_it_is_awaited() {
        let message = frame(HeaderForm::Mini, MIGRATE_DATA, &vec![7; 300_000]);
        let mut framer = Framer::new(HeaderForm::Mini, rules);
        framer.input().extend_from_slice(&message);
        let refused = Refused::TooLarge { kind: MIGRATE_DATA, size: 300_000 };
        assert_eq!(framer.poll_message(), Err(refused));
        let mut framer = Framer::new(HeaderForm::Mini, rules).with_migration_data();
        framer.input().extend_from_slice(&[&message[..], &message].concat());
        let first = framer.poll_message().expect("it is awaited").expect("it is whole");
        assert_eq!(first.body.len(), 300_000);
        assert_eq!(framer.poll_message(), Err(refused), "once");
    }

    #[test]
    fn a_wrong_compressed_message_ends_it() {
        let decompressor = Decompressor::new(Arc::default());
        let mut framer = Framer::new(HeaderForm::Mini, rules).with_decompressor(decompressor);
        framer.input().extend_from_slice(&frame(HeaderForm::Mini, COMPRESSED_DATA, &[9; 10]));
        assert_eq!(framer.poll_message(), Err(Refused::Corrupt(Corrupt::Kind(9))));
    }

    #[test]
    fn data_messages_come_in_runs_and_others_by_themselves() {
        let mut framer = Framer::new(HeaderForm::Mini, rules).with_counters(Arc::default());
        let data = |body: &[u8]| frame(HeaderForm::Mini, DATA, body);
        let other = frame(HeaderForm::Mini, SMALL, b"x");
        let stream = [data(b"ab"), data(b"c"), other, data(b""), data(b"d"), data(b"ef")].concat();
        framer.input().extend_from_slice(&stream[..stream.len() - 1]);
        let mut poll = || framer.poll_parcel().expect("good messages");
        let lengths = |parcel| match parcel {
            Some(Parcel::Run(mut run)) => {
                let mut lengths = Vec::new();
                while let Some(body) = run.peek() {
                    lengths.push(body.len());
                    run.pass(body.end);
                }
                lengths
            }
            _ => Vec::new(),
        };
        let alone = |kind, body| Some(Parcel::Message(Message { kind, body }));
        assert_eq!(lengths(poll()), [2, 1]);
        assert_eq!(poll(), alone(SMALL, "x".into()));
        assert_eq!(poll(), alone(DATA, Bytes::new()), "the channel judges it");
        assert_eq!(lengths(poll()), [1]);
        assert_eq!(poll(), None, "the last one is not whole");
    }

    #[test]
    fn a_large_buffer_is_kept_only_for_a_message_that_is_not_whole() {
        let buffers = ReadBuffers::default();
        let mut framer = Framer::new(HeaderForm::Mini, rules);
        let mut arrive = |bytes: &[u8]| {
            framer.prepare(&buffers, limits::READ_TURN);
            let room = framer.input().capacity() - framer.input().len();
            assert!(room >= limits::READ_TURN / 2, "{room} bytes of room");
            framer.input().extend_from_slice(bytes);
            let bodies: Vec<usize> = all(&mut framer).iter().map(|m| m.body.len()).collect();
            framer.rest(&buffers);
            (bodies, framer.input().capacity())
        };
        let message = frame(HeaderForm::Mini, BULK, &vec![7; 100_000]);
        assert_eq!(arrive(&message), (vec![100_000], 0));
        let (begin, end) = message.split_at(50_000);
        let (bodies, kept) = arrive(begin);
        assert!(bodies.is_empty() && kept >= limits::READ_TURN);
        let (bodies, kept) = arrive(&[end, &message[..3]].concat());
        assert_eq!(bodies, [100_000]);
        assert!(kept < 100, "{kept} bytes for three");
        assert_eq!(arrive(&message[3..]), (vec![100_000], 0));
    }

    #[test]
    fn data_are_counted_as_they_came() {
        let counters = Arc::<Counters>::default();
        let mut framer = Framer::new(HeaderForm::Mini, rules)
            .with_decompressor(Decompressor::new(counters.clone()))
            .with_counters(counters.clone());
        let packed =
            [&compressed_header(1000)[..], &lz4_flex::block::compress(&[7; 1000])].concat();
        framer.input().extend_from_slice(&frame(HeaderForm::Mini, DATA, &[1; 100]));
        framer.input().extend_from_slice(&frame(HeaderForm::Mini, COMPRESSED_DATA, &packed));
        framer.input().extend_from_slice(&frame(HeaderForm::Mini, SMALL, &[1; 10]));
        assert_eq!(all(&mut framer).len(), 3);
        let totals = counters.totals(0);
        assert_eq!((totals.in_data, totals.in_decompressed), (100, 1000));
        assert_eq!(totals.in_compressed, packed.len() as u64 - 5);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn compressed_messages_come_out_as_data_in_order(
            sizes in prop::collection::vec((any::<bool>(), 1usize..600_000), 1..6),
            cut in 1usize..200_000,
        ) {
            let (mut stream, mut expected) = (Vec::new(), Vec::new());
            for (number, &(packed, size)) in sizes.iter().enumerate() {
                let data: Vec<u8> = (0..size).map(|i| (i / 100 + number) as u8).collect();
                if packed {
                    let mut body = compressed_header(size as u32).to_vec();
                    body.extend(lz4_flex::block::compress(&data));
                    stream.extend(frame(HeaderForm::Mini, COMPRESSED_DATA, &body));
                } else {
                    stream.extend(frame(HeaderForm::Mini, BULK, &data));
                }
                expected.extend(data);
            }
            let decompressor = Decompressor::new(Arc::default());
            let mut framer = Framer::new(HeaderForm::Mini, rules).with_decompressor(decompressor);
            let mut got = Vec::new();
            for piece in stream.chunks(cut) {
                framer.input().extend_from_slice(piece);
                for message in all(&mut framer) {
                    prop_assert_eq!(message.kind, DATA);
                    prop_assert!(message.body.len() <= limits::WHOLE_MESSAGE);
                    got.extend(message.body);
                }
            }
            prop_assert!(got == expected);
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_bytes(
            sizes in prop::collection::vec((any::<bool>(), 0usize..900), 0..20),
            cuts in prop::collection::vec(1usize..300, 1..50),
            full in any::<bool>(),
        ) {
            let form = if full { HeaderForm::Full } else { HeaderForm::Mini };
            let expected: Vec<_> = sizes.iter().enumerate().map(|(i, &(bulk, size))| {
                (if bulk { BULK } else { SMALL }, vec![i as u8; size])
            }).collect();
            let stream: Vec<u8> =
                expected.iter().flat_map(|(kind, body)| frame(form, *kind, body)).collect();
            let mut framer = Framer::new(form, rules);
            let mut got = Vec::new();
            let (mut rest, mut cut) = (&stream[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let n = (*cut.next().expect("cycles")).min(rest.len());
                framer.input().extend_from_slice(&rest[..n]);
                rest = &rest[n..];
                got.extend(all(&mut framer).into_iter().map(|m| (m.kind, m.body.to_vec())));
            }
            prop_assert_eq!(got, expected);
        }

        #[test]
        fn pieces_add_up(size in 0usize..(3 * limits::WHOLE_MESSAGE), cut in 1usize..200_000) {
            let body: Vec<u8> = (0..size).map(|i| i as u8).collect();
            let stream = frame(HeaderForm::Mini, BULK, &body);
            let mut framer = Framer::new(HeaderForm::Mini, rules);
            let mut got = Vec::new();
            for piece in stream.chunks(cut) {
                framer.input().extend_from_slice(piece);
                got.extend(all(&mut framer).iter().flat_map(|m| m.body.to_vec()));
            }
            prop_assert_eq!(got, body);
        }
    }
}
