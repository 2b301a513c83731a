//! One established connection as the main thread sees it, wherever its home is.

use std::borrow::Cow;
use std::cell::{Cell, RefCell, RefMut};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::agent::ClientSide;
use super::main_reactor::{MainReactor, MainRegistration};
use super::outlet::Outlet;
use super::served::Served;
use super::session::MainState;
use crate::channel::ending::Ending;
use crate::channel::framing::Framer;
use crate::channel::outbox::{Loan, Outbox};
use crate::channel::pipe::Outgoing;
use crate::channel::read_buffers::ReadBuffers;
use crate::channel::run::Parcel;
use crate::config::limits;
use crate::fault;
use crate::log::{About, Subject};
use crate::net::crossing::Crossing;
use crate::net::endpoint::{Endpoint, Fill};
use crate::net::io_thread::{ConnectionId, IoThread};
use crate::net::reactor::{Interest, Reactor};
use crate::net::stream::Stream;
use crate::stats::{self, Counters};
use crate::wire::ChannelKey;
use crate::wire::link::CapSet;
use crate::wire::migration;

/// A client's channel.
pub(super) struct Connection {
    /// Its name since it was accepted.
    pub(super) id: ConnectionId,
    /// The channel it is linked to.
    pub(super) channel: ChannelKey,
    /// The session it belongs to.
    pub(super) session: u32,
    /// The client's end, for the log.
    pub(super) peer: String,
    /// What the client knows on this channel.
    pub(super) caps: CapSet,
    /// Whether it is encrypted.
    pub(super) secured: bool,
    /// Whether the client came by a unix socket.
    pub(super) local: bool,
    /// Whether descriptors can go to the client.
    pub(super) passes_descriptors: bool,
    /// What it is for.
    pub(super) role: Role,
    /// What it has moved.
    pub(super) counters: Arc<Counters>,
    home: Home,
    /// What its receiver could not take yet.
    held: RefCell<Option<Parcel>>,
    /// Messages are being handled further up the stack.
    pumping: Cell<bool>,
    closed: Cell<bool>,
    pace: Cell<Pace>,
    /// Somebody waits for the queue to shrink.
    awaited: Cell<bool>,
    passage: Cell<Passage>,
}

/// Where a connection stands while its client moves from one host to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Passage {
    /// It does not move.
    #[default]
    Settled,
    /// The client comes from another host and has not said how it goes on: nothing is said
    /// to it, and what it says waits.
    Parked,
    /// The client comes from another host and brings the channel's state: nothing but
    /// MIGRATE_DATA is taken.
    Awaited,
    /// The client goes to another host. What is left to say is said, then MIGRATE.
    Finishing,
    /// MIGRATE was queued: the client is sent nothing more but MIGRATE_DATA.
    Leaving,
    /// MIGRATE_DATA was queued: nothing is taken or sent any more.
    Gone,
}

/// What a connection is for.
pub(super) enum Role {
    /// The main channel of a session.
    Main(Box<RefCell<MainState>>),
    /// Any other channel.
    Served(Rc<dyn Served>),
}

/// Where a connection lives.
enum Home {
    Main(Box<MainHome>),
    Thread(ThreadHome),
}

struct MainHome {
    /// Taken when the connection is closed.
    endpoint: RefCell<Option<Endpoint<MainRegistration>>>,
    /// Why nothing more will be read.
    ended: RefCell<Option<Ending>>,
}

struct ThreadHome {
    io: Rc<IoThread>,
    crossing: Arc<Crossing>,
    /// Taken from the crossing and not handled yet.
    arrived: RefCell<VecDeque<Parcel>>,
    ended: RefCell<Option<Ending>>,
}

/// What decides whether a block is sent at once or gathered.
#[derive(Clone, Copy)]
struct Pace {
    /// When bytes were last given to the socket.
    last_sent: Option<Instant>,
    /// Something was received since a block was last queued.
    heard: bool,
}

/// What comes next from a client.
pub(super) enum Next {
    /// A message, or several.
    Parcel(Parcel),
    /// Nothing now.
    Nothing,
    /// Nothing ever again, for this reason.
    Ended(Ending),
}

