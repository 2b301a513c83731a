//! Why connections ended, over the life of a server: what was refused, and by what reason.

use super::tally::{Kind, Tally};

/// Kinds of ends. Each has its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndingKind {
    /// The client closed it.
    ByClient,
    /// The server did: the VM ended, another client took over, the main channel was gone.
    ByServer,
    /// A message was larger than its channel takes.
    TooLarge,
    /// Compressed data were wrong.
    Corrupt,
    /// A message was wrong, or came at the wrong time.
    Malformed,
    /// The socket failed, the client did not read or answer, or a fault of ours.
    Broken,
}

impl EndingKind {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 6] = [
        Self::ByClient,
        Self::ByServer,
        Self::TooLarge,
        Self::Corrupt,
        Self::Malformed,
        Self::Broken,
    ];

    /// Its name in what readers get.
    pub fn name(self) -> &'static str {
        match self {
            Self::ByClient => "by_client",
            Self::ByServer => "by_server",
            Self::TooLarge => "too_large",
            Self::Corrupt => "corrupt",
            Self::Malformed => "malformed",
            Self::Broken => "broken",
        }
    }
}

impl Kind for EndingKind {
    fn index(self) -> usize {
        self as usize
    }
}

/// Counted by the main thread.
pub type EndingCounters = Tally<EndingKind, { EndingKind::ALL.len() }>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_counter() {
        let counters = EndingCounters::default();
        for (number, kind) in (1..).zip(EndingKind::ALL) {
            for _ in 0..number {
                counters.count(kind);
            }
        }
        for (number, kind) in (1..).zip(EndingKind::ALL) {
            assert_eq!(counters.total(kind), number, "{}", kind.name());
        }
    }
}
