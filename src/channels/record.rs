//! The record channel: what its client has to be told, and the samples that it sends
//! until the host fetches them (docs/protocol/audio.md).
//!
//! Sans-IO, under the host's serialisation. A ring holds the samples: a client that sends
//! more than is fetched costs no more memory, and the oldest are lost.

use super::sound::{BEST_RATE, Commands, Knows, Levels, Told, is_opus_rate};
use crate::channel::framing::{BodyRule, Message};
use crate::config::limits;
use crate::wire::audio::record::to_client;
use crate::wire::audio::{self, FromClient, Mode, SAMPLE_BYTES};
use crate::wire::common::{self, Malformed};

/// How large a client's messages may be.
pub fn rules(_kind: u16) -> BodyRule {
    BodyRule::Whole(limits::RECORD_MESSAGE)
}

/// What the guest records, and who is asked for it.
#[derive(Debug)]
pub struct Record {
    active: bool,
    rate: u32,
    levels: Levels,
    client: Option<Client>,
}

#[derive(Debug)]
struct Client {
    key: u64,
    knows: Knows,
    pending: Commands,
    /// START was told, and no STOP after it.
    started: bool,
    mode: Mode,
    ring: Ring,
}

/// Samples on their way to the host.
#[derive(Debug)]
struct Ring {
    samples: Box<[u32]>,
    /// Samples written and read since the start: their places wrap round.
    written: u64,
    read: u64,
}

/// What is to be done with a client's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// Nothing more.
    Done,
    /// To be decoded and given to [`Record::handle_decoded`].
    Packet(&'a [u8]),
    /// Packets will be at this rate.
    OpusAt(u32),
}

/// Why a client's message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not as it should be.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It was not offered.
    #[error("sound in mode {0} cannot be decoded here")]
    Mode(u16),
}

impl Default for Record {
    fn default() -> Self {
        Self { active: false, rate: BEST_RATE, levels: Levels::default(), client: None }
    }
}

impl Record {
    /// A client comes.
    pub fn join(&mut self, key: u64, knows: Knows) {
        self.client = Some(Client {
            key,
            knows,
            pending: Commands::for_newcomer(knows, &self.levels),
            started: false,
            mode: Mode::Raw,
            ring: Ring::new(),
        });
    }

    /// A client has gone.
    pub fn leave(&mut self, key: u64) {
        self.client.take_if(|client| client.key == key);
    }

    /// The rate at which a client may send Opus, if it may.
    pub fn opus_rate(&self) -> Option<u32> {
        is_opus_rate(self.rate).then_some(self.rate)
    }

    /// The guest begins to record.
    pub fn start(&mut self) {
        self.active = true;
        if let Some(client) = &mut self.client {
            client.ring.clear();
            client.pending |= Commands::CONTROL;
        }
    }

    /// The guest stops recording.
    pub fn stop(&mut self) {
        self.active = false;
        self.want(Commands::CONTROL);
    }

    /// Samples a second from now on.
    pub fn set_rate(&mut self, rate: u32) {
        self.rate = rate;
    }

    /// The volume of each ear.
    pub fn set_volume(&mut self, volume: &[u16]) {
        volume.clone_into(&mut self.levels.volume);
        if !volume.is_empty() {
            self.want_level(Commands::VOLUME);
        }
    }

    /// Silent or not.
    pub fn set_mute(&mut self, muted: bool) {
        self.levels.muted = muted;
        self.want_level(Commands::MUTE);
    }

    /// The next message for the client, towards which `queued` bytes are on their way.
    pub fn poll(&mut self, queued: usize) -> Option<Told> {
        if queued >= limits::SOUND_QUEUED {
            return None;
        }
        let Self { active, rate, levels, client } = self;
        let client = client.as_mut()?;
        if client.pending.take(Commands::CONTROL) && client.started != *active {
            client.started = *active;
            return Some(if *active {
                Told { kind: to_client::START, body: audio::record_start(*rate) }
            } else {
                Told { kind: to_client::STOP, body: Vec::new() }
            });
        }
        if client.pending.take(Commands::VOLUME) {
            return Some(levels.volume(to_client::VOLUME));
        }
        client.pending.take(Commands::MUTE).then(|| levels.mute(to_client::MUTE))
    }

