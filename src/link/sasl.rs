//! The SASL part of the handshake: who says what in which order, and how much
//! (docs/protocol/link.md, "SASL").
//!
//! The authentication itself is done outside: a question goes out as [`Ask`], its answer
//! comes back by `Link::handle_mechanisms` and `Link::handle_sasl`. No state of its own but the place in the order.

use crate::stats::LinkEvent;
use crate::wire::link::{LinkError, LinkReply};

/// What the caller has to ask the SASL library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Begin an exchange; which mechanisms are there?
    Mechanisms,
    /// The client's mechanism, and its first data, if it sent any.
    Start(String, Option<Vec<u8>>),
    /// The client's next data.
    Step(Option<Vec<u8>>),
}

/// What came out of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Data for the client, which has to go on.
    Continue(Option<Vec<u8>>),
    /// The client is authenticated; data for it.
    Complete(Option<Vec<u8>>),
    /// It is, but what it negotiated does not protect a plain connection.
    TooWeak(Option<Vec<u8>>),
}

/// Where the exchange stands.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// The caller is asked for the mechanisms.
    Mechanisms,
    /// The length of the client's choice.
    NameLength(Vec<u8>),
    /// The client's choice.
    Name(Vec<u8>, usize),
    /// The length of its data: the first with the mechanism, later ones without.
    DataLength(Option<String>),
    /// Its data.
    Data(Option<String>, usize),
    /// The caller is asked what comes of them.
    Answer,
}

/// Why an exchange ends the link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaslRefusal {
    /// The name of a mechanism has an impossible length.
    #[error("the client announced a SASL mechanism's name of {0} bytes")]
    NameLength(u32),
    /// The mechanism is not on the list.
    #[error("the client chose a SASL mechanism that is not offered")]
    Mechanism,
    /// The first data are longer than any.
    #[error("the client announced {0} bytes of SASL data")]
    FirstLength(u32),
    /// Later data are.
    #[error("the client announced {0} bytes of SASL data")]
    Length(u32),
    /// The library says no: a wrong password, most of the time.
    #[error("{0}")]
    Failed(String),
    /// Authenticated, but the connection stays unprotected.
    #[error("the client's SASL mechanism does not protect the connection, and there is no TLS")]
    TooWeak,
}

/// Longest name of a mechanism.
const NAME_MAX: u32 = 100;
/// Longest data of one step.
const DATA_MAX: u32 = 1024 * 1024;
/// What a client is told whose exchange was too weak.
const REFUSAL: &[u8] = b"Authentication failed\0";

impl Place {
    /// The bytes that the next step takes; `None`: it waits for the caller.
    pub(super) fn needed(&self) -> Option<usize> {
        match self {
            Self::NameLength(_) | Self::DataLength(_) => Some(4),
            Self::Name(_, length) | Self::Data(_, length) => Some(*length),
            Self::Mechanisms | Self::Answer => None,
        }
    }

    /// One step; `bytes` are as many as are needed.
    pub(super) fn step(self, bytes: &[u8]) -> Result<(Self, Option<Ask>), SaslRefusal> {
        let number = bytes.try_into().map(u32::from_le_bytes);
        Ok(match (self, number) {
            (Self::NameLength(list), Ok(length @ 1..=NAME_MAX)) => {
                (Self::Name(list, length as usize), None)
            }
            (Self::NameLength(_), length) => {
                return Err(SaslRefusal::NameLength(length.unwrap_or(0)));
            }
            (Self::Name(list, _), _) => (Self::DataLength(Some(choice(&list, bytes)?)), None),
            (Self::DataLength(name), Ok(0)) => (Self::Answer, Some(ask(name, None))),
            (Self::DataLength(name), Ok(length @ ..=DATA_MAX)) => {
                (Self::Data(name, length as usize), None)
            }
            (Self::DataLength(name), length) => {
                let length = length.unwrap_or(0);
                return Err(if name.is_some() {
                    SaslRefusal::FirstLength(length)
                } else {
                    SaslRefusal::Length(length)
                });
            }
            (Self::Data(name, _), _) => {
                // The last byte is a NUL that belongs to nobody.
                let data = bytes.split_last().map_or(&[][..], |(_, data)| data);
                (Self::Answer, Some(ask(name, Some(data.to_vec()))))
            }
            (waiting @ (Self::Mechanisms | Self::Answer), _) => (waiting, None),
        })
    }
}

impl SaslRefusal {
    /// What this counts as. What the library refuses may have been a password.
    pub(super) fn event(&self) -> LinkEvent {
        match self {
            Self::Failed(_) => LinkEvent::WrongPassword,
            Self::TooWeak => LinkEvent::Refused,
            Self::NameLength(_) | Self::Mechanism | Self::FirstLength(_) | Self::Length(_) => {
                LinkEvent::BadBytes
            }
        }
    }

    /// What is sent before the link is closed.
    pub(super) fn farewell(&self) -> Option<Vec<u8>> {
        match self {
            Self::Mechanism | Self::FirstLength(_) => {
                let mut bytes = Vec::new();
                LinkReply::encode_refusal(LinkError::InvalidData, &mut bytes);
                Some(bytes)
            }
            Self::TooWeak => {
                let mut bytes = 1_u32.to_le_bytes().to_vec();
                bytes.extend_from_slice(&(REFUSAL.len() as u32).to_le_bytes());
                bytes.extend_from_slice(REFUSAL);
                Some(bytes)
            }
            Self::NameLength(_) | Self::Length(_) | Self::Failed(_) => None,
        }
    }
}

/// The list of mechanisms as it is sent.
pub(super) fn encode_list(list: &[u8]) -> Vec<u8> {
    let mut bytes = (list.len() as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(list);
    bytes
}

/// The server's part of a step as it is sent: the data with a NUL behind them, and whether
/// the exchange is complete.
pub(super) fn encode_step(data: Option<&[u8]>, complete: bool) -> Vec<u8> {
    let length = data.map_or(0, |data| data.len() as u32 + 1);
    let mut bytes = length.to_le_bytes().to_vec();
    if let Some(data) = data {
        bytes.extend_from_slice(data);
        bytes.push(0);
    }
    bytes.push(complete.into());
    bytes
}

/// The client's choice, if it stands on the list `,a,b,`.
fn choice(list: &[u8], name: &[u8]) -> Result<String, SaslRefusal> {
    let offered = list.split(|byte| *byte == b',').any(|own| own == name && !own.is_empty());
    let name = std::str::from_utf8(name).ok().filter(|_| offered);
    name.map(str::to_owned).ok_or(SaslRefusal::Mechanism)
}

fn ask(name: Option<String>, data: Option<Vec<u8>>) -> Ask {
    match name {
        Some(name) => Ask::Start(name, data),
        None => Ask::Step(data),
    }
}
