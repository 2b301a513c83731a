//! The life of a server: new, init, stop and start of the VM, destroy.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::os::fd::AsRawFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use socket2::Socket;

use super::audio::Sound;
use super::events::Events;
use super::inputs::Input;
use super::migration::Migrations;
use super::mouse_mode::MouseMode;
use super::qxl_cursor::Cursors;
use super::registration::Draft;
use super::settings::Settings;
use super::transfer_policy::TransferPolicy;
use super::{Deadlines, Server, qxl};
use crate::config::home::HomeKind;
use crate::config::websocket::WebSocketPolicy;
use crate::guard::{completes, guard};
use crate::host::core::Core;
use crate::link::ticket::Ticketing;
use crate::link::{ChannelSecurity, LinkOptions, Offer};
use crate::net::io_thread::{IoThread, Notice};
use crate::net::listener::{Family, Listener};
use crate::net::policy::{SharedPolicy, Snapshot};
use crate::net::sasl::SaslError;
use crate::net::statistics::{Publication, SharedFile, StatisticsSocket};
use crate::net::stream::Stream;
use crate::net::tls::{self, Tls, TlsError};
use crate::stats::ServerStatistics;
use crate::wire::ChannelKey;
use crate::wire::link::{CapSet, common_cap};
use crate::wire::main::capability;

/// Why init failed.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A second init.
    #[error("the server is initialised already")]
    Again,
    /// Reading the configuration file ended in a fault of ours. Without what it may
    /// forbid nobody should be served.
    #[error("the configuration file could not be used")]
    Configuration,
    /// The host's certificate or key is no good.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] TlsError),
    /// The system's SASL library does not work.
    #[error("{0}")]
    Sasl(#[from] SaslError),
    /// The address cannot be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(String, io::Error),
    /// Threads or descriptors ran out.
    #[error("cannot start the I/O thread: {0}")]
    IoThread(io::Error),
    /// The host's main loop does not take our watch or timer.
    #[error("the host refused a watch or a timer")]
    Host,
}

/// Why a socket of the host's was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ClientRefusal {
    /// No init yet.
    #[error("the server is not initialised")]
    TooEarly,
    /// The host set no certificate before init.
    #[error("TLS is not set up")]
    NoTls,
    /// A handshake cannot even begin.
    #[error("the client is gone or does not begin with TLS")]
    NoHandshake,
    /// It is not a socket, or one that cannot be used.
    #[error("the descriptor cannot be used: {0}")]
    Unusable(io::Error),
}

impl Server {
    /// A server with upstream's defaults, as far as the configuration file says nothing
    /// else, not listening.
    pub fn new() -> Self {
        let server = Self::without_configuration();
        let read = completes("the configuration", || {
            *server.draft.borrow_mut() = Some(Draft::new());
            server.configure_for_all();
        });
        server.misconfigured.set(!read);
        server
    }

    fn without_configuration() -> Self {
        let snapshot = Snapshot {
            ticketing: Ticketing::default(),
            sasl: false,
            rule: 0,
            main: Offer {
                common_caps: common_caps(),
                channel_caps: CapSet::from_iter([
                    capability::SEMI_SEAMLESS_MIGRATE,
                    capability::NAME_AND_UUID,
                    capability::AGENT_CONNECTED_TOKENS,
                    capability::SEAMLESS_MIGRATE,
                ]),
            },
            channels: Vec::new(),
            security: Vec::new(),
            default_security: ChannelSecurity::all(),
            websocket: WebSocketPolicy::default(),
            sessions: Vec::new(),
        };
        Self {
            settings: RefCell::new(Settings::new()),
            policy: Arc::new(SharedPolicy::new(snapshot)),
            home: Cell::new(HomeKind::from_environment()),
            oldest_tls: Cell::default(),
            link_policy: Cell::default(),
            registry: RefCell::default(),
            draft: RefCell::default(),
            misconfigured: Cell::default(),
            statistics_policy: RefCell::default(),
            statistics: main_channel_statistics(),
            core: OnceCell::new(),
            main_thread: Cell::new(None),
            io: RefCell::default(),
            wake_watch: RefCell::default(),
            timer: RefCell::default(),
            deadlines: RefCell::new(Deadlines::default()),
            running: Cell::new(false),
            told_running: Cell::new(false),
            clients: RefCell::default(),
            connections: RefCell::default(),
            chunks: Arc::default(),
            buffers: Arc::default(),
            doomed: RefCell::default(),
            events: Events::default(),
            channels: RefCell::default(),
            devices: RefCell::default(),
            next_device: Cell::new(1),
            timed: RefCell::default(),
            displays: RefCell::default(),
            pictures: RefCell::default(),
            input: Input::default(),
            mouse_mode: MouseMode::default(),
            sound: Sound::default(),
            cursors: Cursors::default(),
            migration: Cell::default(),
            migrations: Migrations::default(),
            agent: RefCell::default(),
            transfer_policy: TransferPolicy::default(),
            monitors_to_display: Cell::default(),
        }
    }