    /// A client's message.
    pub fn handle<'a>(&mut self, key: u64, message: &'a Message) -> Result<Incoming<'a>, Refusal> {
        if let Some(common) = common::parse(message.kind, &message.body) {
            return Ok(common.map(|_| Incoming::Done)?);
        }
        let said = audio::parse_record(message.kind, &message.body)?;
        let opus_rate = self.opus_rate();
        let Some(client) = self.client.as_mut().filter(|client| client.key == key) else {
            return Ok(Incoming::Done);
        };
        match said {
            FromClient::StartMark => {}
            FromClient::Mode(number) => {
                let mode = Mode::of(number).ok_or(Refusal::Mode(number))?;
                if mode == Mode::Opus {
                    let rate = opus_rate.ok_or(Refusal::Mode(number))?;
                    client.mode = mode;
                    return Ok(Incoming::OpusAt(rate));
                }
                client.mode = mode;
            }
            FromClient::Data(packet) if client.mode == Mode::Opus => {
                return Ok(Incoming::Packet(packet));
            }
            FromClient::Data(raw) => {
                client.ring.write(raw.chunks_exact(SAMPLE_BYTES).map(|sample| {
                    u32::from_le_bytes([sample[0], sample[1], sample[2], sample[3]])
                }));
            }
        }
        Ok(Incoming::Done)
    }

    /// A packet's samples: those of the left and the right ear by turns.
    pub fn handle_decoded(&mut self, key: u64, samples: &[i16]) {
        if let Some(client) = self.client.as_mut().filter(|client| client.key == key) {
            client.ring.write(samples.chunks_exact(2).map(|both| {
                let [left, right] = [both[0], both[1]].map(|ear| u32::from(ear.cast_unsigned()));
                left | right << 16
            }));
        }
    }

    /// Fetches up to `most` samples. There are none until [`limits::RECORD_AHEAD`] have
    /// come since the start, so that the guest does not run out of them at once.
    pub fn fetch(&mut self, most: usize) -> Vec<u32> {
        match &mut self.client {
            Some(client) if self.active => client.ring.read(most),
            _ => Vec::new(),
        }
    }

    fn want_level(&mut self, command: Commands) {
        if self.client.as_ref().is_some_and(|client| client.knows.volume) {
            self.want(command);
        }
    }

    fn want(&mut self, command: Commands) {
        if let Some(client) = &mut self.client {
            client.pending |= command;
        }
    }
}

impl Ring {
    fn new() -> Self {
        let samples = vec![0; limits::RECORD_SAMPLES].into_boxed_slice();
        Self { samples, written: 0, read: 0 }
    }

    fn clear(&mut self) {
        self.written = 0;
        self.read = 0;
    }

    fn write(&mut self, samples: impl Iterator<Item = u32>) {
        let size = self.samples.len() as u64;
        for sample in samples {
            self.samples[(self.written % size) as usize] = sample;
            self.written += 1;
        }
        self.read = self.read.max(self.written.saturating_sub(size));
    }

