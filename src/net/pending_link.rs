//! One connection during the link phase, on the I/O thread.

use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::policy::Snapshot;
use super::reactor::{Interest, IoReactor, IoRegistration, Reactor, Registration};
use super::sasl::{Authentication, SaslError};
use super::stream::{Received, Stream};
use super::websocket::{Opened, Opening, WebSocket};
use crate::config::limits;
use crate::fault;
use crate::link::sasl::{Answer, Ask};
use crate::link::shield::Stage;
use crate::link::ticket::TicketKey;
use crate::link::{Action, Link, LinkOptions, Policy, Request};
use crate::stats::LinkEvent;

/// A link under way.
#[derive(Debug)]
pub(super) struct PendingLink {
    // Declared before the stream: the watch must end before the socket closes.
    registration: IoRegistration,
    stream: Stream,
    /// Until it is known whether this is a WebSocket.
    opening: Option<Opening>,
    machine: Link,
    options: LinkOptions,
    /// Once the client has chosen SASL.
    sasl: Option<Authentication>,
    /// The mechanism that it chose there.
    mechanism: String,
    /// How it has authenticated, for the log.
    proof: String,
    /// What comes behind the handshake is wrapped by its security layer.
    wraps: bool,
    /// The rule by which it has authenticated, unless the host has vouched for it.
    rule: Option<u64>,
    /// Bytes that the socket has not taken yet.
    unsent: Vec<u8>,
    /// Something has come.
    spoke: bool,
    /// When the client must have finished.
    deadline: Instant,
    /// Until when it waits, and what for, because its address has failed before.
    held: Option<(Instant, Need)>,
    peer: String,
}

/// How a step ended.
#[derive(Debug)]
pub(super) enum Progress {
    /// Wait for the socket.
    Waiting,
    /// The client is going to authenticate.
    Authenticating(Need),
    /// The client may have its channel.
    Authenticated(Request),
    /// Close it, for this reason.
    Close(Ended),
}

/// What a client needs to authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// A key for its password.
    Key,
    /// The SASL library's attention.
    Sasl,
}

/// Why a link is closed.
#[derive(Debug)]
pub(super) struct Ended {
    /// What it counts as.
    pub(super) event: LinkEvent,
    /// For the log.
    pub(super) why: String,
}

impl Ended {
    pub(super) fn new(event: LinkEvent, why: impl Into<String>) -> Self {
        Self { event, why: why.into() }
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        let event = match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::TimedOut => LinkEvent::Left,
            _ => LinkEvent::BadBytes,
        };
        Self::new(event, error.to_string())
    }
}

/// What remains of a link that succeeded.
#[derive(Debug)]
pub struct Linked {
    /// The socket, watched by nobody.
    pub stream: Stream,
    /// What the client asked for.
    pub request: Request,
    /// Bytes of the link reply that the socket has not taken yet.
    pub unsent: Vec<u8>,
    /// Whether the connection is encrypted.
    pub secured: bool,
    /// Whether a SASL layer wraps it.
    pub wrapped: bool,
    /// The client's end for people.
    pub peer: String,
    /// What protects the connection and how the client has authenticated, for people.
    pub security: String,
    /// The rule by which it has ([`Snapshot::rule`]); none if the host has vouched for it.
    pub rule: Option<u64>,
}

impl PendingLink {
    /// For a stream that has begun TLS if the client does.
    pub(super) fn new(
        reactor: &IoReactor,
        key: u64,
        stream: Stream,
        peer: String,
        options: LinkOptions,
        deadline: Instant,
    ) -> io::Result<Self> {
        Ok(Self {
            registration: reactor.register(stream.as_raw_fd(), key, Interest::READ)?,
            peer,
            stream,
            opening: Some(Opening::default()),
            machine: Link::new(options),
            options,
            sasl: None,
            mechanism: String::new(),
            proof: String::new(),
            wraps: false,
            rule: None,
            unsent: Vec::new(),
            spoke: false,
            deadline,
            held: None,
        })
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Lets the client wait; the time does not count for its deadline.
    pub(super) fn hold(&mut self, delay: Duration, need: Need, now: Instant) {
        self.deadline += delay;
        self.held = Some((now + delay, need));
    }

    /// Until when the client waits.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.held.map(|(until, _)| until)
    }