    /// Listens and begins to serve.
    pub fn init(self: &Rc<Self>, core: Core) -> Result<(), InitError> {
        if self.core.get().is_some() {
            return Err(InitError::Again);
        }
        if self.misconfigured.get() {
            return Err(InitError::Configuration);
        }
        self.configure_for_vm();
        let tls = self.tls()?;
        if self.policy.snapshot().sasl {
            self.begin_sasl()?;
        }
        let listeners = self.listeners()?;
        let links = Arc::clone(self.statistics.links());
        let io = IoThread::start(Arc::clone(&self.policy), self.link_policy.get(), tls, links)
            .map_err(InitError::IoThread)?;
        let server = Rc::downgrade(self);
        let wake = core
            .watch(io.wake_fd().as_raw_fd(), true, false, move |_, _| {
                if let Some(server) = server.upgrade() {
                    server.tell_late_events();
                    server.handle_wake();
                }
            })
            .ok_or(InitError::Host)?;
        let server = Rc::downgrade(self);
        let timer = core
            .timer(move || {
                if let Some(server) = server.upgrade() {
                    server.handle_timer();
                }
            })
            .ok_or(InitError::Host)?;
        let _ = self.core.set(core);
        self.main_thread.set(Some(std::thread::current().id()));
        if self.policy.snapshot().ticketing.is_required() {
            io.expect_passwords();
        }
        self.offer_inputs();
        for listener in listeners {
            crate::info!(Connection; "listening on {listener}");
            io.listen(listener);
        }
        guard("publishing statistics", (), || self.publish_statistics(&io));
        *self.io.borrow_mut() = Some(Rc::new(io));
        *self.wake_watch.borrow_mut() = Some(wake);
        *self.timer.borrow_mut() = Some(timer);
        self.settings.borrow_mut().allow_multiple_clients = multiple_clients_allowed();
        self.set_running(true);
        Ok(())
    }

    /// Lets statistics be read where the configuration says. That it cannot be done is no
    /// reason not to serve.
    fn publish_statistics(&self, io: &IoThread) {
        self.identify_statistics();
        let policy = self.statistics_policy.borrow();
        let socket = policy.socket.as_ref().and_then(|path| {
            let uuid = self.statistics.view().uuid_text();
            let name = self.settings.borrow().name.clone();
            let path = path.of(name.as_deref(), uuid.as_deref(), std::process::id());
            StatisticsSocket::listen(&path)
                .inspect_err(|error| {
                    crate::warning!("no statistics at {}: {error}", path.display());
                })
                .ok()
        });
        let file = policy.shared_memory.then(SharedFile::create).and_then(|file| {
            file.inspect_err(|error| {
                crate::warning!("no statistics in shared memory: {error}");
            })
            .ok()
        });
        if socket.is_some() || file.is_some() {
            let statistics = Arc::clone(&self.statistics);
            io.publish(Publication { socket, file, statistics });
        }
    }

    /// Tells readers which VM this is.
    pub fn identify_statistics(&self) {
        let settings = self.settings.borrow();
        self.statistics.identify(settings.name.as_deref(), settings.uuid);
    }

    /// What TLS takes, if the host wants it.
    fn tls(&self) -> Result<Option<Arc<Tls>>, InitError> {
        let settings = self.settings.borrow().tls.clone();
        let Some((_, mut settings)) = settings else {
            return Ok(None);
        };
        settings.oldest = self.oldest_tls.get();
        Ok(Some(Arc::new(Tls::load(settings, Instant::now())?)))
    }

    fn listeners(&self) -> Result<Vec<Listener>, InitError> {
        let settings = self.settings.borrow();
        let mut listeners = Vec::new();
        if settings.family == Family::Unix {
            let listener = Listener::unix(&settings.address)
                .map_err(|error| InitError::Listen(settings.address.clone(), error))?;
            // There is one path only. In upstream the socket for TLS takes it over.
            let secured = settings.tls.is_some();
            listeners.push(if secured { listener.with_tls() } else { listener });
        } else {
            let tcp = |port| {
                Listener::tcp(&settings.address, port, settings.family).map_err(|error| {
                    InitError::Listen(format!("{}:{port}", settings.address), error)
                })
            };
            if let Some(port) = settings.port {
                listeners.push(tcp(port)?);
            }
            if let Some((port, _)) = settings.tls {
                listeners.push(tcp(port)?.with_tls());
            }
        }
        if let Some(fd) = settings.listen_fd {
            let listener = Listener::borrowed(fd)
                .map_err(|error| InitError::Listen(format!("descriptor {fd}"), error))?;
            listeners.push(listener);
        }
        Ok(listeners)
    }

