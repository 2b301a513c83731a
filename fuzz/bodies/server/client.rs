//! A client: its end of a socket, what it still has to send, and checks of what it gets.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use libc::{SO_SNDBUF, SOL_SOCKET, c_int};
use openssl::rsa::{Padding, Rsa};
use spice_server::ffi::server::spice_server_add_client;
use spice_server::wire::header::{Header, HeaderForm};
use spice_server::wire::link::{
    LinkError, LinkHeader, LinkMess, LinkReply, MECHANISM_SPICE, TICKET_BYTES,
};
use spice_server::wire::main::to_client;
use spice_server::wire::{ChannelKey, inputs, spicevmc};

use super::devices::{CharDevice, NEWCOMER, SENT, on_channel, pattern};
use super::web::{self, Web};
use super::{BESIDE, host};

/// Longest message: a frame of a stream device.
const LONGEST: u32 = 33 << 20;
/// What may be on its way to a client: a device's data above which it is not read any more,
/// one read, and the socket's buffer.
const ON_ITS_WAY: u64 = (1 << 20) + (65 << 10) + (1 << 20);
/// On the I/O thread there is as much again between the threads.
const BETWEEN_THREADS: u64 = 1 << 20;

thread_local! {
    /// What lets everybody in as long as there are no passwords.
    static TICKET: Cell<Option<[u8; TICKET_BYTES]>> = const { Cell::new(None) };
    static CLIENTS: RefCell<Vec<Rc<RefCell<Client>>>> = const { RefCell::new(Vec::new()) };
}

#[expect(clippy::struct_excessive_bools, reason = "each is a condition of its own")]
pub(super) struct Client {
    number: u8,
    socket: UnixStream,
    pub(super) channel: ChannelKey,
    /// As the host was told; 0 without a link.
    pub(super) session: u32,
    form: HeaderForm,
    web: Option<Web>,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    stage: Stage,
    /// It has no ticket yet.
    needs_ticket: bool,
    /// For the key that it was sent.
    ticket: Option<[u8; TICKET_BYTES]>,
    messages: u64,
    /// The device with data as they are, where its stream began, and what came of it.
    device: Option<Rc<CharDevice>>,
    base: u64,
    received: u64,
    /// Another client had the device, so that this one may not get it.
    rival: bool,
    /// Messages of the agent that it has asked for and got.
    tokens: u64,
    agent_data: u64,
    /// Nothing that it sent was wrong.
    pub(super) good: bool,
    /// It may be cut without being told why.
    pub(super) excused: bool,
    /// It says no more.
    pub(super) silent: bool,
    /// The server has closed the connection.
    pub(super) ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Reply,
    Result,
    Messages,
    /// Refused: nothing may follow.
    Refused,
}

/// What a connection begins with.
pub(super) struct Beginning {
    pub(super) channel: ChannelKey,
    pub(super) session: u32,
    pub(super) form: HeaderForm,
    /// The server's end has a small buffer.
    pub(super) narrow: bool,
    /// Over a WebSocket.
    pub(super) web: bool,
    /// Instead of a link.
    pub(super) garbage: Option<Vec<u8>>,
}

/// The clients of this script.
pub(super) fn all() -> Vec<Rc<RefCell<Client>>> {
    CLIENTS.with_borrow(Clone::clone)
}

/// Forgets those of the last script.
pub(super) fn clear() {
    CLIENTS.take();
}

/// The next server will have another key.
pub(super) fn forget_key() {
    TICKET.set(None);
}

/// From now on any connection may end.
pub(super) fn excuse_all() {
    for client in all() {
        // One that is borrowed is being looked at for its end already.
        if let Ok(mut client) = client.try_borrow_mut() {
            client.excused = true;
        }
    }
}

