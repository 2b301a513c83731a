//! Where a link comes from, as far as that can be told from others.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Links of one source are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// A unix socket, or one that the host brought. All of them are counted as one, apart
    /// from all others, and never delayed.
    Local,
    /// This address.
    V4(Ipv4Addr),
    /// This /64, by its first address: the smallest network that one person has, with as
    /// many addresses as he likes.
    V6(Ipv6Addr),
}

impl Source {
    /// That of a peer with this address; none: a unix socket.
    pub fn of(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            None => Self::Local,
            Some(IpAddr::V4(address)) => Self::V4(address),
            Some(IpAddr::V6(address)) => {
                Self::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
            }
        }
    }

    /// Whether it is [`Source::Local`].
    pub fn is_local(self) -> bool {
        self == Self::Local
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Local => f.write_str("local sockets"),
            Self::V4(address) => address.fmt(f),
            Self::V6(network) => write!(f, "{network}/64"),
        }
    }
}