    fn read(&mut self, most: usize) -> Vec<u32> {
        if self.written < limits::RECORD_AHEAD {
            return Vec::new();
        }
        let size = self.samples.len() as u64;
        let end = self.read.saturating_add(most as u64).min(self.written);
        let read = (self.read..end).map(|at| self.samples[(at % size) as usize]).collect();
        self.read = end;
        read
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    const RAW: Knows = Knows { volume: true, opus: false };

    fn message(kind: u16, body: &[u8]) -> Message {
        Message { kind, body: Bytes::copy_from_slice(&[&[0; 4], body].concat()) }
    }

    fn raw(samples: impl Iterator<Item = u32>) -> Message {
        message(101, &samples.flat_map(u32::to_le_bytes).collect::<Vec<_>>())
    }

    fn kinds(record: &mut Record) -> Vec<u16> {
        std::iter::from_fn(|| record.poll(0)).map(|told| told.kind).collect()
    }

    fn recording() -> Record {
        let mut record = Record::default();
        record.join(1, RAW);
        record.start();
        record
    }

    #[test]
    fn who_comes_is_told_what_is_true() {
        let mut record = Record::default();
        record.join(1, RAW);
        assert_eq!(kinds(&mut record), []);
        record.set_mute(true);
        record.join(1, RAW);
        assert_eq!(kinds(&mut record), [104]);
        record.set_volume(&[1]);
        record.join(1, RAW);
        assert_eq!(kinds(&mut record), [103, 104]);
        record.start();
        record.start();
        record.set_mute(true);
        assert_eq!(kinds(&mut record), [101, 104]);
        record.stop();
        record.start();
        assert_eq!(kinds(&mut record), [], "it was never told of the stop");
        record.stop();
        assert_eq!(kinds(&mut record), [102]);
        record.leave(1);
        record.join(2, Knows::default());
        assert_eq!(kinds(&mut record), []);
    }

    #[test]
    fn nothing_is_there_until_half_the_ring_was_filled_once() {
        let mut record = recording();
        record.handle(1, &raw(0..4095)).unwrap();
        assert!(record.fetch(10).is_empty());
        record.handle(1, &raw(4095..4096)).unwrap();
        assert_eq!(record.fetch(3), [0, 1, 2]);
        assert_eq!(record.fetch(usize::MAX).len(), 4093);
        record.handle(1, &raw(0..1)).unwrap();
        assert_eq!(record.fetch(9), [0], "it is only the beginning that waits");
        record.start();
        record.handle(1, &raw(0..1)).unwrap();
        assert!(record.fetch(9).is_empty());
        record.stop();
        record.handle(1, &raw(0..8000)).unwrap();
        assert!(record.fetch(9).is_empty(), "nothing is recorded");
    }

    #[test]
    fn the_oldest_samples_are_lost() {
        let mut record = recording();
        record.handle(1, &raw(0..8000)).unwrap();
        record.handle(1, &raw(8000..9000)).unwrap();
        let samples = record.fetch(10_000);
        assert_eq!(samples, (808..9000).collect::<Vec<_>>());
        record.handle(1, &raw(0..20_000)).unwrap();
        assert_eq!(record.fetch(1), [20_000 - 8192]);
    }

    #[test]
    fn modes_that_were_not_offered_are_refused() {
        let mut record = recording();
        assert_eq!(record.handle(1, &message(102, &[2, 0])), Err(Refusal::Mode(2)));
        assert_eq!(record.handle(1, &message(102, &[3, 0])), Ok(Incoming::OpusAt(48_000)));
        assert_eq!(record.handle(1, &message(101, &[7])), Ok(Incoming::Packet(&[7])));
        record.handle_decoded(1, &[-1, 2].repeat(4096));
        assert_eq!(record.fetch(1), [0x0002_ffff]);
        assert_eq!(record.handle(1, &message(102, &[1, 0])), Ok(Incoming::Done));
        record.set_rate(44_100);
        assert_eq!(record.handle(1, &message(102, &[3, 0])), Err(Refusal::Mode(3)));
        assert_eq!(record.handle(1, &message(103, &[])), Ok(Incoming::Done));
        assert!(record.handle(1, &message(104, &[])).is_err());
    }

    proptest! {
        #[test]
        fn what_is_fetched_is_the_end_of_what_was_sent(
            acts in prop::collection::vec((0usize..9000, 0usize..9000), 1..20),
        ) {
            let mut record = recording();
            let (mut sent, mut next) = (0u32, 0u32);
            for (write, read) in acts {
                record.handle(1, &raw(sent..sent + write as u32)).unwrap();
                sent += write as u32;
                let samples = record.fetch(read);
                prop_assert!(samples.len() <= read);
                if let Some(first) = samples.first() {
                    prop_assert!(*first >= next && *first + 8192 >= sent);
                    next = first + samples.len() as u32;
                    prop_assert!(samples.iter().copied().eq(*first..next));
                }
            }
        }
    }
}