    /// What it needs, when it has waited long enough.
    pub(super) fn release(&mut self, now: Instant) -> Option<Need> {
        self.held.take_if(|(until, _)| *until <= now).map(|(_, need)| need)
    }

    /// How far it has come.
    pub(super) fn stage(&self) -> Stage {
        match self.machine.asked() {
            Some(_) => Stage::Asked,
            None if self.spoke => Stage::Speaking,
            None => Stage::Silent,
        }
    }

    /// Memory that the client's bytes take, and answers that it does not read.
    pub(super) fn held_bytes(&self) -> usize {
        let opening = self.opening.as_ref().map_or(0, Opening::held_bytes);
        self.machine.held_bytes() + opening + self.unsent.len() + self.stream.held_bytes()
    }

    /// The session that the client wants to join.
    pub(super) fn session(&self) -> Option<u32> {
        self.machine.asked().filter(|session| *session != 0)
    }

    /// The client's end for people.
    pub(super) fn peer(&self) -> &str {
        &self.peer
    }

    /// Whether this link's ticket carries a secret.
    pub(super) fn wants_fresh_key(&self, policy: &Snapshot) -> bool {
        policy.ticketing() && !self.options.skip_auth
    }

    /// The socket is ready.
    pub(super) fn handle_ready(&mut self, policy: &Snapshot, now: Instant) -> Progress {
        fault::point("link step");
        let input = self.flush().map_err(Ended::from).and_then(|()| self.read());
        let input = input.and_then(|input| self.open(input, policy));
        match input {
            Ok(input) => {
                self.machine.handle_bytes(&input, policy, now);
                self.advance(policy, now)
            }
            Err(reason) => {
                // Why, if there is anything to be said.
                let _ = self.flush();
                Progress::Close(reason)
            }
        }
    }

    /// What the socket has, if it is wanted.
    fn read(&mut self) -> Result<BytesMut, Ended> {
        let mut input = BytesMut::with_capacity(limits::READ_CHUNK);
        if self.machine.wants_input() {
            let received = self.stream.recv(&mut input);
            self.spoke |= matches!(received, Ok(Received::Data { .. }));
            went_on(received)?;
        }
        Ok(input)
    }

    /// The link's bytes out of the connection's first ones: all of them, or those inside a
    /// WebSocket.
    fn open(&mut self, mut input: BytesMut, policy: &Snapshot) -> Result<BytesMut, Ended> {
        let Some(opening) = &mut self.opening else {
            return Ok(input);
        };
        let opened = opening.handle_bytes(&input, &policy.websocket);
        input.clear();
        match opened {
            Opened::Unknown => return Ok(input),
            Opened::Link(bytes) => input = bytes,
            Opened::WebSocket { answer, rest } => {
                let layer = Box::<WebSocket>::default();
                went_on(self.stream.begin(layer, &answer, rest, &mut input))?;
            }
            Opened::Refused { answer, reason } => {
                self.unsent.extend_from_slice(answer);
                return Err(Ended::new(LinkEvent::Refused, reason));
            }
        }
        self.opening = None;
        Ok(input)
    }

    /// A key is there.
    pub(super) fn handle_key(
        &mut self,
        key: Arc<TicketKey>,
        policy: &Snapshot,
        now: Instant,
    ) -> Progress {
        self.machine.handle_key(key, policy, now);
        fault::point("link with its key");
        self.advance(policy, now)
    }

    /// The client has waited for the SASL library.
    pub(super) fn begin_sasl(&mut self, policy: &Snapshot, now: Instant) -> Progress {
        self.answer(Ask::Mechanisms, policy, now);
        self.advance(policy, now)
    }

