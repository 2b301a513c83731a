//! One connection during the link phase, on the I/O thread.

use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use super::policy::Snapshot;
use super::reactor::{Interest, IoReactor, IoRegistration, Reactor, Registration};
use super::sasl::{Authentication, SaslError};
use super::stream::{Received, Stream};
use super::tls::Tls;
use super::websocket::{Opened, Opening, WebSocket};
use crate::config::limits;
use crate::fault;
use crate::link::sasl::{Answer, Ask};
use crate::link::ticket::TicketKey;
use crate::link::{Action, Link, LinkOptions, Policy, Request};

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
    /// What comes behind the handshake is wrapped by its security layer.
    wraps: bool,
    /// Bytes that the socket has not taken yet.
    unsent: Vec<u8>,
    /// When the client must have finished.
    deadline: Instant,
    peer: String,
}

/// How a step ended.
#[derive(Debug)]
pub(super) enum Progress {
    /// Wait for the socket.
    Waiting,
    /// Wait for a key.
    NeedKey,
    /// The client may have its channel.
    Authenticated(Request),
    /// Close it, for this reason.
    Close(String),
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
}

impl PendingLink {
    pub(super) fn new(
        reactor: &IoReactor,
        key: u64,
        mut stream: Stream,
        options: LinkOptions,
        tls: Option<&Tls>,
        now: Instant,
    ) -> io::Result<Self> {
        if options.secured {
            let tls = tls.ok_or_else(|| io::Error::other("TLS is not set up"))?;
            stream.begin_tls(&tls.context(now))?;
        }
        Ok(Self {
            registration: reactor.register(stream.as_raw_fd(), key, Interest::READ)?,
            peer: stream.addresses().peer_text,
            stream,
            opening: Some(Opening::default()),
            machine: Link::new(options),
            options,
            sasl: None,
            wraps: false,
            unsent: Vec::new(),
            deadline: now + limits::LINK_DEADLINE,
        })
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The client's end for people.
    pub(super) fn peer(&self) -> &str {
        &self.peer
    }

    /// Whether this link's ticket carries a secret.
    pub(super) fn wants_fresh_key(&self, policy: &dyn Policy) -> bool {
        policy.ticketing() && !self.options.skip_auth
    }

    /// The socket is ready.
    pub(super) fn handle_ready(&mut self, policy: &Snapshot, now: Instant) -> Progress {
        fault::point("link step");
        let input = self.flush().map_err(|error| error.to_string()).and_then(|()| self.read());
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
    fn read(&mut self) -> Result<BytesMut, String> {
        let mut input = BytesMut::with_capacity(limits::READ_CHUNK);
        if self.machine.wants_input() {
            went_on(self.stream.recv(&mut input))?;
        }
        Ok(input)
    }

    /// The link's bytes out of the connection's first ones: all of them, or those inside a
    /// WebSocket.
    fn open(&mut self, mut input: BytesMut, policy: &Snapshot) -> Result<BytesMut, String> {
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
                return Err(reason);
            }
        }
        self.opening = None;
        Ok(input)
    }

    /// A key is there.
    pub(super) fn handle_key(
        &mut self,
        key: Arc<TicketKey>,
        policy: &dyn Policy,
        now: Instant,
    ) -> Progress {
        self.machine.handle_key(key, policy, now);
        fault::point("link with its key");
        self.advance(policy, now)
    }

    fn advance(&mut self, policy: &dyn Policy, now: Instant) -> Progress {
        let mut progress = Progress::Waiting;
        while let Some(action) = self.machine.poll_action() {
            progress = match action {
                Action::Send(bytes) => {
                    self.unsent.extend_from_slice(&bytes);
                    continue;
                }
                Action::Sasl(ask) => {
                    self.answer(ask, policy, now);
                    continue;
                }
                Action::Wrap => {
                    self.wraps = true;
                    continue;
                }
                Action::NeedKey => Progress::NeedKey,
                Action::Authenticated(request) => self.enter(request),
                Action::Close(reason) => Progress::Close(reason.to_string()),
            };
        }
        // A refusal that does not fit into an empty socket buffer is not worth
        // waiting for: the close tells the client as much.
        match self.flush() {
            Err(error) if !matches!(progress, Progress::Close(_)) => {
                Progress::Close(error.to_string())
            }
            _ => progress,
        }
    }

    /// Asks the SASL library, which may look into the system's password database.
    fn answer(&mut self, ask: Ask, policy: &dyn Policy, now: Instant) {
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
    fn enter(&mut self, mut request: Request) -> Progress {
        fault::point("link at its end");
        if let Some(sasl) = self.sasl.take() {
            let user = sasl.user().unwrap_or_default();
            crate::info!("{} is user {user:?}, as SASL says", self.peer);
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
        let Self { registration, stream, unsent, options, wraps, peer, .. } = self;
        drop(registration);
        Linked { stream, request, unsent, secured: options.secured, wrapped: wraps, peer }
    }
}

/// Whether the connection lasts.
fn went_on(received: io::Result<Received>) -> Result<(), String> {
    match received {
        Ok(Received::Data { .. } | Received::Nothing) => Ok(()),
        Ok(Received::End) => Err("the client closed the connection".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
