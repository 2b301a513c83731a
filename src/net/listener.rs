//! Listening sockets: TCP, unix, abstract, or one that the host brought.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};

use socket2::{Domain, SockAddr, Socket, Type};

use super::sys;

/// Which address family the host asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// Whatever the address resolves to.
    #[default]
    Any,
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
    /// A unix socket; the address is a path, or `@name` in the abstract namespace.
    Unix,
}

/// A socket that clients connect to.
#[derive(Debug)]
pub struct Listener {
    /// Taken only in `drop`.
    socket: Option<Socket>,
    /// A descriptor that the host brought is watched but never closed.
    borrowed: bool,
    /// Clients begin with TLS.
    secured: bool,
}

impl Listener {
    /// Listens on the first address that works.
    pub fn tcp(address: &str, port: u16, family: Family) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "no address of this family");
        for candidate in candidates(address, port)?.into_iter().filter(|a| fits(a, family)) {
            match listen_tcp(candidate) {
                Ok(socket) => {
                    return Ok(Self { socket: Some(socket), borrowed: false, secured: false });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Listens on a path, removing what stands there first, or on `@name`.
    pub fn unix(path: &str) -> io::Result<Self> {
        let address = if let Some(name) = path.strip_prefix('@') {
            SockAddr::unix(format!("\0{name}"))?
        } else {
            if let Err(error) = std::fs::remove_file(path)
                && error.kind() != io::ErrorKind::NotFound
            {
                crate::warning!("cannot remove {path} before listening there: {error}");
            }
            SockAddr::unix(path)?
        };
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&address)?;
        listen(socket)
    }

    /// Accepts on a descriptor of the host's, which stays the host's.
    pub fn borrowed(fd: RawFd) -> io::Result<Self> {
        let listener = Self { socket: Some(sys::host_socket(fd)?), borrowed: true, secured: false };
        if let Some(socket) = &listener.socket {
            socket.set_nonblocking(true)?;
        }
        Ok(listener)
    }

    /// The same socket, for clients that begin with TLS.
    #[must_use]
    pub fn with_tls(mut self) -> Self {
        self.secured = true;
        self
    }

    /// Whether clients begin with TLS.
    pub fn is_secured(&self) -> bool {
        self.secured
    }

    /// The next waiting connection and its peer's address, if it has one; `None` when there
    /// is none.
    pub fn accept(&self) -> io::Result<Option<(Socket, Option<IpAddr>)>> {
        let Some(socket) = &self.socket else {
            return Ok(None);
        };
        match socket.accept() {
            Ok((accepted, peer)) => Ok(Some((accepted, peer.as_socket().map(|end| end.ip())))),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock
                | io::ErrorKind::Interrupted
                | io::ErrorKind::ConnectionAborted => Ok(None),
                _ => Err(error),
            },
        }
    }
}

/// As the log names it.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.socket.as_ref().and_then(|socket| socket.local_addr().ok());
        let unix = address.as_ref().and_then(|address| {
            let path = address.as_pathname().map(|path| path.display().to_string());
            let hidden = address.as_abstract_namespace();
            path.or_else(|| hidden.map(|name| format!("@{}", String::from_utf8_lossy(name))))
        });
        match (address.and_then(|address| address.as_socket()), unix) {
            (Some(address), _) => write!(f, "{address}")?,
            (None, Some(path)) => f.write_str(&path)?,
            (None, None) => f.write_str("a socket of the host's")?,
        }
        f.write_str(if self.secured { " (TLS)" } else { "" })
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.borrowed
            && let Some(socket) = self.socket.take()
        {
            // Let go of the number without closing it.
            let _ = socket.into_raw_fd();
        }
    }
}

fn candidates(address: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if address.is_empty() {
        let any = |ip: IpAddr| SocketAddr::new(ip, port);
        return Ok(vec![any(Ipv4Addr::UNSPECIFIED.into()), any(Ipv6Addr::UNSPECIFIED.into())]);
    }
    Ok((address, port).to_socket_addrs()?.collect())
}

fn fits(address: &SocketAddr, family: Family) -> bool {
    match family {
        Family::Any => true,
        Family::Ipv4 => address.is_ipv4(),
        Family::Ipv6 => address.is_ipv6(),
        Family::Unix => false,
    }
}

fn listen_tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // One IPv6 socket serves IPv4 clients too, as upstream's does.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(libc::SOMAXCONN)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn listen(socket: Socket) -> io::Result<Listener> {
    socket.listen(libc::SOMAXCONN)?;
    socket.set_nonblocking(true)?;
    Ok(Listener { socket: Some(socket), borrowed: false, secured: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_an_error() {
        let first = Listener::tcp("127.0.0.1", 0, Family::Any).expect("any free port");
        let address = first.socket.as_ref().expect("present").local_addr().expect("bound");
        let port = address.as_socket().expect("TCP").port();
        assert_eq!(first.to_string(), format!("127.0.0.1:{port}"));
        assert!(Listener::tcp("127.0.0.1", port, Family::Any).is_err());
        assert!(Listener::tcp("127.0.0.1", 0, Family::Ipv6).is_err(), "no such address");
    }

    #[test]
    fn a_stale_unix_socket_is_replaced() {
        let path = std::env::temp_dir().join(format!("spice-listener-{}", std::process::id()));
        let path = path.to_str().expect("a plain path");
        drop(Listener::unix(path).expect("first"));
        let second = Listener::unix(path).expect("again");
        assert!(second.accept().expect("works").is_none());
        assert_eq!(second.to_string(), path);
        assert_eq!(second.with_tls().to_string(), format!("{path} (TLS)"));
        std::fs::remove_file(path).expect("was there");
    }
}