    fn advance(&mut self, policy: &Snapshot, now: Instant) -> Progress {
        let mut progress = Progress::Waiting;
        while let Some(action) = self.machine.poll_action() {
            progress = match action {
                Action::Send(bytes) => {
                    self.unsent.extend_from_slice(&bytes);
                    continue;
                }
                Action::Sasl(Ask::Mechanisms) => Progress::Authenticating(Need::Sasl),
                Action::Sasl(ask) => {
                    self.answer(ask, policy, now);
                    continue;
                }
                Action::Wrap => {
                    self.wraps = true;
                    continue;
                }
                Action::NeedKey => Progress::Authenticating(Need::Key),
                Action::Authenticated(request) => self.enter(request, policy),
                Action::Close(reason) => {
                    Progress::Close(Ended::new(reason.event(), reason.to_string()))
                }
            };
        }
        // A refusal that does not fit into an empty socket buffer is not worth
        // waiting for: the close tells the client as much.
        match self.flush() {
            Err(error) if !matches!(progress, Progress::Close(_)) => Progress::Close(error.into()),
            _ => progress,
        }
    }

    /// Asks the SASL library, which may look into the system's password database.
    fn answer(&mut self, ask: Ask, policy: &Snapshot, now: Instant) {
        match ask {
            Ask::Mechanisms => {
                let list = Authentication::new(&self.stream)
                    .and_then(|new| self.sasl.insert(new).mechanisms());
                self.machine.handle_mechanisms(
                    list.map_err(|error| error.to_string()),
                    policy,
                    now,
                );
            }
            Ask::Start(name, data) => {
                let answer = self.ask(|sasl| sasl.start(&name, data.as_deref()));
                self.mechanism = name;
                self.machine.handle_sasl(answer, policy, now);
            }
            Ask::Step(data) => {
                let answer = self.ask(|sasl| sasl.step(data.as_deref()));
                self.machine.handle_sasl(answer, policy, now);
            }
        }
    }

    fn ask(
        &mut self,
        question: impl FnOnce(&mut Authentication) -> Result<Answer, SaslError>,
    ) -> Result<Answer, String> {
        fault::point("SASL step");
        let sasl = self.sasl.as_mut().expect("the mechanisms are asked for first");
        question(sasl).map_err(|error| error.to_string())
    }

    /// The client has authenticated.
    fn enter(&mut self, mut request: Request, policy: &Snapshot) -> Progress {
        fault::point("link at its end");
        self.rule = (!self.options.skip_auth).then_some(policy.rule);
        self.proof = if self.options.skip_auth {
            "let in by the host program".to_owned()
        } else if self.wants_fresh_key(policy) {
            "password".to_owned()
        } else {
            "no password".to_owned()
        };
        if let Some(sasl) = self.sasl.take() {
            let user = sasl.user().unwrap_or_default();
            self.proof = format!("SASL {} as user {user:?}", self.mechanism);
            if self.wraps {
                let unwrapped = std::mem::take(&mut self.unsent);
                let arrived = BytesMut::from(&request.leftover[..]);
                let mut first = BytesMut::new();
                let layer = Box::new(sasl.into_layer());
                let begun = self.stream.begin(layer, &unwrapped, arrived, &mut first);
                if let Err(reason) = went_on(begun) {
                    return Progress::Close(reason);
                }
                request.leftover = first.to_vec();
            }
        }
        Progress::Authenticated(request)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()?;
        if !self.unsent.is_empty() {
            let sent = self.stream.send(&[IoSlice::new(&self.unsent)])?;
            self.unsent.drain(..sent);
        }
        self.registration.set_interest(Interest {
            read: self.machine.wants_input(),
            write: !self.unsent.is_empty() || self.stream.has_unsent(),
        });
        Ok(())
    }

    /// Ends the link phase.
    pub(super) fn into_linked(self, request: Request) -> Linked {
        let Self { registration, stream, unsent, options, wraps, peer, proof, rule, .. } = self;
        drop(registration);
        let security = format!("{}, {proof}", stream.description());
        let secured = options.secured;
        Linked { stream, request, unsent, secured, wrapped: wraps, peer, security, rule }
    }
}

/// Whether the connection lasts.
fn went_on(received: io::Result<Received>) -> Result<(), Ended> {
    match received {
        Ok(Received::Data { .. } | Received::Nothing) => Ok(()),
        Ok(Received::End) => Err(Ended::new(LinkEvent::Left, "the client closed the connection")),
        Err(error) => Err(error.into()),
    }
}