    /// Begins a link on a socket that the host brought. On an error the socket is
    /// given back unclosed.
    pub fn add_client(
        self: &Rc<Self>,
        socket: Socket,
        options: LinkOptions,
    ) -> Result<(), (Socket, ClientRefusal)> {
        let Some(io) = self.io.borrow().clone() else {
            return Err((socket, ClientRefusal::TooEarly));
        };
        if options.secured && !io.serves_tls() {
            return Err((socket, ClientRefusal::NoTls));
        }
        if options.secured && !tls::may_begin(&socket) {
            return Err((socket, ClientRefusal::NoHandshake));
        }
        let stream = Stream::new(socket)
            .map_err(|(socket, error)| (socket, ClientRefusal::Unusable(error)))?;
        let id = io.new_id();
        let addresses = stream.addresses();
        self.step(id, "adding a client", || {
            self.tell_connected(id, &addresses);
            io.link(id, stream, options);
        });
        Ok(())
    }

    /// Char devices may be read and written, or not.
    fn set_running(&self, running: bool) {
        self.running.set(running);
        let devices = self.devices.borrow().clone();
        for device in devices {
            if running {
                device.start();
            } else {
                device.stop();
            }
        }
    }

    /// A client brings the state of a VM that the host is still loading: its devices take
    /// nothing before it runs (docs/protocol/migration.md, "The machine that comes").
    pub(super) fn await_vm(&self) {
        if !self.told_running.get() {
            self.set_running(false);
        }
    }

    /// The VM runs or stands still: char devices and displays.
    pub fn set_vm_running(&self, running: bool) {
        self.told_running.set(self.told_running.get() || running);
        self.set_running(running);
        let displays = self.displays.borrow().clone();
        for display in displays {
            if running {
                display.start();
            } else {
                display.stop();
            }
        }
    }

    /// Ends everything: threads, clients, watches and timers. Devices that are
    /// still registered are not called any more.
    ///
    /// A fault in one of these steps does not keep the others from being done: the host
    /// is about to free what the threads and devices use.
    pub fn destroy(self: &Rc<Self>) {
        guard("stopping the devices", (), || self.set_running(false));
        guard("cutting the clients", (), || self.disconnect_clients("the server ends"));
        let left: Vec<_> = self.connections.borrow().values().cloned().collect();
        for connection in left {
            guard("cutting a client", (), || {
                self.close_connection(&connection, "the server ends");
            });
        }
        let io = self.io.borrow_mut().take();
        if let Some(io) = io {
            io.stop();
            for notice in io.notices() {
                if let Notice::Connected(id, addresses) = notice {
                    guard("a last notice", (), || self.tell_connected(id, &addresses));
                }
            }
        }
        guard("the last events", (), || self.tell_all_disconnected());
        // Not in the loop's head, where the borrow would last as long as the loop: the host
        // may come back from inside and remove another device.
        let devices = std::mem::take(&mut *self.devices.borrow_mut());
        for device in devices {
            guard("removing a device", (), || device.remove(self));
        }
        let others = std::mem::take(&mut *self.timed.borrow_mut());
        for device in others.values().filter_map(Weak::upgrade) {
            guard("retiring a device", (), || device.retire());
        }
        let displays = std::mem::take(&mut *self.displays.borrow_mut());
        for display in displays {
            guard("ending a worker", (), || {
                qxl::detach(&display);
            });
        }
        *self.wake_watch.borrow_mut() = None;
        *self.timer.borrow_mut() = None;
    }
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

/// The main channel is always there.
fn main_channel_statistics() -> Arc<ServerStatistics> {
    let statistics = ServerStatistics::default();
    statistics.add_channel(ChannelKey::MAIN, 0, "main:0".to_owned(), None);
    Arc::new(statistics)
}

/// What every channel offers, besides the way to authenticate.
pub(super) fn common_caps() -> CapSet {
    CapSet::from_iter([common_cap::AUTH_SELECTION, common_cap::MINI_HEADER])
}

fn multiple_clients_allowed() -> bool {
    let allowed = std::env::var_os("SPICE_DEBUG_ALLOW_MC").is_some();
    if allowed {
        crate::warning!("SPICE_DEBUG_ALLOW_MC: several clients at a time are allowed");
    }
    allowed
}
