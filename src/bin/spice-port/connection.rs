//! Sockets, TLS, and links over them. Connecting and linking block, with a deadline;
//! afterwards the socket does not block.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use openssl::ssl::{HandshakeError, SslConnector, SslMethod, SslStream, SslVerifyMode, SslVersion};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509NameRef, X509VerifyResult};
use socket2::{Domain, SockAddr, Socket, Type};

use spice_server::wire::ChannelKey;
use spice_server::wire::link::{CapSet, LinkError};
use spice_server::wire::spicevmc::CAP_LZ4;

use crate::address::Address;
use crate::channel::Channel;
use crate::link::{Link, LinkFailure};
use crate::{Failure, status};

/// A linked channel and its socket.
pub(crate) struct Connection {
    pub(crate) channel: Channel,
    stream: Stream,
    buffer: Box<[u8]>,
}

enum Stream {
    Plain(Socket),
    Tls(Box<SslStream<Socket>>),
}

/// Whom to call and how.
pub(crate) struct Dialer {
    pub(crate) address: Address,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) host_subject: Option<String>,
    pub(crate) password: Vec<u8>,
    pub(crate) compress: bool,
}

/// Whether a socket has more to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Not now.
    Quiet,
    /// Never again.
    Ended,
}

/// Servers give a client ten seconds for the link; a client is no more patient.
const DEADLINE: Duration = Duration::from_secs(10);

impl Dialer {
    /// Links to the main channel, with which a session begins.
    pub(crate) fn link_main(&self) -> Result<Connection, Failure> {
        self.link(ChannelKey { kind: ChannelKey::MAIN, id: 0 }, 0)
    }

    /// Links to a channel. A server may want TLS for one channel and none for another:
    /// where it has a port for each, the other one is tried.
    pub(crate) fn link(&self, key: ChannelKey, session: u32) -> Result<Connection, Failure> {
        let both = matches!(self.address, Address::Host { plain: Some(_), tls: Some(_), .. });
        let secure = matches!(self.address, Address::Host { plain: None, .. });
        match self.link_over(secure, key, session) {
            Err(Failure { refused: Some(LinkError::NeedSecured), .. }) if both => {
                self.link_over(true, key, session)
            }
            other => other,
        }
    }

    fn link_over(
        &self,
        secure: bool,
        key: ChannelKey,
        session: u32,
    ) -> Result<Connection, Failure> {
        let socket = self.connect(secure)?;
        for set in [Socket::set_read_timeout, Socket::set_write_timeout] {
            set(&socket, Some(DEADLINE)).map_err(Failure::connection)?;
        }
        let mut stream = if secure {
            Stream::Tls(Box::new(self.encrypt(socket)?))
        } else {
            Stream::Plain(socket)
        };
        let caps: CapSet =
            if key.is_main() { CapSet::default() } else { [CAP_LZ4].into_iter().collect() };
        let mut link = Link::new(key, session, caps, &self.password)?;
        let mut buffer = [0; 4096];
        let linked = loop {
            stream.write_all(&link.take_output()).map_err(Failure::connection)?;
            match stream.read(&mut buffer).map_err(Failure::connection)? {
                0 => return Err(Failure::connection(ErrorKind::UnexpectedEof)),
                count => link.handle_bytes(&buffer[..count])?,
            }
            match link.finish() {
                Ok(linked) => break linked,
                Err(unfinished) => link = unfinished,
            }
        };
        stream.socket().set_nonblocking(true).map_err(Failure::connection)?;
        let buffer = vec![0; READ_CHUNK].into();
        Ok(Connection { channel: Channel::new(&linked, self.compress), stream, buffer })
    }

    fn connect(&self, secure: bool) -> Result<Socket, Failure> {
        match &self.address {
            Address::Unix(path) => {
                let named = |error: io::Error| {
                    let name = path.to_string_lossy().replace('\0', "@");
                    Failure::new(status::NO_CONNECTION, format!("{name}: {error}"))
                };
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(named)?;
                socket.connect(&SockAddr::unix(path).map_err(named)?).map_err(named)?;
                Ok(socket)
            }
            Address::Host { name, plain, tls } => {
                let port = if secure { *tls } else { *plain };
                let port = port.expect("a port for this kind of connection was given");
                let named = |error: io::Error| {
                    Failure::new(status::NO_CONNECTION, format!("{name} port {port}: {error}"))
                };
                let mut last = io::Error::new(ErrorKind::NotFound, "the host has no address");
                for address in (&**name, port).to_socket_addrs().map_err(named)? {
                    let domain = Domain::for_address(address);
                    let socket = Socket::new(domain, Type::STREAM, None).map_err(named)?;
                    match socket.connect_timeout(&address.into(), DEADLINE) {
                        Ok(()) => {
                            socket.set_tcp_nodelay(true).map_err(named)?;
                            return Ok(socket);
                        }
                        Err(error) => last = error,
                    }
                }
                Err(named(last))
            }
        }
    }