/// What a connection is made of, before it has a home.
pub(super) struct Parts {
    pub(super) id: ConnectionId,
    pub(super) channel: ChannelKey,
    pub(super) session: u32,
    pub(super) peer: String,
    pub(super) caps: CapSet,
    pub(super) secured: bool,
    pub(super) local: bool,
    pub(super) role: Role,
    pub(super) stream: Stream,
    pub(super) framer: Framer,
    pub(super) outbox: Outbox,
    pub(super) counters: Arc<Counters>,
}

impl Connection {
    /// Gives the connection its home on the host's main loop.
    pub(super) fn on_main_loop(
        parts: Parts,
        reactor: &MainReactor,
        buffers: Arc<ReadBuffers>,
    ) -> io::Result<Self> {
        let counters = Arc::clone(&parts.counters);
        Self::new(parts, |id, stream, framer, outbox| {
            let registration = reactor.register(stream.as_raw_fd(), id, Interest::READ)?;
            let endpoint = Endpoint::new(stream, registration, framer, outbox, buffers, counters);
            let endpoint = RefCell::new(Some(endpoint));
            Ok(Home::Main(Box::new(MainHome { endpoint, ended: RefCell::default() })))
        })
    }

    /// Gives the connection its home on the I/O thread.
    pub(super) fn on_io_thread(parts: Parts, io: Rc<IoThread>) -> io::Result<Self> {
        let full_at = parts.role.full_at();
        let counters = Arc::clone(&parts.counters);
        Self::new(parts, |id, stream, framer, outbox| {
            let crossing = Arc::new(Crossing::new(outbox.like(), outbox.len(), full_at));
            io.adopt(id, stream, framer, outbox, Arc::clone(&crossing), counters);
            Ok(Home::Thread(ThreadHome {
                io,
                crossing,
                arrived: RefCell::default(),
                ended: RefCell::default(),
            }))
        })
    }

    fn new(
        parts: Parts,
        home: impl FnOnce(ConnectionId, Stream, Framer, Outbox) -> io::Result<Home>,
    ) -> io::Result<Self> {
        let Parts {
            id,
            channel,
            session,
            peer,
            caps,
            secured,
            local,
            role,
            stream,
            framer,
            outbox,
            counters,
        } = parts;
        Ok(Self {
            id,
            channel,
            session,
            peer,
            caps,
            secured,
            local,
            passes_descriptors: stream.passes_descriptors(),
            role,
            counters,
            home: home(id, stream, framer, outbox)?,
            held: RefCell::default(),
            pumping: Cell::new(false),
            closed: Cell::new(false),
            pace: Cell::new(Pace { last_sent: None, heard: true }),
            awaited: Cell::new(false),
            passage: Cell::default(),
        })
    }

    /// Queues a message and sees to its leaving. An error means that the
    /// connection is broken.
    pub(super) fn send(&self, kind: u16, body: &[u8]) -> io::Result<()> {
        if self.is_parting() {
            return Ok(());
        }
        self.queue(|outbox| outbox.push(kind, body))
    }

    /// Queues a message whose body goes on with what other clients get too, or that has
    /// descriptors with it, and sends it at once, as far as the socket takes it. How much may
    /// be queued like this is the caller's to bound. Without either it is a message like any
    /// other.
    pub(super) fn send_outgoing(&self, message: Outgoing) -> io::Result<()> {
        if message.shared.is_empty() && message.descriptors.is_none() {
            return self.send(message.kind, &message.head);
        }
        if self.is_parting() {
            return Ok(());
        }
        match &self.home {
            Home::Main(home) => {
                let mut endpoint = home.endpoint.borrow_mut();
                let Some(endpoint) = endpoint.as_mut() else {
                    return Ok(());
                };
                endpoint.outbox().push_outgoing(message);
                self.counters.set_queued(endpoint.outbox().len());
                if self.awaited.get() {
                    endpoint.flush_later();
                } else {
                    self.flush(endpoint)?;
                }
            }
            Home::Thread(home) => {
                let ((), ask) = home.crossing.with_outbox(|outbox| outbox.push_outgoing(message));
                if ask {
                    home.io.fetch(self.id);
                }
            }
        }
        Ok(())
    }

    /// Where it stands while its client moves.
    pub(super) fn passage(&self) -> Passage {
        self.passage.get()
    }

