//! Where a server is: the URIs that users write, and the addresses that they mean.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A server's address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A host by name or number, with a port for plain connections, one for TLS, or both.
    Host { name: String, plain: Option<u16>, tls: Option<u16> },
    /// A unix socket; a first byte of 0 stands for the abstract namespace.
    Unix(PathBuf),
}

/// The port where `spice://host` is.
const DEFAULT_PORT: u16 = 5900;

impl Address {
    /// Understands `spice://HOST[:PORT][?tls-port=PORT]`, `spice+tls://HOST[:PORT]`,
    /// `spice+unix:///PATH` and `spice+unix://@NAME`.
    pub(crate) fn parse(uri: &str) -> Result<Self, String> {
        let (scheme, rest) = uri.split_once("://").ok_or_else(|| {
            format!(
                "{uri} is no URI: spice://HOST:PORT, spice+tls://HOST:PORT or spice+unix:///PATH"
            )
        })?;
        match scheme {
            "spice" => host(rest, false),
            "spice+tls" => host(rest, true),
            "spice+unix" => unix(rest),
            _ => Err(format!("{scheme}:// is not known: spice://, spice+tls:// or spice+unix://")),
        }
    }
}

fn host(rest: &str, tls: bool) -> Result<Address, String> {
    let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.contains('@') || query.contains("password=") {
        // Other users can see the arguments of a process.
        return Err("a password does not belong on the command line: --password-file".to_owned());
    }
    let (name, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (name, port) = rest.split_once(']').ok_or("a ] is missing behind the address")?;
            (name, port.strip_prefix(':').or(port.is_empty().then_some("")))
        }
        None => match authority.rsplit_once(':') {
            Some((name, _)) if name.contains(':') => {
                return Err(format!("an IPv6 address stands in brackets: [{authority}]"));
            }
            Some((name, port)) => (name, Some(port)),
            None => (authority, Some("")),
        },
    };
    if name.is_empty() {
        return Err("the URI names no host".to_owned());
    }
    let port = match port.ok_or_else(|| format!("{authority} is no host and port"))? {
        "" => None,
        text => Some(number(text)?),
    };
    let (mut plain, mut secure) = if tls { (None, port) } else { (port, None) };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("port", text)) => plain = Some(number(text)?),
            Some(("tls-port", text)) => secure = Some(number(text)?),
            _ => return Err(format!("{pair} is not known: port=PORT or tls-port=PORT")),
        }
    }
    if plain.is_none() && secure.is_none() {
        let default = Some(DEFAULT_PORT);
        (plain, secure) = if tls { (None, default) } else { (default, None) };
    }
    Ok(Address::Host { name: name.to_owned(), plain, tls: secure })
}

fn unix(rest: &str) -> Result<Address, String> {
    let mut path = unescape(rest)?;
    match path.first() {
        Some(b'@') => path[0] = 0,
        Some(b'/') => {}
        _ => return Err("a path or @NAME is wanted: spice+unix:///PATH".to_owned()),
    }
    Ok(Address::Unix(OsString::from_vec(path).into()))
}

/// Undoes `%41` and the like.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(digits.ok_or_else(|| format!("% stands before two digits: {text}"))?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    Ok(bytes)
}

fn number(text: &str) -> Result<u16, String> {
    let number = text.parse().ok().filter(|port| *port != 0);
    number.ok_or_else(|| format!("{text} is no port number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: &str, plain: Option<u16>, tls: Option<u16>) -> Address {
        Address::Host { name: name.to_owned(), plain, tls }
    }

    #[test]
    fn hosts_have_one_port_or_two() {
        for (uri, address) in [
            ("spice://host:5930", at("host", Some(5930), None)),
            ("spice://host", at("host", Some(5900), None)),
            ("spice://[::1]:5930/", at("::1", Some(5930), None)),
            ("spice://[::1]", at("::1", Some(5900), None)),
            ("spice+tls://host:5931", at("host", None, Some(5931))),
            ("spice+tls://host", at("host", None, Some(5900))),
            ("spice://host?port=1&tls-port=2", at("host", Some(1), Some(2))),
            ("spice://host:1?tls-port=2", at("host", Some(1), Some(2))),
            ("spice://host?tls-port=2", at("host", None, Some(2))),
        ] {
            assert_eq!(Address::parse(uri), Ok(address), "{uri}");
        }
    }

    #[test]
    fn unix_sockets_have_a_path_or_a_name() {
        let unix = |path: &str| Ok(Address::Unix(path.into()));
        assert_eq!(Address::parse("spice+unix:///run/a%20b.sock"), unix("/run/a b.sock"));
        assert_eq!(Address::parse("spice+unix://@vm"), unix("\0vm"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for uri in [
            "host:5900",
            "http://host",
            "spice://",
            "spice://:5900",
            "spice://host:0",
            "spice://host:65536",
            "spice://::1",
            "spice://[::1",
            "spice://[::1]x",
            "spice://host?colour=2",
            "spice+unix://relative",
            "spice+unix:///%4",
            "spice+unix:///%é",
        ] {
            assert!(Address::parse(uri).is_err(), "{uri}");
        }
        for uri in ["spice://user:secret@host", "spice://host?password=secret"] {
            let error = Address::parse(uri).expect_err("a password");
            assert!(error.contains("--password-file") && !error.contains("secret"), "{error}");
        }
    }
}