    fn encrypt(&self, socket: Socket) -> Result<SslStream<Socket>, Failure> {
        let failed = |what: String| Failure::new(status::TLS, what);
        let broken = |error: openssl::error::ErrorStack| failed(format!("OpenSSL: {error}"));
        let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(broken)?;
        builder.set_min_proto_version(Some(SslVersion::TLS1_2)).map_err(broken)?;
        builder.set_verify(SslVerifyMode::PEER);
        if let Some(path) = &self.ca_file {
            // The system's authorities do not count then.
            let mut store = X509StoreBuilder::new().map_err(broken)?;
            for authority in authorities(path)? {
                store.add_cert(authority).map_err(broken)?;
            }
            builder.set_cert_store(store.build());
        }
        let mut configuration = builder.build().configure().map_err(broken)?;
        configuration.set_verify_hostname(self.host_subject.is_none());
        let Address::Host { name, .. } = &self.address else {
            return Err(failed("there is no TLS on unix sockets".to_owned()));
        };
        let stream = configuration.connect(name, socket).map_err(|error| match error {
            HandshakeError::SetupFailure(error) => broken(error),
            HandshakeError::WouldBlock(_) => failed("the server does not answer".to_owned()),
            HandshakeError::Failure(half) => {
                let verdict = half.ssl().verify_result();
                failed(if verdict == X509VerifyResult::OK {
                    format!("the TLS handshake failed: {}", half.error())
                } else {
                    format!("the server's certificate is refused: {}", verdict.error_string())
                })
            }
        })?;
        if let Some(wanted) = &self.host_subject {
            let certificate = stream.ssl().peer_certificate();
            let found = certificate.map(|it| subject(it.subject_name())).unwrap_or_default();
            if entries(wanted) != found {
                let found: Vec<String> =
                    found.iter().map(|(key, value)| format!("{key}={value}")).collect();
                let found = found.join(",");
                return Err(failed(format!("the server's certificate has the subject {found}")));
            }
        }
        Ok(stream)
    }
}

impl Connection {
    /// Reads what there is, up to a bound.
    pub(crate) fn read(&mut self) -> io::Result<Option<Reading>> {
        for _ in 0..READS {
            match self.stream.read(&mut self.buffer) {
                Ok(0) => return Ok(Some(Reading::Ended)),
                Ok(count) => self.channel.handle_bytes(&self.buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Some(Reading::Quiet));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Sends what the socket takes.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        while !self.channel.output().is_empty() {
            match self.stream.write(self.channel.output()) {
                Ok(count) => self.channel.sent(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Nothing more will be sent; the server sees it when it has read everything.
    pub(crate) fn end_writing(&mut self) {
        // A server that has gone already is noticed by reading.
        if let Stream::Tls(stream) = &mut self.stream {
            let _ = stream.shutdown();
        }
        let _ = self.stream.socket().shutdown(Shutdown::Write);
    }

    /// Whether something waits for the socket.
    pub(crate) fn wants_to_write(&self) -> bool {
        !self.channel.output().is_empty()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.socket().as_fd()
    }
}

/// More than a TLS record: nothing stays inside OpenSSL while the socket is quiet.
const READ_CHUNK: usize = 64 * 1024;
/// So many reads in a row, then others have a turn.
const READS: usize = 4;

impl Stream {
    fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl From<LinkFailure> for Failure {
    fn from(failure: LinkFailure) -> Self {
        let (status, refused) = match &failure {
            LinkFailure::Refused(LinkError::PermissionDenied) => {
                (status::PASSWORD, Some(LinkError::PermissionDenied))
            }
            LinkFailure::Refused(error) => (status::NO_CONNECTION, Some(*error)),
            LinkFailure::Sasl | LinkFailure::PasswordTooLong => (status::PASSWORD, None),
            LinkFailure::Nonsense(_) => (status::NO_CONNECTION, None),
        };
        Self { status, refused, text: failure.to_string() }
    }
}

fn authorities(path: &Path) -> Result<Vec<X509>, Failure> {
    let wrong =
        |what: String| Failure::new(status::ARGUMENTS, format!("{}: {what}", path.display()));
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let found = X509::stack_from_pem(&pem).unwrap_or_default();
    if found.is_empty() {
        return Err(wrong("there is no certificate in it".to_owned()));
    }
    Ok(found)
}

/// A subject's entries, in order.
fn subject(name: &X509NameRef) -> Vec<(String, String)> {
    let pairs = name.entries().map(|entry| {
        let key = entry.object().nid().short_name().unwrap_or("?").to_owned();
        let value = entry.data().to_string().unwrap_or_default();
        (key, value)
    });
    pairs.collect()
}

/// A subject as it is written: `O=Example,CN=server`; a comma or backslash in a value has a
/// backslash before it.
fn entries(text: &str) -> Vec<(String, String)> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for letter in text.chars() {
        let part = parts.last_mut().expect("there is always one");
        match letter {
            _ if std::mem::take(&mut escaped) => part.push(letter),
            '\\' => escaped = true,
            ',' => parts.push(String::new()),
            _ => part.push(letter),
        }
    }
    let pairs = parts.iter().map(|part| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        (key.trim().to_owned(), value.trim().to_owned())
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_entries_in_order() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(entries("O=Example, CN=vm"), [pair("O", "Example"), pair("CN", "vm")]);
        assert_eq!(entries(r"O=a\,b\\,CN=c=d"), [pair("O", r"a,b\"), pair("CN", "c=d")]);
        let mut name = openssl::x509::X509Name::builder().expect("OpenSSL works");
        name.append_entry_by_text("O", "Exämple").expect("it fits");
        name.append_entry_by_text("CN", "vm").expect("it fits");
        assert_eq!(entries("O=Exämple,CN=vm"), subject(&name.build()));
    }
}
