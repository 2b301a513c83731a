//! What the playback and record channels have in common (docs/protocol/audio.md): what
//! waits for a client is a set of commands and no queue, so that the newest wins.

use bitflags::bitflags;

use crate::wire::audio;

bitflags! {
    /// What a client has still to be told.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Commands: u8 {
        /// START or STOP, whichever is true when it leaves.
        const CONTROL = 1;
        /// The volume.
        const VOLUME = 1 << 1;
        /// Silent or not.
        const MUTE = 1 << 2;
    }
}

/// A message on its way to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Message type.
    pub kind: u16,
    /// Body.
    pub body: Vec<u8>,
}

/// What a client of a sound channel knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Knows {
    /// VOLUME and MUTE.
    pub volume: bool,
    /// Opus.
    pub opus: bool,
}

/// How loud it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Levels {
    pub(super) volume: Vec<u16>,
    pub(super) muted: bool,
}

impl Levels {
    pub(super) fn volume(&self, kind: u16) -> Told {
        Told { kind, body: audio::volume(&self.volume) }
    }

    pub(super) fn mute(&self, kind: u16) -> Told {
        Told { kind, body: vec![u8::from(self.muted)] }
    }
}

impl Commands {
    /// Takes one out of the set; whether it was there.
    pub(super) fn take(&mut self, command: Self) -> bool {
        let there = self.contains(command);
        self.remove(command);
        there
    }

    /// What a new client is told: of the levels what the host has set.
    pub(super) fn for_newcomer(knows: Knows, levels: &Levels) -> Self {
        let mut commands = Self::CONTROL;
        let volume = !levels.volume.is_empty();
        commands.set(Self::VOLUME, knows.volume && volume);
        commands.set(Self::MUTE, knows.volume && (volume || levels.muted));
        commands
    }
}

/// Samples a second that sound is best played and recorded at: what Opus works with.
pub const BEST_RATE: u32 = 48_000;

/// Whether Opus knows this rate at all.
pub fn is_opus_rate(rate: u32) -> bool {
    matches!(rate, 8_000 | 12_000 | 16_000 | 24_000 | 48_000)
}

/// Whether a frame of [`audio::FRAME_SAMPLES`] at this rate is an Opus packet: at
/// 16,000 it would last 30 ms, which no packet does.
pub fn frames_fit_opus(rate: u32) -> bool {
    is_opus_rate(rate) && rate != 16_000
}