    /// The client comes from another host, and will say how it goes on.
    pub(super) fn park(&self) {
        self.passage.set(Passage::Parked);
    }

    /// The client comes from another host, and will bring the channel's state.
    pub(super) fn await_migration_data(&self) {
        self.passage.set(Passage::Awaited);
    }

    /// The client has arrived: it has brought the channel's state, or begins anew.
    pub(super) fn settle_down(&self) {
        self.passage.set(Passage::Settled);
    }

    /// The last message but MIGRATE_DATA will be queued when it is its turn.
    pub(super) fn finish(&self) {
        self.passage.set(Passage::Finishing);
    }

    /// The last message but MIGRATE_DATA has been queued.
    pub(super) fn leave(&self) {
        self.passage.set(Passage::Leaving);
    }

    /// Whether nothing is sent: whoever speaks to the client does not know that it goes to
    /// another host, where it is told, or has not arrived from one.
    fn is_parting(&self) -> bool {
        matches!(self.passage.get(), Passage::Parked | Passage::Leaving | Passage::Gone)
    }

    /// Queues MIGRATE_DATA, the last message.
    pub(super) fn send_migration_data(&self, body: Bytes) -> io::Result<()> {
        self.passage.set(Passage::Settled);
        // Not bounded as other messages are: the client has announced that it reads this.
        let sent = self.send_outgoing(Outgoing::large(migration::MIGRATE_DATA, Vec::new(), body));
        self.passage.set(Passage::Gone);
        sent
    }

    /// The number of the next message.
    pub(super) fn next_serial(&self) -> u64 {
        match &self.home {
            Home::Main(home) => {
                let mut endpoint = home.endpoint.borrow_mut();
                endpoint.as_mut().map_or(0, |endpoint| endpoint.outbox().next_serial())
            }
            Home::Thread(home) => {
                let (serial, ask) = home.crossing.with_outbox(|outbox| outbox.next_serial());
                if ask {
                    home.io.fetch(self.id);
                }
                serial
            }
        }
    }

    /// Numbers go on from this one: the client counts on from another host.
    pub(super) fn continue_serials(&self, next: u64) {
        match &self.home {
            Home::Main(home) => {
                if let Some(endpoint) = home.endpoint.borrow_mut().as_mut() {
                    endpoint.outbox().continue_serials(next);
                }
            }
            Home::Thread(home) => {
                let ((), ask) = home.crossing.with_outbox(|outbox| outbox.continue_serials(next));
                if ask {
                    home.io.fetch(self.id);
                }
            }
        }
    }

    /// The queue's end for another thread; `rouse` makes the main loop come round.
    pub(super) fn outlet(&self, rouse: Box<dyn Fn() + Send + Sync>) -> Outlet {
        match &self.home {
            Home::Main(_) => Outlet::on_main_loop(Arc::clone(&self.counters), rouse),
            Home::Thread(home) => {
                let crossing = Arc::clone(&home.crossing);
                Outlet::on_thread(self.id, crossing, home.io.fetcher(), rouse)
            }
        }
    }

    /// Sends what was queued before the connection had its home: the link result.
    pub(super) fn begin(&self) -> io::Result<()> {
        if let Home::Main(home) = &self.home
            && let Some(endpoint) = home.endpoint.borrow_mut().as_mut()
        {
            self.flush(endpoint)?;
        }
        // The I/O thread does so by itself.
        Ok(())
    }

    /// Room to read a device's data into; `None` when the connection is gone.
    pub(super) fn lend(&self, body_max: usize) -> Option<Loan> {
        if self.is_parting() {
            return None;
        }
        match &self.home {
            Home::Main(home) => home.endpoint.borrow_mut().as_mut()?.outbox().lend(body_max),
            Home::Thread(home) => home.crossing.lend(body_max),
        }
    }

    /// Takes the room back with `length` bytes in it.
    pub(super) fn settle(&self, loan: Loan, kind: u16, length: usize) -> io::Result<()> {
        self.queue(|outbox| outbox.settle(loan, kind, length))
    }

    /// Bytes queued and not sent yet.
    pub(super) fn queued(&self) -> usize {
        match &self.home {
            Home::Main(home) => {
                home.endpoint.borrow_mut().as_mut().map_or(0, |endpoint| endpoint.outbox().len())
            }
            Home::Thread(home) => home.crossing.unsent(),
        }
    }

