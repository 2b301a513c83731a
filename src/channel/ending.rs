//! Why a connection ends.

use std::fmt;

use crate::stats::EndingKind;

/// The end of a connection, as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client closed it: nothing to complain about.
    ByClient,
    /// The client sent what is refused.
    Refused(EndingKind, String),
    /// It broke.
    Fault(String),
}

impl Ending {
    /// The client broke the protocol.
    pub fn malformed(what: impl fmt::Display) -> Self {
        Self::Refused(EndingKind::Malformed, what.to_string())
    }

    /// Which of the counted kinds it is.
    pub fn kind(&self) -> EndingKind {
        match self {
            Self::ByClient => EndingKind::ByClient,
            Self::Refused(kind, _) => *kind,
            Self::Fault(_) => EndingKind::Broken,
        }
    }

    /// From anything that can say what went wrong.
    pub fn fault(what: impl fmt::Display) -> Self {
        Self::Fault(what.to_string())
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByClient => f.write_str("the client closed the connection"),
            Self::Refused(_, what) | Self::Fault(what) => f.write_str(what),
        }
    }
}
