//! The I/O thread: listeners, links under way, and the connections that live here.
//!
//! The main thread sends commands and gets notices; nothing here calls the host.
//! A panic in a step closes the connection it belongs to and nothing else. What happens to
//! links under way is in `link_phase`.

mod link_phase;

use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;

use super::crossing::Crossing;
use super::endpoint::Endpoint;
use super::io_connection::{IoConnection, Report};
use super::keys::KeyStock;
use super::listener::Listener;
use super::pending_link::{Ended, PendingLink, Progress};
use super::policy::SharedPolicy;
use super::poller::{Events, Poller};
use super::press_thread::PressThread;
use super::reactor::{Interest, IoReactor, IoRegistration, Reactor, Registration};
use super::statistics::{Publication, Publisher};
use super::stream::{Addresses, Stream};
use super::sys::{WakeFd, spawn};
use super::tls::Tls;
use crate::channel::ending::Ending;
use crate::channel::framing::Framer;
use crate::channel::outbox::Outbox;
use crate::channel::read_buffers::ReadBuffers;
use crate::config::limits;
use crate::config::link::LinkPolicy;
use crate::guard::completes;
use crate::link::LinkOptions;
use crate::link::shield::{Shield, Source, Told, Turns};
use crate::log::quota::Quota;
use crate::stats::{Counters, LinkCounters, LinkEvent};

pub use super::pending_link::Linked;

/// Names a connection from accept to its end, on both threads.
pub type ConnectionId = u64;

/// What the main thread is told.
#[derive(Debug)]
pub enum Notice {
    /// A connection was accepted; its link begins.
    Connected(ConnectionId, Addresses),
    /// A link failed, or the client left during it.
    LinkEnded(ConnectionId),
    /// A client may have its channel.
    Linked(ConnectionId, Box<Linked>),
    /// Messages, or the end, wait in this connection's crossing.
    Arrived(ConnectionId),
    /// This connection's queue has shrunk: its device may be read again.
    Drained(ConnectionId),
}

impl Notice {
    /// Whom it is about.
    pub fn connection(&self) -> ConnectionId {
        match self {
            Self::Connected(id, _)
            | Self::LinkEnded(id)
            | Self::Linked(id, _)
            | Self::Arrived(id)
            | Self::Drained(id) => *id,
        }
    }
}

/// What the I/O thread is asked to do.
enum Command {
    Listen(Listener),
    Publish(Box<Publication>),
    Link(ConnectionId, Stream, LinkOptions),
    Adopt(ConnectionId, Box<Adopted>),
    Fetch(ConnectionId),
    Resume(ConnectionId),
    Close(ConnectionId),
    /// Those begun before this one.
    CutLinks(ConnectionId),
    Stop,
}

/// A connection that moves in.
struct Adopted {
    stream: Stream,
    framer: Framer,
    outbox: Outbox,
    crossing: Arc<Crossing>,
    counters: Arc<Counters>,
}

/// The main thread's handle. Dropping it stops and joins the thread.
pub struct IoThread {
    commands: Sender<Command>,
    poller: Arc<Poller>,
    notices: Receiver<Notice>,
    wake: Arc<Wake>,
    next_id: Arc<AtomicU64>,
    keys: Arc<KeyStock>,
    serves_tls: bool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Tells the I/O thread that something was queued for a connection.
#[derive(Clone)]
pub struct Fetcher {
    commands: Sender<Command>,
    poller: Arc<Poller>,
}

impl Fetcher {
    /// Something was queued for this connection.
    pub fn fetch(&self, id: ConnectionId) {
        // Fails only when the thread has ended, and the connection with it.
        if self.commands.send(Command::Fetch(id)).is_ok() {
            self.poller.call();
        }
    }
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher").finish_non_exhaustive()
    }
}

/// Rouses the main thread, once until it looks.
#[derive(Debug)]
struct Wake {
    fd: WakeFd,
    raised: AtomicBool,
}

impl Wake {
    fn rouse(&self) {
        if !self.raised.swap(true, Ordering::SeqCst) {
            self.fd.raise();
        }
    }
}

