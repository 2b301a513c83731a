//! The guest's agent (docs/protocol/agent.md): how its bytes are cut into messages,
//! which of them may pass, and what is changed on the way.
//!
//! Machines without I/O and without a clock. What is done with their results, the
//! device and the tokens are in `server::agent`.

pub mod audit;
pub mod capabilities;
pub mod chunks;
pub mod files;
pub mod filter;
pub mod monitors;
pub mod policy;

/// The two ends of the talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A client.
    Client,
    /// The guest, where the agent runs.
    Guest,
}

impl Side {
    /// Whoever hears what this side says.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Guest,
            Self::Guest => Self::Client,
        }
    }
}

/// What the host's settings say about the agent's messages now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switches {
    /// Copy and paste.
    pub copy_paste: bool,
    /// Files from clients.
    pub file_transfer: bool,
    /// The graphics devices take the clients' monitors themselves.
    pub monitors_to_display: bool,
}

/// All may pass, and the monitors go to the agent.
impl Default for Switches {
    fn default() -> Self {
        Self { copy_paste: true, file_transfer: true, monitors_to_display: false }
    }
}
