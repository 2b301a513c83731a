//! A connected socket: non-blocking, quiet about broken pipes, with the layers that wrap
//! its bytes, if any.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use bytes::BytesMut;
use openssl::ssl::SslContext;
use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use socket2::{Domain, Socket, TcpKeepalive};

use super::layers::{Layer, Layers, State};
use super::sys;
use super::tls::TlsLayer;
use crate::channel::descriptors::Descriptors;
use crate::config::limits;
use crate::guard::guard;

/// Idle time before the kernel probes a silent TCP peer: upstream's ten minutes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(600);
/// `IPTOS_LOWDELAY`.
const TOS_LOW_DELAY: u32 = 0x10;
/// The highest that needs no privilege.
const PRIORITY_INTERACTIVE: u32 = 6;

/// Probes of a peer that may be gone.
const KEEPALIVE_PROBES: u32 = 5;
/// The kernel counts in whole seconds.
const KEEPALIVE_STEP: Duration = Duration::from_secs(1);
/// The kernel takes no longer idle time.
const KEEPALIVE_LONGEST: Duration = Duration::from_secs(32_767);

/// A client's socket. Dropping it says goodbye, as far as the socket has room, and closes
/// it: TLS wants that, so that the peer can tell an end from a cut.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    is_unix: bool,
    layers: Layers,
}

/// The two ends of a connection.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Raw `sockaddr` bytes of our end.
    pub local: Vec<u8>,
    /// Raw `sockaddr` bytes of the client's end.
    pub peer: Vec<u8>,
    /// The client's end for people: `127.0.0.1:40000`, or `unix`.
    pub peer_text: String,
}

/// What one read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes of the socket's; with layers it may be that they carried nothing yet.
    Data {
        /// How many.
        bytes: usize,
        /// The socket may have more at once.
        more: bool,
    },
    /// Nothing now.
    Nothing,
    /// The peer closed.
    End,
}