impl IoThread {
    /// Starts the thread. Without `tls` no client can begin with it. What becomes of links
    /// is counted by `counters`.
    pub fn start(
        policy: Arc<SharedPolicy>,
        link_policy: LinkPolicy,
        tls: Option<Arc<Tls>>,
        counters: Arc<LinkCounters>,
    ) -> io::Result<Self> {
        let poller = Arc::new(Poller::new()?);
        let (commands, received) = unbounded();
        let (send_notice, notices) = unbounded();
        let wake = Arc::new(Wake { fd: WakeFd::new()?, raised: AtomicBool::new(false) });
        let rouse = Arc::clone(&poller);
        let keys = Arc::new(KeyStock::start(move || rouse.call())?);
        let next_id = Arc::new(AtomicU64::new(1));
        let serves_tls = tls.is_some();
        let mut reactor = Thread {
            reactor: IoReactor::new(Arc::clone(&poller)),
            poller: Arc::clone(&poller),
            commands: received,
            notices: send_notice,
            wake: Arc::clone(&wake),
            policy,
            tls,
            keys: Arc::clone(&keys),
            next_id: Arc::clone(&next_id),
            listeners: HashMap::new(),
            listening: true,
            listen_again: None,
            links: HashMap::new(),
            shield: Shield::new(link_policy),
            link_policy,
            told: Told::default(),
            waiting_for_key: Turns::default(),
            publisher: None,
            counters,
            quotas: [const { Quota::new(limits::LINK_LINES, limits::LINK_LINES_WINDOW) };
                LinkEvent::ALL.len()],
            connections: HashMap::new(),
            buffers: Arc::default(),
            press: None,
            asked_for_press: false,
        };
        let thread = spawn("spice-io", move || {
            // What panics outside of a connection's step may do so again at once.
            while !completes("I/O thread", || reactor.run()) {
                std::thread::sleep(ACCEPT_PAUSE);
            }
        })?;
        Ok(Self {
            commands,
            poller,
            notices,
            wake,
            next_id,
            keys,
            serves_tls,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// The descriptor that becomes readable when notices wait.
    pub fn wake_fd(&self) -> &WakeFd {
        &self.wake.fd
    }

    /// All notices so far.
    pub fn notices(&self) -> impl Iterator<Item = Notice> + '_ {
        self.wake.fd.lower();
        self.wake.raised.store(false, Ordering::SeqCst);
        self.notices.try_iter()
    }

    /// Makes the main loop look at its own queues soon.
    pub fn rouse_main(&self) {
        self.wake.rouse();
    }

    /// What does the same as [`Self::rouse_main`], on any thread.
    pub fn rouser(&self) -> impl Fn() + Send + Sync + 'static {
        let wake = Arc::clone(&self.wake);
        move || wake.rouse()
    }

    /// A fresh name for a connection.
    pub fn new_id(&self) -> ConnectionId {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Passwords are in use: keep ticket keys in stock.
    pub fn expect_passwords(&self) {
        self.keys.expect_fresh();
    }

    /// Whether clients can begin with TLS.
    pub fn serves_tls(&self) -> bool {
        self.serves_tls
    }

    /// Accepts clients here from now on.
    pub fn listen(&self, listener: Listener) {
        self.command(Command::Listen(listener));
    }

    /// Lets statistics be read from now on.
    pub fn publish(&self, publication: Publication) {
        self.command(Command::Publish(Box::new(publication)));
    }

    /// Begins a link on a socket that the host brought.
    pub fn link(&self, id: ConnectionId, stream: Stream, options: LinkOptions) {
        self.command(Command::Link(id, stream, options));
    }

    /// Gives an established connection its home here.
    pub fn adopt(
        &self,
        id: ConnectionId,
        stream: Stream,
        framer: Framer,
        outbox: Outbox,
        crossing: Arc<Crossing>,
        counters: Arc<Counters>,
    ) {
        let adopted = Adopted { stream, framer, outbox, crossing, counters };
        self.command(Command::Adopt(id, Box::new(adopted)));
    }

    /// Something was queued for this connection.
    pub fn fetch(&self, id: ConnectionId) {
        self.command(Command::Fetch(id));
    }

    /// What does the same as [`Self::fetch`], on any thread.
    pub fn fetcher(&self) -> Fetcher {
        Fetcher { commands: self.commands.clone(), poller: Arc::clone(&self.poller) }
    }

    /// This connection's messages were taken.
    pub fn resume(&self, id: ConnectionId) {
        self.command(Command::Resume(id));
    }

    /// Ends a connection or a link.
    pub fn close(&self, id: ConnectionId) {
        self.command(Command::Close(id));
    }

    /// Ends every link under way. When passwords come into force, links begun
    /// without one may hold the shared ticket key.
    pub fn cut_links(&self) {
        self.command(Command::CutLinks(self.new_id()));
    }

    /// Ends the threads and closes every socket they have. Notices that were not
    /// fetched yet still can be.
    pub fn stop(&self) {
        self.command(Command::Stop);
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
        self.keys.stop();
    }

    fn command(&self, command: Command) {
        // Fails only when the thread has ended, and then nothing is left to do.
        if self.commands.send(command).is_ok() {
            self.poller.call();
        }
    }
}

impl Drop for IoThread {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The thread's own state.
struct Thread {
    reactor: IoReactor,
    poller: Arc<Poller>,
    commands: Receiver<Command>,
    notices: Sender<Notice>,
    wake: Arc<Wake>,
    policy: Arc<SharedPolicy>,
    tls: Option<Arc<Tls>>,
    keys: Arc<KeyStock>,
    next_id: Arc<AtomicU64>,
    // Each registration stands before what it watches: it must be dropped first.
    listeners: HashMap<u64, (IoRegistration, Listener)>,
    /// Whether the listeners are being watched: not for a moment after accept failed, or
    /// while too many notices wait.
    listening: bool,
    listen_again: Option<Instant>,
    links: HashMap<ConnectionId, PendingLink>,
    shield: Shield,
    link_policy: LinkPolicy,
    /// Links whose host has not heard of them.
    told: Told<Addresses>,
    waiting_for_key: Turns,
    publisher: Option<Publisher>,
    counters: Arc<LinkCounters>,
    quotas: [Quota; LinkEvent::ALL.len()],
    connections: HashMap<ConnectionId, IoConnection>,
    buffers: Arc<ReadBuffers>,
    /// The thread that shares compression, if there is one and it has been asked for.
    press: Option<Arc<PressThread>>,
    asked_for_press: bool,
}

/// No connection's name: they begin with 1.
const NOBODY: ConnectionId = 0;

/// Pause after accept failed, most likely because descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Thread {
    /// Runs until told to stop.
    fn run(&mut self) {
        let mut events = Events::default();
        loop {
            for command in self.commands.clone().try_iter() {
                if matches!(command, Command::Stop) {
                    self.tell_dropped(Instant::now() + limits::LINK_LINES_WINDOW);
                    return;
                }
                self.carry_out(command);
            }
            self.serve_keys();
            self.handle_link_times(Instant::now());
            self.watch_listeners();
            if let Some(publisher) = &mut self.publisher {
                publisher.handle_time(Instant::now());
            }
            let patience =
                self.next_time().map(|next| next.saturating_duration_since(Instant::now()));
            if let Err(error) = self.poller.wait(&mut events, patience) {
                crate::warning!("waiting for sockets failed: {error}");
                std::thread::sleep(ACCEPT_PAUSE);
            }
            for ready in events.sockets() {
                self.step(ready.key, "socket event", |this| {
                    this.handle_ready(ready.key, ready.readable, ready.writable);
                });
            }
        }
    }

    /// A step of one connection or link. If it panics, its state is suspect and it ends.
    fn step(&mut self, key: u64, name: &str, body: impl FnOnce(&mut Self)) -> bool {
        let done = completes(name, || body(self));
        if !done {
            self.abandon(key);
        }
        done
    }

    fn carry_out(&mut self, command: Command) {
        let (id, crossing) = match &command {
            Command::Adopt(id, adopted) => (*id, Some(Arc::clone(&adopted.crossing))),
            Command::Link(id, ..)
            | Command::Fetch(id)
            | Command::Resume(id)
            | Command::Close(id) => (*id, None),
            Command::Listen(_) | Command::Publish(_) | Command::CutLinks(_) | Command::Stop => {
                (NOBODY, None)
            }
        };
        let done = self.step(id, "I/O thread command", |this| this.handle_command(command));
        if let Some(crossing) = crossing.filter(|_| !done) {
            // It may not have become a connection yet.
            let reason = Ending::fault("internal error while it moved in");
            crossing.deliver(std::collections::VecDeque::new(), Some(reason));
            self.notify(Notice::Arrived(id));
        }
    }

    fn handle_command(&mut self, command: Command) {
        match command {
            Command::Listen(listener) => self.add_listener(listener),
            Command::Publish(publication) => {
                let key = self.next_id.fetch_add(1, Ordering::Relaxed);
                match Publisher::new(*publication, &self.reactor, key) {
                    Ok(publisher) => self.publisher = Some(publisher),
                    Err(error) => crate::warning!("statistics cannot be read: {error}"),
                }
            }
            Command::Link(id, stream, options) => {
                let peer = stream.addresses().peer_text;
                self.begin_link(id, stream, options, Source::Local, peer);
            }
            Command::Adopt(id, adopted) => self.adopt(id, *adopted),
            Command::Fetch(id) => self.with_connection(id, IoConnection::handle_queued),
            Command::Resume(id) => self.with_connection(id, IoConnection::resume),
            Command::Close(id) => {
                self.connections.remove(&id);
                self.forget_link(id);
            }
            Command::CutLinks(before) => {
                let older = self.links.keys().copied().filter(|id| *id < before);
                for id in older.collect::<Vec<_>>() {
                    let reason = "passwords have just come into force";
                    self.after_link_step(id, Progress::Close(Ended::new(LinkEvent::Cut, reason)));
                }
            }
            Command::Stop => {}
        }
    }

    fn handle_ready(&mut self, key: u64, readable: bool, writable: bool) {
        if self.listeners.contains_key(&key) {
            self.accept(key);
        } else if self.links.contains_key(&key) {
            self.step_link(key);
        } else if let Some(publisher) = self.publisher.as_mut().filter(|own| own.owns(key)) {
            let new_key = || self.next_id.fetch_add(1, Ordering::Relaxed);
            publisher.handle_ready(key, &self.reactor, new_key, Instant::now());
        } else {
            self.with_connection(key, |connection| connection.handle_ready(readable, writable));
        }
    }

    /// A step of this connection or link panicked: its state is suspect.
    fn abandon(&mut self, key: u64) {
        if let Some(connection) = self.connections.remove(&key) {
            connection.abandon();
            self.notify(Notice::Arrived(key));
        } else if let Some(publisher) = self.publisher.as_mut().filter(|own| own.owns(key)) {
            publisher.abandon(key);
        } else {
            // Perhaps not even a link yet. The host hears of its end in any case.
            if self.forget_link(key).is_some() {
                self.counters.count(LinkEvent::Failed);
            }
            self.tell_link_ended(key);
        }
    }

    fn add_listener(&mut self, listener: Listener) {
        let key = self.next_id.fetch_add(1, Ordering::Relaxed);
        match self.reactor.register(listener.as_raw_fd(), key, Interest::READ) {
            Ok(mut registration) => {
                registration.set_interest(Interest { read: self.listening, write: false });
                self.listeners.insert(key, (registration, listener));
            }
            Err(error) => crate::warning!("cannot watch a listening socket: {error}"),
        }
    }

    fn adopt(&mut self, id: ConnectionId, adopted: Adopted) {
        let Adopted { stream, framer, outbox, crossing, counters } = adopted;
        match self.reactor.register(stream.as_raw_fd(), id, Interest::READ) {
            Ok(registration) => {
                let buffers = Arc::clone(&self.buffers);
                let endpoint =
                    Endpoint::new(stream, registration, framer, outbox, buffers, counters);
                let mut connection = IoConnection::new(endpoint, crossing);
                if connection.can_share()
                    && let Some(thread) = self.press_thread()
                {
                    connection.share(thread);
                }
                self.connections.insert(id, connection);
                self.with_connection(id, IoConnection::begin);
            }
            Err(error) => {
                let reason = Ending::fault(format_args!("cannot watch the socket: {error}"));
                if crossing.deliver(std::collections::VecDeque::new(), Some(reason)).tell {
                    self.notify(Notice::Arrived(id));
                }
            }
        }
    }

    /// The second thread for compression, where there is a processor for it. Started when
    /// it is first of use.
    fn press_thread(&mut self) -> Option<Arc<PressThread>> {
        if !std::mem::replace(&mut self.asked_for_press, true)
            && std::thread::available_parallelism().is_ok_and(|processors| processors.get() > 1)
        {
            match PressThread::start() {
                Ok(thread) => self.press = Some(Arc::new(thread)),
                Err(error) => crate::warning!("no second thread for compression: {error}"),
            }
        }
        self.press.clone()
    }

    fn with_connection(
        &mut self,
        id: ConnectionId,
        step: impl FnOnce(&mut IoConnection) -> Report,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let report = step(connection);
        if report.arrived {
            self.notify(Notice::Arrived(id));
        }
        if report.drained {
            self.notify(Notice::Drained(id));
        }
    }

    fn notify(&self, notice: Notice) {
        // Fails only when the main thread has let go of us.
        if self.notices.send(notice).is_ok() {
            self.wake.rouse();
        }
    }
}
