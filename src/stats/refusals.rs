//! What guests and devices were refused, over the life of a server, and clients that found
//! a channel taken. What becomes of links is in `links.rs`, of clients' messages in
//! `endings.rs`.

use super::tally::{Kind, Tally};

/// What was refused. Each has its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A command of a graphics device's guest, or a request for such a device, was wrong.
    Graphics,
    /// A message of the stream device's guest was wrong, or of an unknown kind.
    Stream,
    /// The guest's agent said something wrong.
    Agent,
    /// A message of a smartcard reader was too long.
    Smartcard,
    /// A char device has no channel: nothing serves its kind, or no id is left.
    Device,
    /// A client found that another one has the channel, or that it has it itself.
    Busy,
}

impl Refusal {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 6] =
        [Self::Graphics, Self::Stream, Self::Agent, Self::Smartcard, Self::Device, Self::Busy];

    /// Its name in what readers get.
    pub fn name(self) -> &'static str {
        match self {
            Self::Graphics => "graphics_command",
            Self::Stream => "stream_message",
            Self::Agent => "agent_message",
            Self::Smartcard => "smartcard_message",
            Self::Device => "device",
            Self::Busy => "channel_busy",
        }
    }
}

impl Kind for Refusal {
    fn index(self) -> usize {
        self as usize
    }
}

/// Counted by the main thread and the graphics workers.
pub type RefusalCounters = Tally<Refusal, { Refusal::ALL.len() }>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_counter() {
        let counters = RefusalCounters::default();
        for (number, refusal) in (1..).zip(Refusal::ALL) {
            for _ in 0..number {
                counters.count(refusal);
            }
        }
        for (number, refusal) in (1..).zip(Refusal::ALL) {
            assert_eq!(counters.total(refusal), number, "{}", refusal.name());
        }
    }
}