    /// Whether the queue is too long to take more of what can wait. Whoever asks and
    /// is told so is called when it has shrunk.
    pub(super) fn is_full(&self) -> bool {
        let full = self.queued() >= self.role.full_at();
        if full {
            self.awaited.set(true);
            self.counters.block_out(stats::now());
        }
        full
    }

    fn queue(&self, work: impl FnOnce(&mut Outbox)) -> io::Result<()> {
        match &self.home {
            Home::Main(home) => {
                let mut endpoint = home.endpoint.borrow_mut();
                let Some(endpoint) = endpoint.as_mut() else {
                    return Ok(());
                };
                let before = endpoint.outbox().len();
                work(endpoint.outbox());
                fault::point("queueing");
                let after = endpoint.outbox().len();
                if after == before {
                    return Ok(());
                }
                self.counters.set_queued(after);
                may_queue(after)?;
                let worth_a_call =
                    self.is_fresh(before, after - before) || after >= limits::GATHERED;
                // While somebody waits, only the main loop sends: it tells him, which
                // must not happen from inside whatever queues this.
                if worth_a_call && !self.awaited.get() {
                    self.flush(endpoint)?;
                    self.note_sent();
                } else {
                    endpoint.flush_later();
                }
            }
            Home::Thread(home) => {
                let ((), ask) = home.crossing.with_outbox(|outbox| {
                    work(outbox);
                    fault::point("queueing");
                });
                if ask {
                    home.io.fetch(self.id);
                }
                may_queue(home.crossing.unsent())?;
            }
        }
        Ok(())
    }

    /// Whether a block is worth a system call of its own: the answer in a
    /// dialogue, or the first after a silence. In a stream blocks are gathered.
    fn is_fresh(&self, queued_before: usize, length: usize) -> bool {
        let pace = self.pace.get();
        self.pace.set(Pace { heard: false, ..pace });
        if queued_before > 0 || length > limits::FRESH_BLOCK {
            return false;
        }
        // The clock is asked only where it decides: once a turn, not once a block.
        pace.heard || pace.last_sent.is_none_or(|last| last.elapsed() >= limits::FRESH_AFTER)
    }

    fn flush(&self, endpoint: &mut Endpoint<MainRegistration>) -> io::Result<usize> {
        let sent = endpoint.flush();
        self.counters.set_queued(endpoint.outbox().len());
        sent
    }

    fn note_sent(&self) {
        self.pace.set(Pace { last_sent: Some(Instant::now()), ..self.pace.get() });
    }

    /// The socket has room: writes. Returns whether somebody waited for the queue to
    /// shrink and now need not.
    pub(super) fn handle_writable(&self) -> io::Result<bool> {
        let Home::Main(home) = &self.home else {
            return Ok(false);
        };
        let mut endpoint = home.endpoint.borrow_mut();
        let Some(endpoint) = endpoint.as_mut() else {
            return Ok(false);
        };
        self.flush(endpoint)?;
        self.note_sent();
        let shrunk = endpoint.outbox().len() < self.role.full_at();
        Ok(shrunk && self.awaited.replace(false))
    }

    /// The socket has bytes: reads a turn's worth.
    pub(super) fn handle_readable(&self) {
        let Home::Main(home) = &self.home else {
            return;
        };
        let mut endpoint = home.endpoint.borrow_mut();
        let Some(endpoint) = endpoint.as_mut() else {
            return;
        };
        let end = match endpoint.fill() {
            Ok(Fill::Open) => return,
            Ok(Fill::End) => Ending::ByClient,
            Err(error) => Ending::fault(error),
        };
        // The messages before the end are still to be handled.
        endpoint.set_reading(false);
        *home.ended.borrow_mut() = Some(end);
    }

