//! A session: its main channel, kept alive, and the ports that are found through it.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use spice_server::wire::ChannelKey;
use spice_server::wire::link::LinkError;

use crate::channel::Said;
use crate::connection::{Connection, Dialer, Reading};
use crate::messages::{ATTACH_CHANNELS, OfMain, OfPort, of_main, of_port};
use crate::options::Wanted;
use crate::{Failure, status};

/// A session and the channels that the server has named in it.
pub(crate) struct Session<'a> {
    dialer: &'a Dialer,
    pub(crate) main: Connection,
    id: u32,
    channels: Vec<ChannelKey>,
}

/// A port that has told its name.
pub(crate) struct Port {
    pub(crate) name: Vec<u8>,
    pub(crate) open: bool,
    pub(crate) connection: Connection,
}

/// What came of linking to a port.
enum Found {
    Port(Box<Port>),
    /// Somebody else has it.
    Busy,
    /// It has gone, or it is no port.
    Nothing,
}

/// A server that says nothing for so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Types of channels that are ports: port and webdav.
const PORT_KINDS: [u8; 2] = [10, 11];

impl<'a> Session<'a> {
    /// The session that begins with this main channel. Most servers end another client's
    /// then.
    pub(crate) fn begin(dialer: &'a Dialer, main: Connection) -> Result<Self, Failure> {
        let mut session = Self { dialer, main, id: 0, channels: Vec::new() };
        let deadline = Instant::now() + PATIENCE;
        let mut asked = false;
        loop {
            match session.poll_main()? {
                Some(OfMain::Session(id)) => {
                    session.id = id;
                    session.main.channel.send(ATTACH_CHANNELS, &[]);
                    asked = true;
                }
                Some(OfMain::Channels(mut channels)) if asked => {
                    channels.sort();
                    session.channels = channels;
                    return Ok(session);
                }
                Some(_) => {}
                None => {
                    session.main.write().map_err(Failure::lost)?;
                    let mut sources = [PollFd::new(&session.main, interest(&session.main))];
                    if !wait(&mut sources, Some(deadline))? {
                        return Err(Failure::new(status::LOST, "the server says nothing"));
                    }
                    if session.main.read().map_err(Failure::lost)? == Some(Reading::Ended) {
                        return Err(lost());
                    }
                }
            }
        }
    }

    /// Links to the port that is wanted.
    pub(crate) fn port(&mut self, wanted: &Wanted) -> Result<Port, Failure> {
        let mut busy = false;
        let keys = match wanted {
            // A server that serves several clients does not list what another one has.
            Wanted::Channel(channel) => vec![*channel],
            Wanted::Name(_) => {
                let mut keys = self.channels.clone();
                keys.retain(|key| PORT_KINDS.contains(&key.kind));
                keys
            }
        };
        for key in keys {
            match (self.find(key)?, wanted) {
                (Found::Port(port), Wanted::Channel(_)) => return Ok(*port),
                (Found::Port(port), Wanted::Name(name)) if port.name == *name => return Ok(*port),
                (Found::Busy, _) => busy = true,
                (Found::Port(_) | Found::Nothing, _) => {}
            }
        }
        Err(if busy {
            Failure::new(status::BUSY, "the port, or one that may be it, has another client")
        } else {
            Failure::new(status::NO_PORT, "there is no such port")
        })
    }

    /// The ports, a line each.
    pub(crate) fn list(&mut self) -> Result<Vec<u8>, Failure> {
        let mut text = Vec::new();
        for key in self.channels.clone() {
            if !PORT_KINDS.contains(&key.kind) {
                continue;
            }
            let (name, state) = match self.find(key)? {
                Found::Port(port) => (port.name, if port.open { "open" } else { "closed" }),
                Found::Busy => (b"?".to_vec(), "busy"),
                Found::Nothing => continue,
            };
            text.extend(name);
            text.extend(format!("\t{}:{}\t{state}\n", key.kind, key.id).bytes());
        }
        Ok(text)
    }

    fn find(&mut self, key: ChannelKey) -> Result<Found, Failure> {
        let mut connection = match self.dialer.link(key, self.id) {
            Ok(connection) => connection,
            Err(Failure { refused: Some(LinkError::ChannelNotAvailable), .. }) => {
                return Ok(Found::Nothing);
            }
            // How servers refuse what does not exist: without a word.
            Err(Failure { status: status::NO_CONNECTION, refused: None, .. })
                if !self.channels.contains(&key) =>
            {
                return Ok(Found::Nothing);
            }
            Err(failure) => return Err(failure),
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            match connection.channel.poll()? {
                Some(Said::Message { kind, body }) => {
                    return Ok(match of_port(kind, body)? {
                        OfPort::Init { name, open } => {
                            Found::Port(Box::new(Port { name, open, connection }))
                        }
                        _ => Found::Nothing,
                    });
                }
                Some(Said::Notice(_)) => {}
                Some(Said::Leaving) => return Ok(Found::Busy),
                None => {
                    connection.write().map_err(Failure::lost)?;
                    let mut sources = [
                        PollFd::new(&connection, interest(&connection)),
                        PollFd::new(&self.main, interest(&self.main)),
                    ];
                    if !wait(&mut sources, Some(deadline))? {
                        return Ok(Found::Nothing);
                    }
                    self.serve_main()?;
                    // A server closes the connection of a client that may not have the port.
                    let reading = connection.read();
                    let ended = matches!(reading, Err(_) | Ok(Some(Reading::Ended)));
                    if ended && !connection.channel.has_message() {
                        return Ok(Found::Busy);
                    }
                }
            }
        }
    }

    /// What the server says on the main channel next.
    fn poll_main(&mut self) -> Result<Option<OfMain>, Failure> {
        Ok(match self.main.channel.poll()? {
            Some(Said::Message { kind, body }) => Some(of_main(kind, &body)?),
            Some(Said::Notice(text)) => {
                crate::complain(format_args!("spice-port: the server says: {text}"));
                Some(OfMain::Other)
            }
            Some(Said::Leaving) => return Err(lost()),
            None => None,
        })
    }

    /// Keeps the session alive: everything that waits on the main channel.
    pub(crate) fn serve_main(&mut self) -> Result<(), Failure> {
        let reading = self.main.read().map_err(Failure::lost)?;
        while self.poll_main()?.is_some() {}
        if reading == Some(Reading::Ended) {
            return Err(lost());
        }
        self.main.write().map_err(Failure::lost)
    }
}

/// The connection has ended.
pub(crate) fn lost() -> Failure {
    Failure::new(status::LOST, "the server has ended the connection")
}

/// Waits for any of these, until the deadline; `false`: it has passed.
pub(crate) fn wait(sources: &mut [PollFd<'_>], deadline: Option<Instant>) -> Result<bool, Failure> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let left = left.map(|left| Timespec {
        tv_sec: left.as_secs() as i64,
        tv_nsec: left.subsec_nanos().into(),
    });
    match poll(sources, left.as_ref()) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(true),
        Err(error) => Err(Failure::lost(error)),
    }
}

/// What to wait for on a connection.
pub(crate) fn interest(connection: &Connection) -> PollFlags {
    if connection.wants_to_write() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN }
}
