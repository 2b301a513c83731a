//! What became of links, over the life of a server.

use super::tally::{Kind, Tally};

/// What can happen to a link. Each has its counter, and its own share of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// It began.
    Begun,
    /// The client may have its channel.
    Authenticated,
    /// The client left before.
    Left,
    /// It took too long.
    Late,
    /// It made way, because there were too many in all.
    TooMany,
    /// It made way, because there were too many from its address.
    TooManyOfAddress,
    /// It made way, because links held too many bytes.
    TooManyBytes,
    /// The password was wrong, or SASL said no.
    WrongPassword,
    /// It waited, because its address had failed before.
    Delayed,
    /// What came is not the protocol, or not the part of it that is spoken here.
    BadBytes,
    /// The channel does not exist, or not on this kind of connection.
    Refused,
    /// Passwords came into force meanwhile.
    Cut,
    /// Something failed on our side.
    Failed,
    /// It began and ended, and the host was not told, because there were too many.
    Untold,
}

impl LinkEvent {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 14] = [
        Self::Begun,
        Self::Authenticated,
        Self::Left,
        Self::Late,
        Self::TooMany,
        Self::TooManyOfAddress,
        Self::TooManyBytes,
        Self::WrongPassword,
        Self::Delayed,
        Self::BadBytes,
        Self::Refused,
        Self::Cut,
        Self::Failed,
        Self::Untold,
    ];

    /// Its name for people and for tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Authenticated => "authenticated",
            Self::Left => "client left",
            Self::Late => "late",
            Self::TooMany => "too many",
            Self::TooManyOfAddress => "too many from one address",
            Self::TooManyBytes => "too many bytes",
            Self::WrongPassword => "wrong password",
            Self::Delayed => "delayed",
            Self::BadBytes => "bad bytes",
            Self::Refused => "refused",
            Self::Cut => "cut",
            Self::Failed => "failed",
            Self::Untold => "untold",
        }
    }
}

impl LinkEvent {
    /// Its name in what readers get.
    pub fn key(self) -> String {
        self.name().replace(' ', "_")
    }
}

impl Kind for LinkEvent {
    fn index(self) -> usize {
        self as usize
    }
}

/// Counted by the I/O thread.
pub type LinkCounters = Tally<LinkEvent, { LinkEvent::ALL.len() }>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_has_its_counter() {
        let counters = LinkCounters::default();
        for (number, event) in (1..).zip(LinkEvent::ALL) {
            for _ in 0..number {
                counters.count(event);
            }
        }
        for (number, event) in (1..).zip(LinkEvent::ALL) {
            assert_eq!(counters.total(event), number, "{}", event.name());
        }
    }
}