    /// What comes next, held back or newly arrived.
    pub(super) fn next(&self) -> Next {
        if let Some(held) = self.held.borrow_mut().take() {
            return Next::Parcel(held);
        }
        let next = match &self.home {
            Home::Main(home) => match home.endpoint.borrow_mut().as_mut() {
                None => Next::Nothing,
                Some(endpoint) => match endpoint.poll_parcel() {
                    Ok(Some(parcel)) => Next::Parcel(parcel),
                    Ok(None) => home.ended.borrow_mut().take().map_or(Next::Nothing, Next::Ended),
                    Err(refused) => Next::Ended(refused.into()),
                },
            },
            Home::Thread(home) => home.next(self.id),
        };
        if matches!(next, Next::Parcel(_)) {
            self.pace.set(Pace { heard: true, ..self.pace.get() });
        }
        next
    }

    /// Keeps what its receiver cannot take, and reads nothing more until
    /// [`Connection::release`].
    pub(super) fn hold(&self, parcel: Parcel) {
        *self.held.borrow_mut() = Some(parcel);
        self.counters.block_in(stats::now());
        if let Home::Main(home) = &self.home
            && let Some(endpoint) = home.endpoint.borrow_mut().as_mut()
        {
            endpoint.set_reading(false);
        }
        // On the I/O thread the full inbox stops the reading.
    }

    /// Whether a message is being held back.
    pub(super) fn is_held(&self) -> bool {
        self.held.borrow().is_some()
    }

    /// Reads on.
    pub(super) fn release(&self) {
        self.counters.unblock_in(stats::now());
        if let Home::Main(home) = &self.home
            && home.ended.borrow().is_none()
            && let Some(endpoint) = home.endpoint.borrow_mut().as_mut()
        {
            endpoint.set_reading(true);
        }
    }

    /// Enters the loop that handles messages; false when it is running already.
    pub(super) fn begin_pump(&self) -> bool {
        !self.pumping.replace(true)
    }

    /// Leaves that loop.
    pub(super) fn end_pump(&self) {
        self.pumping.set(false);
    }

    /// What a main channel remembers of its talk with the agent.
    pub(super) fn agent_side(&self) -> Option<RefMut<'_, ClientSide>> {
        match &self.role {
            Role::Main(state) => Some(RefMut::map(state.borrow_mut(), |state| &mut state.agent)),
            Role::Served(_) => None,
        }
    }

    /// Whether it was closed.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Closes the socket, now or as soon as the I/O thread hears of it. False if
    /// it was closed before.
    pub(super) fn close(&self) -> bool {
        if self.closed.replace(true) {
            return false;
        }
        match &self.home {
            Home::Main(home) => drop(home.endpoint.borrow_mut().take()),
            Home::Thread(home) => home.io.close(self.id),
        }
        true
    }
}

impl Role {
    /// From how many unsent bytes on the queue is too long.
    fn full_at(&self) -> usize {
        match self {
            Self::Main(_) => limits::DEVICE_TO_CLIENT,
            Self::Served(served) => served.full_at(),
        }
    }
}

impl About for Connection {
    fn subject(&self) -> Cow<'_, Subject> {
        let subject = Subject::peer(&self.peer);
        Cow::Owned(match &self.role {
            Role::Main(_) => subject.on(format_args!("main:{}", self.channel.id)),
            Role::Served(served) => subject.on(served.label()),
        })
    }
}

/// As the log names it: the channel by the name that settings have for it, and the peer.
impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.role {
            Role::Main(_) => write!(f, "channel main:{} of {}", self.channel.id, self.peer),
            Role::Served(served) => write!(f, "{} of {}", served.label(), self.peer),
        }
    }
}

/// Whether so many bytes may wait for a client.
fn may_queue(bytes: usize) -> io::Result<()> {
    if bytes > limits::OUTGOING {
        return Err(io::Error::other("the client does not read what it is sent"));
    }
    Ok(())
}

impl ThreadHome {
    fn next(&self, id: ConnectionId) -> Next {
        let mut arrived = self.arrived.borrow_mut();
        if arrived.is_empty() {
            if let Some(reason) = self.ended.borrow_mut().take() {
                return Next::Ended(reason);
            }
            let taken = self.crossing.take();
            *arrived = taken.parcels;
            *self.ended.borrow_mut() = taken.ended;
            if taken.resume {
                self.io.resume(id);
            }
        }
        if let Some(parcel) = arrived.pop_front() {
            return Next::Parcel(parcel);
        }
        self.ended.borrow_mut().take().map_or(Next::Nothing, Next::Ended)
    }
}
