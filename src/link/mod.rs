//! The link handshake of one connection, from its first byte to the moment
//! when the client is authenticated (docs/protocol/link.md).
//!
//! [`Link`] knows no socket, thread or clock: bytes and `now` go in, actions
//! come out. It decides whether this client may have this channel; what the
//! channel then says, session ids and the final "link result 0" belong to the
//! server. [`ticket`] holds the key and the password.

#![forbid(unsafe_code)]

mod close;
pub mod sasl;
#[cfg(test)]
mod sasl_tests;
pub mod shield;
#[cfg(test)]
mod tests;
pub mod ticket;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::wire::ChannelKey;
use crate::wire::link::{
    CapSet, LinkError, LinkHeader, LinkMess, LinkReply, MAGIC, MAJOR, MECHANISM_SASL,
    MECHANISM_SPICE, PUBLIC_KEY_BYTES, TICKET_BYTES, common_cap,
};

pub use close::CloseReason;
use sasl::SaslRefusal;
use ticket::{TicketKey, TicketRefusal, until_nul};

/// Input that [`Link`] holds before [`Link::wants_input`] says no. The
/// handshake's own bytes are 4,244 at most, and before it has seen the key no
/// honest client can send more than 4,116 of them.
pub const INPUT_MAX: usize = 16 * 1024;

/// The handshake of one connection.
#[derive(Debug)]
pub struct Link {
    options: LinkOptions,
    state: State,
    /// Bytes that no step has taken yet.
    input: Vec<u8>,
    actions: VecDeque<Action>,
}

/// What is known of a connection before its first byte.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkOptions {
    /// The connection is a TLS connection.
    pub secured: bool,
    /// The host vouches for the client: any password will do. A ticket that
    /// can be deciphered must still come.
    pub skip_auth: bool,
}

/// What the caller shall do, in this order.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Get a key and pass it to [`Link::handle_key`]. Nothing moves before.
    NeedKey,
    /// Ask the SASL library and pass the answer to [`Link::handle_mechanisms`] or
    /// [`Link::handle_sasl`]. Nothing moves before.
    Sasl(sasl::Ask),
    /// From here on what both sides send is wrapped by the security layer that the SASL
    /// exchange has agreed on.
    Wrap,
    /// The client may have the channel. The machine has ended: the link
    /// result and everything after it are the caller's.
    Authenticated(Request),
    /// Send what is still to be sent, then close. The machine has ended.
    Close(CloseReason),
}

/// What an authenticated client asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// The session to join; 0 on the main channel makes a new one.
    pub connection_id: u32,
    /// The channel.
    pub channel: ChannelKey,
    /// What the client knows on every channel.
    pub common_caps: CapSet,
    /// What the client knows on this channel.
    pub channel_caps: CapSet,
    /// Bytes that were read behind the ticket: the channel's first input.
    pub leftover: Vec<u8>,
}

/// The server's settings, as the handshake needs to see them.
pub trait Policy {
    /// The capabilities that this channel offers; `None`: no such channel.
    /// The main channel exists under every id.
    fn offer(&self, channel: ChannelKey) -> Option<Offer>;
    /// The transports on which channels of this type are served.
    fn security(&self, kind: u8) -> ChannelSecurity;
    /// Whether clients need the right password; false under `noauth`.
    fn ticketing(&self) -> bool;
    /// Whether clients authenticate by SASL instead of a password.
    fn sasl(&self) -> bool;
    /// Whether this is the right password. It was cut before its first NUL.
    fn check_ticket(&self, password: &[u8], now: Instant) -> Result<(), TicketRefusal>;
}

/// The capabilities announced for one channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Those of every channel.
    pub common_caps: CapSet,
    /// Those of this channel's type.
    pub channel_caps: CapSet,
}

bitflags::bitflags! {
    /// The transports on which a channel is served, numbered as in the C API.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ChannelSecurity: u32 {
        /// TCP without TLS, and unix sockets.
        const PLAIN = 1;
        /// TLS.
        const SECURED = 2;
    }
}