/// Connects; returns when the link has succeeded or failed.
pub(super) fn connect(beginning: Beginning) -> Rc<RefCell<Client>> {
    let Beginning { channel, session, form, narrow, web, garbage } = beginning;
    let number = CLIENTS.with_borrow(Vec::len) as u8;
    let (ours, theirs) = UnixStream::pair().expect("descriptors are left");
    ours.set_nonblocking(true).expect("a socket");
    if narrow {
        let size: c_int = 1;
        // SAFETY: an option of this size.
        unsafe {
            libc::setsockopt(
                theirs.as_raw_fd(),
                SOL_SOCKET,
                SO_SNDBUF,
                (&raw const size).cast(),
                4,
            );
        }
    }
    let good = garbage.is_none();
    let ticket = TICKET.get().filter(|_| !super::PASSWORDS.get());
    let first = garbage.unwrap_or_else(|| {
        let mut link = link(channel, session, form);
        link.extend(ticket.into_iter().flatten());
        link
    });
    let client = Rc::new(RefCell::new(Client {
        number,
        socket: ours,
        channel,
        session: 0,
        form,
        web: web.then(Web::default),
        outgoing: if web { web::REQUEST.to_vec() } else { Vec::new() },
        incoming: Vec::new(),
        stage: Stage::Reply,
        needs_ticket: ticket.is_none(),
        ticket: None,
        messages: 0,
        device: None,
        base: 0,
        received: 0,
        rival: false,
        tokens: 0,
        agent_data: 0,
        good,
        excused: false,
        silent: false,
        ended: false,
    }));
    CLIENTS.with_borrow_mut(|clients| clients.push(Rc::clone(&client)));
    NEWCOMER.set(number);
    client.borrow_mut().put(&first);
    client.borrow_mut().flush();
    // SAFETY: a descriptor that is given away.
    let taken = unsafe { spice_server_add_client(host::server(), theirs.into_raw_fd(), 0) };
    assert_eq!(taken, 0, "a socket is refused");
    if good {
        if ticket.is_none() {
            client.borrow_mut().answer_key();
        }
        // The link is made on another thread.
        if let Some(linked) = host::settle_newest() {
            assert_eq!((linked.kind, linked.id), (channel.kind, channel.id));
            let device = on_channel((channel.kind, channel.id));
            // A hook may have removed it, or taken another one's client away.
            let rival = all().iter().any(|other| {
                other.try_borrow().is_ok_and(|other| {
                    other.number != number
                        && other.session != 0
                        && other.channel == channel
                        && !other.ended
                })
            });
            let mut client = client.borrow_mut();
            client.session = linked.session;
            client.base = device.as_ref().map_or(0, |device| device.base());
            client.device = device;
            client.rival = rival;
            client.excused |= rival;
        }
    }
    client
}

fn link(channel: ChannelKey, session: u32, form: HeaderForm) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mini = (form == HeaderForm::Mini).then_some(3);
    LinkMess {
        connection_id: session,
        channel,
        common_caps: [0, 1].into_iter().chain(mini).collect(),
        channel_caps: (0..16).collect(),
    }
    .encode(&mut bytes);
    bytes.extend(MECHANISM_SPICE.to_le_bytes());
    bytes
}

/// The right password, encrypted.
fn ticket(public_key: &[u8]) -> [u8; TICKET_BYTES] {
    let key = Rsa::public_key_from_der(public_key).expect("a key");
    let mut ticket = [0; TICKET_BYTES];
    key.public_encrypt(b"secret\0", &mut ticket, Padding::PKCS1_OAEP).expect("it fits");
    ticket
}

impl Client {
    /// Waits for the reply to its link message, if the link gets so far, and sends the
    /// ticket. Without passwords the key stays the same.
    fn answer_key(&mut self) {
        self.socket.set_nonblocking(false).expect("a socket");
        while self.stage == Stage::Reply && !self.ended {
            self.read(1);
        }
        self.socket.set_nonblocking(true).expect("a socket");
        if let Some(ticket) = self.ticket {
            TICKET.set(Some(ticket));
            self.put(&ticket);
            self.flush();
        }
    }

    /// Sends a message, now or as soon as there is room.
    pub(super) fn send(&mut self, kind: u16, body: &[u8]) {
        if self.silent {
            return;
        }
        let mut message = vec![0; self.form.bytes()];
        self.form.write(&mut message, Header { kind, size: body.len() as u32 }, self.messages);
        message.extend_from_slice(body);
        self.put(&message);
        self.flush();
    }