impl Stream {
    /// Prepares an accepted or handed-in socket. Options that this kind of socket
    /// does not know are left alone; only a socket that cannot be made
    /// non-blocking, or is none, is refused and given back.
    pub fn new(socket: Socket) -> Result<Self, (Socket, io::Error)> {
        let is_unix = match socket.set_nonblocking(true).and_then(|()| socket.domain()) {
            Ok(domain) => domain == Domain::UNIX,
            Err(error) => return Err((socket, error)),
        };
        if !is_unix {
            let _ = socket.set_tcp_nodelay(true);
            let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_IDLE));
        }
        Ok(Self { socket, is_unix, layers: Layers::default() })
    }

    /// Begins TLS, as the server. The handshake passes while the stream is read.
    pub fn begin_tls(&mut self, context: &SslContext) -> io::Result<()> {
        self.layers.push(Box::new(TlsLayer::new(context)?));
        Ok(())
    }

    /// Sends `words` as it is now, and wraps by one more layer from there on. `arrived` is
    /// what has been read of what the client wrapped so; what it carries is appended to
    /// `buffer`.
    pub fn begin(
        &mut self,
        layer: Box<dyn Layer>,
        words: &[u8],
        arrived: BytesMut,
        buffer: &mut BytesMut,
    ) -> io::Result<Received> {
        let received = Received::Data { bytes: arrived.len(), more: false };
        self.layers.say(words)?;
        self.layers.push_with(layer, arrived);
        self.unwrap(received, buffer)
    }

    /// Bits of the key that the connection is encrypted with, if it is.
    pub fn strength(&self) -> Option<u32> {
        self.layers.strength()
    }

    /// How the bytes are protected, for the log.
    pub fn description(&self) -> String {
        let layers: Vec<_> = self.layers.descriptions().collect();
        if layers.is_empty() { "plain".to_owned() } else { layers.join(", ") }
    }

    /// Our end and the client's, if they have addresses of the internet.
    pub fn ends(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        let address = |end: io::Result<socket2::SockAddr>| end.ok().and_then(|end| end.as_socket());
        (address(self.socket.local_addr()), address(self.socket.peer_addr()))
    }

    /// Whether bytes are wrapped on their way, which is work.
    pub fn is_layered(&self) -> bool {
        !self.layers.is_empty()
    }

    /// Whether the peer is on the same machine by a unix socket.
    pub fn is_unix(&self) -> bool {
        self.is_unix
    }

    /// Whether descriptors can go with its bytes.
    pub fn passes_descriptors(&self) -> bool {
        self.is_unix && !self.is_layered()
    }

    /// Cuts a TCP connection whose peer has been unreachable for `longest`, without
    /// unsent bytes (the kernel probes it then) as well as with them. Only the kernel can
    /// tell a silent peer from one that is gone.
    pub fn limit_absence(&self, longest: Duration) {
        if self.is_unix {
            return;
        }
        // Probes during the last half, so that a lost one or two do no harm.
        let half = (longest / 2).clamp(KEEPALIVE_STEP, KEEPALIVE_LONGEST);
        let step = (half / KEEPALIVE_PROBES).max(KEEPALIVE_STEP);
        let keepalive =
            TcpKeepalive::new().with_time(half).with_interval(step).with_retries(KEEPALIVE_PROBES);
        let _ = self.socket.set_tcp_keepalive(&keepalive);
        // With this option the kernel goes by the time and not by the number of probes.
        let _ = self.socket.set_tcp_user_timeout(Some(longest));
    }

    /// Asks the network to deliver what is sent here before other things.
    pub fn hurry(&self) {
        if self.is_unix {
            return;
        }
        // Either fails on the other family; what the kernel does not do, it does not do.
        let _ = self.socket.set_tos_v4(TOS_LOW_DELAY);
        let _ = self.socket.set_tclass_v6(TOS_LOW_DELAY);
        // After these: setting the type of service sets the priority as well.
        let _ = self.socket.set_priority(PRIORITY_INTERACTIVE);
    }

    /// The addresses of both ends, empty where the kernel does not tell.
    pub fn addresses(&self) -> Addresses {
        let local = self.socket.local_addr().ok();
        let peer = self.socket.peer_addr().ok();
        let peer_text = peer
            .as_ref()
            .and_then(socket2::SockAddr::as_socket)
            .map_or_else(|| "unix socket".to_owned(), |address| address.to_string());
        let bytes =
            |address: Option<socket2::SockAddr>| address.map(|a| raw(&a)).unwrap_or_default();
        Addresses { local: bytes(local), peer: bytes(peer), peer_text }
    }

    /// Bytes to be read before another one has its turn.
    pub fn turn(&self) -> usize {
        let plain = self.is_unix && !self.is_layered();
        if plain { limits::READ_TURN_UNIX } else { limits::READ_TURN }
    }

    /// Reads once, appending to `buffer` as much as it has room for and a turn allows, or
    /// what as many bytes of the socket's carry.
    pub fn recv(&mut self, buffer: &mut BytesMut) -> io::Result<Received> {
        let turn = self.turn();
        let Some(arrived) = self.layers.arrived() else {
            return receive(&self.socket, buffer, turn);
        };
        arrived.reserve(limits::READ_CHUNK);
        let received = receive(&self.socket, arrived, turn)?;
        if matches!(received, Received::Data { .. }) {
            self.unwrap(received, buffer)
        } else {
            Ok(received)
        }
    }

    /// Unwraps what was received.
    fn unwrap(&mut self, received: Received, buffer: &mut BytesMut) -> io::Result<Received> {
        let state = self.layers.unwrap(buffer);
        // An answer, or why the connection ends; if it does not fit now, it leaves with the
        // next flush.
        let flushed = self.flush();
        if state? == State::Ended {
            return Ok(Received::End);
        }
        flushed.map(|()| received)
    }

    /// Writes what the socket takes now, or what can be wrapped for it; 0 if nothing.
    /// Never raises SIGPIPE. Less than all was taken: the socket is full.
    ///
    /// No slice shares a TLS record with another one. spice-gtk waits for its socket and
    /// not for what is left of a record that it has read a message out of: the last record
    /// before a pause must hold bytes of one message only, which is why
    /// [`Outbox::slices`](crate::channel::outbox::Outbox::slices) can tell them apart.
    pub fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.layers.is_empty() {
            return self.send_raw(slices);
        }
        let mut taken = 0;
        for slice in slices {
            let mut rest: &[u8] = slice;
            while !rest.is_empty() {
                // While the socket is full nothing is wrapped.
                if taken == 0 || self.layers.is_full() {
                    self.flush()?;
                    if self.has_unsent() {
                        return Ok(taken);
                    }
                }
                let count = self.layers.wrap(rest)?;
                if count == 0 {
                    return Ok(taken);
                }
                taken += count;
                rest = &rest[count..];
            }
        }
        self.flush()?;
        Ok(taken)
    }

    /// Writes a byte with descriptors in its company; 0 if the socket is full. Only a unix
    /// socket without layers can do that ([`Stream::passes_descriptors`]).
    pub fn pass(&self, byte: &[u8], descriptors: &Descriptors) -> io::Result<usize> {
        let descriptors = descriptors.borrow();
        let mut space = vec![MaybeUninit::uninit(); cmsg_space!(ScmRights(descriptors.len()))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !self.passes_descriptors()
            || !control.push(SendAncillaryMessage::ScmRights(&descriptors))
        {
            return Err(io::Error::other("descriptors cannot be passed to this client"));
        }
        loop {
            return match sendmsg(
                &self.socket,
                &[IoSlice::new(byte)],
                &mut control,
                SendFlags::NOSIGNAL,
            ) {
                Ok(count) => Ok(count),
                Err(Errno::AGAIN) => Ok(0),
                Err(Errno::INTR) => continue,
                Err(error) => Err(error.into()),
            };
        }
    }

    /// Writes what was wrapped and has not left yet.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.has_unsent() {
            let count = self.send_raw(&[IoSlice::new(self.layers.unsent())])?;
            if count == 0 {
                break;
            }
            self.layers.consume(count);
        }
        Ok(())
    }

    /// Whether wrapped bytes wait for the socket: it is to be watched for room.
    pub fn has_unsent(&self) -> bool {
        !self.layers.unsent().is_empty()
    }

    /// Bytes that its layers hold.
    pub fn held_bytes(&self) -> usize {
        self.layers.held_bytes()
    }

    fn send_raw(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            return match self.socket.send_vectored_with_flags(slices, libc::MSG_NOSIGNAL) {
                Ok(count) => Ok(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.is_layered() {
            // A stream also goes while the step that used it panics.
            guard("goodbye", (), || {
                self.layers.farewell();
                let _ = self.flush();
            });
        }
    }
}

/// Reads once, `most` bytes at most.
fn receive(socket: &Socket, buffer: &mut BytesMut, most: usize) -> io::Result<Received> {
    let room = most.min(buffer.capacity() - buffer.len());
    loop {
        return match sys::recv_append(socket, buffer, room) {
            Ok(0) => Ok(Received::End),
            Ok(bytes) => Ok(Received::Data { bytes, more: bytes == room }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn raw(address: &socket2::SockAddr) -> Vec<u8> {
    sys::address_bytes(address)
}