/// What comes next. The numbers are the steps of docs/protocol/link.md.
#[derive(Debug)]
enum State {
    /// 1: the four bytes that tell SPICE from the rest.
    Magic,
    /// 2: version and size.
    Header,
    /// 3: the link message, of this many bytes.
    Message(usize),
    /// 4: the caller's answer to [`Action::NeedKey`].
    Key(LinkMess),
    /// 5: the number of the authentication mechanism; without a key it can only be SASL's.
    Mechanism(LinkMess, Option<Arc<TicketKey>>),
    /// 6: the encrypted password.
    Ticket(LinkMess, Arc<TicketKey>),
    /// 7: the SASL exchange instead.
    Sasl(LinkMess, sasl::Place),
    /// Authenticated or closed.
    Ended,
}

impl Link {
    /// A connection of which nothing has been read yet.
    pub fn new(options: LinkOptions) -> Self {
        let actions = VecDeque::new();
        Self { options, state: State::Magic, input: Vec::new(), actions }
    }

    /// Whether the caller should go on reading. False while too much input
    /// waits for a key, and when the machine has ended: what the client sends
    /// after that is the channel's.
    pub fn wants_input(&self) -> bool {
        let most = self.state.needed().unwrap_or(0).max(INPUT_MAX);
        !matches!(self.state, State::Ended) && self.input.len() < most
    }

    /// The session that the client wants to join, once it has said which channel it wants;
    /// 0: a new one.
    pub fn asked(&self) -> Option<u32> {
        match &self.state {
            State::Key(mess)
            | State::Mechanism(mess, _)
            | State::Ticket(mess, _)
            | State::Sasl(mess, _) => Some(mess.connection_id),
            State::Magic | State::Header | State::Message(_) | State::Ended => None,
        }
    }

    /// Memory that the client's bytes take.
    pub fn held_bytes(&self) -> usize {
        self.input.capacity()
    }

    /// Bytes arrived. All are kept or used up, so a caller that minds
    /// [`Self::wants_input`] bounds the memory of a link by [`INPUT_MAX`], or the one
    /// SASL step that is longer, and one read. After the end of the machine they are dropped.
    pub fn handle_bytes(&mut self, input: &[u8], policy: &dyn Policy, now: Instant) {
        if !matches!(self.state, State::Ended) {
            self.input.extend_from_slice(input);
            self.advance(policy, now);
        }
    }

