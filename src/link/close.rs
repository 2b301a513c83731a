//! Why a link is closed, and what its peer is told about it.
//!
//! The texts are for the operator who reads the log. No state, any thread.

use super::sasl::SaslRefusal;
use super::ticket::TicketRefusal;
use crate::stats::LinkEvent;
use crate::wire::ChannelKey;
use crate::wire::link::{BadLinkMess, LinkError, LinkMess, LinkReply};

/// Why a link is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The first four bytes are not the protocol's.
    #[error("the peer does not speak SPICE: it began with \"{}\"", .0.escape_ascii())]
    NotSpice([u8; 4]),
    /// The client speaks another major version.
    #[error("the client speaks protocol version {major}, not 2")]
    Version {
        /// The client's major version.
        major: u32,
    },
    /// The link message is announced as too small or too large.
    #[error(
        "the client announced a link message of {0} bytes; {min} to {max} are allowed",
        min = LinkMess::FIXED_BYTES,
        max = LinkMess::MAX_BYTES
    )]
    MessageSize(u32),
    /// The link message contradicts itself.
    #[error("the client's link message is wrong: {0}")]
    BadMessage(BadLinkMess),
    /// The channel is served over TLS only.
    #[error("the client asked for channel {0} on a plain connection, but it needs TLS")]
    NeedSecured(ChannelKey),
    /// The channel is not served over TLS.
    #[error("the client asked for channel {0} over TLS, but it is only served on plain ones")]
    NeedUnsecured(ChannelKey),
    /// There is no such channel.
    #[error("the client asked for channel {0}, which does not exist")]
    NoSuchChannel(ChannelKey),
    /// The client wants to authenticate in a way that is not offered.
    #[error("the client chose authentication mechanism {0}, which is not offered")]
    Mechanism(u32),
    /// The ticket was not made with the key of this link.
    #[error("the client's encrypted password cannot be deciphered")]
    Undecipherable,
    /// The client cannot name a mechanism, and only one is offered that must be named.
    #[error("the client does not know SASL, which is required")]
    SaslRequired,
    /// SASL does not let the client in.
    #[error("{0}")]
    Sasl(#[from] SaslRefusal),
    /// The password does not let the client in.
    #[error("{0}")]
    Ticket(TicketRefusal),
}

impl CloseReason {
    /// What this counts as.
    pub fn event(&self) -> LinkEvent {
        match self {
            Self::NotSpice(_)
            | Self::Version { .. }
            | Self::MessageSize(_)
            | Self::BadMessage(_)
            | Self::Mechanism(_) => LinkEvent::BadBytes,
            Self::NeedSecured(_)
            | Self::NeedUnsecured(_)
            | Self::NoSuchChannel(_)
            | Self::SaslRequired => LinkEvent::Refused,
            Self::Undecipherable | Self::Ticket(_) => LinkEvent::WrongPassword,
            Self::Sasl(refusal) => refusal.event(),
        }
    }

    /// What is sent before the link is closed: a refusing link reply up to
    /// the choice of the mechanism, the link result alone after it, or nothing.
    pub(super) fn farewell(&self) -> Option<Vec<u8>> {
        let error = match self {
            Self::NotSpice(_) => LinkError::InvalidMagic,
            // Major version 0 predates link errors: such a client gets none.
            Self::Version { major: 0 } | Self::NoSuchChannel(_) => return None,
            Self::Version { .. } | Self::SaslRequired => LinkError::VersionMismatch,
            Self::MessageSize(_) | Self::BadMessage(_) | Self::Mechanism(_) => {
                LinkError::InvalidData
            }
            Self::Sasl(refusal) => return refusal.farewell(),
            Self::NeedSecured(_) => LinkError::NeedSecured,
            Self::NeedUnsecured(_) => LinkError::NeedUnsecured,
            Self::Undecipherable | Self::Ticket(_) => {
                return Some(LinkError::PermissionDenied.to_result().to_vec());
            }
        };
        let mut bytes = Vec::new();
        LinkReply::encode_refusal(error, &mut bytes);
        Some(bytes)
    }
}