    /// What is to be sent next.
    fn put(&mut self, bytes: &[u8]) {
        if self.web.is_some() {
            Web::wrap(bytes, &mut self.outgoing);
        } else {
            self.outgoing.extend_from_slice(bytes);
        }
    }

    /// Sends patterned data.
    pub(super) fn send_data(&mut self, length: usize) {
        if self.silent {
            return;
        }
        let who = usize::from(self.number);
        let from = SENT.with_borrow(|sent| sent[who]);
        SENT.with_borrow_mut(|sent| sent[who] += length as u64);
        self.send(spicevmc::DATA, pattern(self.number, from, length));
    }

    /// Says that it takes messages of the agent.
    pub(super) fn grant(&mut self, kind: u16, tokens: u32) {
        self.tokens = self.tokens.saturating_add(tokens.into());
        self.send(kind, &tokens.to_le_bytes());
    }

    /// Sends bytes that are no message, and perhaps no frame.
    pub(super) fn send_raw(&mut self, bytes: &[u8]) {
        if !self.silent {
            match bytes.first() {
                Some(first) if first % 2 == 1 => self.outgoing.extend_from_slice(bytes),
                _ => self.put(bytes),
            }
            self.flush();
        }
    }

    /// Sends what the socket takes; whether it took something.
    pub(super) fn flush(&mut self) -> bool {
        let mut any = false;
        while !self.outgoing.is_empty() {
            match self.socket.write(&self.outgoing) {
                Ok(count) => {
                    self.outgoing.drain(..count);
                    any = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Closed: what it read until then is still to be looked at.
                Err(_) => self.outgoing.clear(),
            }
        }
        any
    }

    /// Says no more.
    pub(super) fn fall_silent(&mut self) {
        self.silent = true;
        self.excused = true;
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Reads up to so many bytes and looks at them; whether there was something.
    pub(super) fn read(&mut self, most: usize) -> bool {
        let mut left = most;
        let mut buffer = [0; 16 << 10];
        while left > 0 && !self.ended {
            let length = left.min(buffer.len());
            match self.socket.read(&mut buffer[..length]) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    left -= count;
                    self.got(&buffer[..count]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => self.ended = true,
                // By libFuzzer's alarm.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("{error}"),
            }
        }
        self.look();
        left < most
    }

    /// The host was told that the connection is gone: so it is soon for the client, too.
    pub(super) fn expect_end(&mut self) {
        self.socket.set_nonblocking(false).expect("a socket");
        self.socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
        let mut buffer = [0; 16 << 10];
        while !self.ended {
            match self.socket.read(&mut buffer) {
                Ok(count) if count > 0 => self.got(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    panic!("closed for the host and not for the client");
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => self.ended = true,
            }
        }
        self.look();
    }

    fn got(&mut self, bytes: &[u8]) {
        match &mut self.web {
            Some(web) => web.unwrap(bytes, &mut self.incoming),
            None => self.incoming.extend_from_slice(bytes),
        }
    }

    fn look(&mut self) {
        let incoming = std::mem::take(&mut self.incoming);
        let mut rest = &incoming[..];
        while let Some(length) = self.look_at_one(rest) {
            rest = &rest[length..];
        }
        self.incoming = rest.to_vec();
    }

    /// Looks at what stands first in `bytes`; its length, or none if it is not whole.
    fn look_at_one(&mut self, bytes: &[u8]) -> Option<usize> {
        match self.stage {
            Stage::Reply => {
                let header = bytes.get(..LinkHeader::BYTES)?;
                let (magic, fields) = header.split_at(4);
                assert_eq!(magic, b"REDQ");
                let size = LinkHeader::parse_after_magic(fields.try_into().expect("twelve")).size;
                let length = LinkHeader::BYTES + size as usize;
                let body = bytes.get(LinkHeader::BYTES..length)?;
                let reply = LinkReply::parse(body).expect("a link reply");
                let ok = reply.error == LinkError::Ok;
                self.stage = if ok { Stage::Result } else { Stage::Refused };
                if ok && self.needs_ticket {
                    self.ticket = Some(ticket(&reply.public_key));
                }
                Some(length)
            }
            Stage::Result => {
                let result = bytes.first_chunk::<4>()?;
                let ok = *result == LinkError::Ok.to_result();
                self.stage = if ok { Stage::Messages } else { Stage::Refused };
                Some(4)
            }
            Stage::Refused => {
                assert!(bytes.is_empty(), "something follows a refusal");
                None
            }
            Stage::Messages => {
                let header = self.form.parse(bytes.get(..self.form.bytes())?)?;
                assert!(header.size <= LONGEST, "a message of {} bytes", header.size);
                let length = self.form.bytes() + header.size as usize;
                let whole = bytes.get(..length)?;
                self.messages += 1;
                if self.form == HeaderForm::Full {
                    assert_eq!(whole[..8], self.messages.to_le_bytes(), "a serial is missing");
                }
                self.check(header.kind, &whole[self.form.bytes()..]);
                Some(length)
            }
        }
    }

    fn check(&mut self, kind: u16, body: &[u8]) {
        let first = self.messages == 1;
        match self.channel.kind {
            1 => {
                assert_eq!(first, kind == to_client::INIT, "message {kind}");
                match kind {
                    to_client::INIT => assert_eq!(body[..4], self.session.to_le_bytes()),
                    to_client::AGENT_DATA => {
                        self.agent_data += 1;
                        assert!(self.agent_data <= self.tokens, "more of the agent than asked for");
                        assert!(body.len() <= 2048);
                    }
                    _ => assert!((3..=7).contains(&kind) || (103..=116).contains(&kind)),
                }
            }
            3 => {
                assert_eq!(first, kind == inputs::to_client::INIT);
                assert!(matches!(kind, 101 | 102 | 111 | 7), "message {kind}");
            }
            9..=11 => match kind {
                spicevmc::DATA => {
                    let device = self.device.as_ref().expect("it had one when it was linked");
                    let at = self.base + self.received;
                    let expected = pattern(device.number, at, body.len());
                    assert!(body == expected, "bytes behind {at} are lost or changed");
                    self.received += body.len() as u64;
                    let given = device.given.get() - self.base;
                    assert!(self.received <= given, "more than the device gave");
                }
                spicevmc::PORT_INIT => assert!(first && self.channel.kind != 9),
                spicevmc::PORT_EVENT => assert_eq!(body.len(), 1),
                other => panic!("message {other}"),
            },
            8 => assert_eq!(kind, 101),
            _ => assert!((3..=7).contains(&kind) || (101..400).contains(&kind), "message {kind}"),
        }
    }

    /// Whether the device that it was linked to is still there.
    pub(super) fn has_device(&self) -> bool {
        self.device.as_ref().is_some_and(|device| !device.removed.get())
    }

    /// Its device, as long as it has that for itself.
    fn own_device(&self) -> Option<&CharDevice> {
        let device = self.device.as_deref()?;
        (!self.rival && !self.ended && !device.removed.get()).then_some(device)
    }

    /// Whether its device has given no more than may wait for it.
    pub(super) fn check_queue(&self) {
        if let Some(device) = self.own_device() {
            let waiting = device.given.get() - self.base - self.received;
            let most = ON_ITS_WAY + if BESIDE.get() { BETWEEN_THREADS } else { 0 };
            assert!(waiting <= most, "{waiting} bytes wait for a client");
        }
    }

    /// What has not arrived of all that the device had for it, and it for the device.
    pub(super) fn missing(&self) -> Option<String> {
        let device = self.own_device().filter(|device| !device.tainted.get())?;
        let given = device.given.get() - self.base;
        let sent = SENT.with_borrow(|sent| sent[usize::from(self.number)]);
        let written = device.written.borrow()[usize::from(self.number)];
        if device.pending.get() > 0 {
            Some("a device is not read".into())
        } else if self.received != given {
            Some(format!("{} of {given} bytes of a device arrive", self.received))
        } else if self.good && !self.outgoing.is_empty() {
            Some("a client is not read".into())
        } else if self.good && written != sent {
            Some(format!("{written} of {sent} bytes of a client arrive"))
        } else {
            None
        }
    }
}