    /// The key that [`Action::NeedKey`] asked for. One that nobody waits for
    /// is dropped.
    pub fn handle_key(&mut self, key: Arc<TicketKey>, policy: &dyn Policy, now: Instant) {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Key(mess) => {
                let next = self.reply(mess, Some(key), policy);
                self.enter(next);
                self.advance(policy, now);
            }
            other => self.state = other,
        }
    }

    /// The mechanisms that [`sasl::Ask::Mechanisms`] asked for, as `,a,b,`; none: SASL does not
    /// work here, and the log says why.
    pub fn handle_mechanisms(
        &mut self,
        list: Result<Vec<u8>, String>,
        policy: &dyn Policy,
        now: Instant,
    ) {
        if let State::Sasl(_, place @ sasl::Place::Mechanisms) = &mut self.state {
            match list {
                Ok(list) => {
                    self.actions.push_back(Action::Send(sasl::encode_list(&list)));
                    *place = sasl::Place::NameLength(list);
                }
                Err(why) => self.enter(Err(SaslRefusal::Failed(why).into())),
            }
            // The client may know what it wants before it has seen the list.
            self.advance(policy, now);
        }
    }

    /// What [`sasl::Ask::Start`] or [`sasl::Ask::Step`] came to.
    pub fn handle_sasl(
        &mut self,
        answer: Result<sasl::Answer, String>,
        policy: &dyn Policy,
        now: Instant,
    ) {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Sasl(mess, sasl::Place::Answer) => {
                let next = self.go_on(mess, answer);
                self.enter(next);
                self.advance(policy, now);
            }
            other => self.state = other,
        }
    }

    fn go_on(
        &mut self,
        mess: LinkMess,
        answer: Result<sasl::Answer, String>,
    ) -> Result<State, CloseReason> {
        match answer.map_err(SaslRefusal::Failed)? {
            sasl::Answer::Continue(data) => {
                let step = sasl::encode_step(data.as_deref(), false);
                self.actions.push_back(Action::Send(step));
                Ok(State::Sasl(mess, sasl::Place::DataLength(None)))
            }
            sasl::Answer::TooWeak(data) => {
                let step = sasl::encode_step(data.as_deref(), true);
                self.actions.push_back(Action::Send(step));
                Err(SaslRefusal::TooWeak.into())
            }
            sasl::Answer::Complete(data) => {
                let mut step = sasl::encode_step(data.as_deref(), true);
                step.extend_from_slice(&LinkError::Ok.to_result());
                self.actions.push_back(Action::Send(step));
                if !self.options.secured {
                    self.actions.push_back(Action::Wrap);
                }
                self.authenticated(mess);
                Ok(State::Ended)
            }
        }
    }

    fn authenticated(&mut self, mess: LinkMess) {
        let leftover = std::mem::take(&mut self.input);
        self.actions.push_back(Action::Authenticated(Request {
            connection_id: mess.connection_id,
            channel: mess.channel,
            common_caps: mess.common_caps,
            channel_caps: mess.channel_caps,
            leftover,
        }));
    }

    /// The next thing to do, if any.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Takes steps as long as the input suffices.
    fn advance(&mut self, policy: &dyn Policy, now: Instant) {
        while let Some(needed) = self.state.needed().filter(|needed| *needed <= self.input.len()) {
            let bytes: Vec<u8> = self.input.drain(..needed).collect();
            let next = self.step(&bytes, policy, now);
            self.enter(next);
        }
    }

    /// One step of the machine; `bytes` are as many as the state needs.
    fn step(
        &mut self,
        bytes: &[u8],
        policy: &dyn Policy,
        now: Instant,
    ) -> Result<State, CloseReason> {
        match std::mem::replace(&mut self.state, State::Ended) {
            // A WebSocket client begins with an HTTP request here.
            State::Magic if bytes == MAGIC => Ok(State::Header),
            State::Magic => Err(CloseReason::NotSpice(array(bytes))),
            State::Header => {
                let header = LinkHeader::parse_after_magic(array(bytes));
                if header.major != MAJOR {
                    return Err(CloseReason::Version { major: header.major });
                }
                match header.size as usize {
                    size @ LinkMess::FIXED_BYTES..=LinkMess::MAX_BYTES => Ok(State::Message(size)),
                    _ => Err(CloseReason::MessageSize(header.size)),
                }
            }
            State::Message(_) => {
                let mess = LinkMess::parse(bytes).map_err(CloseReason::BadMessage)?;
                self.admit(mess, policy)
            }
            State::Mechanism(mess, key) => match (u32::from_le_bytes(array(bytes)), key) {
                (MECHANISM_SPICE, Some(key)) if !self.wants_sasl(policy) => {
                    Ok(State::Ticket(mess, key))
                }
                (MECHANISM_SASL, _) if self.wants_sasl(policy) => {
                    self.actions.push_back(Action::Sasl(sasl::Ask::Mechanisms));
                    Ok(State::Sasl(mess, sasl::Place::Mechanisms))
                }
                (other, _) => Err(CloseReason::Mechanism(other)),
            },
            State::Sasl(mess, place) => {
                let (place, ask) = place.step(bytes)?;
                self.actions.extend(ask.map(Action::Sasl));
                Ok(State::Sasl(mess, place))
            }
            State::Ticket(mess, key) => {
                self.check_ticket(&key, &array(bytes), policy, now)?;
                self.authenticated(mess);
                Ok(State::Ended)
            }
            waiting @ (State::Key(_) | State::Ended) => Ok(waiting),
        }
    }

    /// Is the channel there, and may it be had on this transport? The
    /// transport is judged first: a client learns nothing about channels
    /// from a connection on which it may have none.
    fn admit(&mut self, mess: LinkMess, policy: &dyn Policy) -> Result<State, CloseReason> {
        let allowed = policy.security(mess.channel.kind);
        if self.options.secured && !allowed.contains(ChannelSecurity::SECURED) {
            return Err(CloseReason::NeedUnsecured(mess.channel));
        }
        if !self.options.secured && !allowed.contains(ChannelSecurity::PLAIN) {
            return Err(CloseReason::NeedSecured(mess.channel));
        }
        if policy.offer(mess.channel).is_none() {
            return Err(CloseReason::NoSuchChannel(mess.channel));
        }
        if self.wants_sasl(policy) && mess.common_caps.has(common_cap::AUTH_SASL) {
            // It will not use a key.
            return self.reply(mess, None, policy);
        }
        self.actions.push_back(Action::NeedKey);
        Ok(State::Key(mess))
    }

    /// Answers the link message. The channel may have gone, or have learnt
    /// something new, while the key was made: so its offer is read only now.
    fn reply(
        &mut self,
        mess: LinkMess,
        key: Option<Arc<TicketKey>>,
        policy: &dyn Policy,
    ) -> Result<State, CloseReason> {
        let offer = policy.offer(mess.channel).ok_or(CloseReason::NoSuchChannel(mess.channel))?;
        let sasl = self.wants_sasl(policy);
        let mut common_caps = offer.common_caps;
        common_caps.set(if sasl { common_cap::AUTH_SASL } else { common_cap::AUTH_SPICE });
        let reply = LinkReply {
            error: LinkError::Ok,
            public_key: key.as_ref().map_or([0; PUBLIC_KEY_BYTES], |key| *key.public_der()),
            common_caps,
            channel_caps: offer.channel_caps,
        };
        let mut bytes = Vec::new();
        reply.encode(&mut bytes);
        self.actions.push_back(Action::Send(bytes));
        // A client from before the choice of mechanisms sends its ticket at once.
        match key {
            key if mess.common_caps.has(common_cap::AUTH_SELECTION) => {
                Ok(State::Mechanism(mess, key))
            }
            Some(key) if !sasl => Ok(State::Ticket(mess, key)),
            _ => Err(CloseReason::SaslRequired),
        }
    }

    /// Whether this client has to authenticate by SASL. One for which the host vouches
    /// sends a ticket, as everywhere.
    fn wants_sasl(&self, policy: &dyn Policy) -> bool {
        policy.sasl() && !self.options.skip_auth
    }

    fn check_ticket(
        &self,
        key: &TicketKey,
        ticket: &[u8; TICKET_BYTES],
        policy: &dyn Policy,
        now: Instant,
    ) -> Result<(), CloseReason> {
        let text = key.decrypt(ticket).ok_or(CloseReason::Undecipherable)?;
        if self.options.skip_auth || !policy.ticketing() {
            return Ok(());
        }
        policy.check_ticket(until_nul(&text), now).map_err(CloseReason::Ticket)
    }

    fn enter(&mut self, next: Result<State, CloseReason>) {
        self.state = next.unwrap_or_else(|reason| {
            self.input = Vec::new();
            self.actions.extend(reason.farewell().map(Action::Send));
            self.actions.push_back(Action::Close(reason));
            State::Ended
        });
    }
}

impl State {
    /// The bytes that the next step takes; `None`: it does not wait for bytes.
    fn needed(&self) -> Option<usize> {
        match self {
            Self::Magic => Some(MAGIC.len()),
            Self::Header => Some(LinkHeader::BYTES - MAGIC.len()),
            Self::Message(size) => Some(*size),
            Self::Mechanism(..) => Some(4),
            Self::Ticket(..) => Some(TICKET_BYTES),
            Self::Sasl(_, place) => place.needed(),
            Self::Key(_) | Self::Ended => None,
        }
    }
}

/// `bytes` as the array that the state asked for.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("a step is given as many bytes as its state needs")
}
