//! Why a connection ends.

use std::fmt;

/// The end of a connection, as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client closed it: nothing to complain about.
    ByClient,
    /// It broke, or the client broke the protocol.
    Fault(String),
}

impl Ending {
    /// From anything that can say what went wrong.
    pub fn fault(what: impl fmt::Display) -> Self {
        Self::Fault(what.to_string())
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByClient => f.write_str("the client closed the connection"),
            Self::Fault(what) => f.write_str(what),
        }
    }
}
