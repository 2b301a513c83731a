//! What the configuration says of WebSocket: whether there is any, and for which pages.
//!
//! Pure values.

use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;

/// Who may come in by WebSocket. By default everybody, as upstream has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocketPolicy {
    /// Whether there is WebSocket at all.
    pub enabled: bool,
    /// The pages that may.
    pub origins: Origins,
}

/// What a section says differently.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebSocketChange {
    /// See [`WebSocketPolicy::enabled`].
    pub enabled: Option<bool>,
    /// See [`WebSocketPolicy::origins`].
    pub origins: Option<Origins>,
}

/// Pages by where they are from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// All there are.
    #[default]
    Any,
    /// Those from there.
    Only(Arc<[Origin]>),
}

/// Where a page is from, as browsers write it: `https://example.org:8443`. In small letters
/// and without the scheme's own port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(Box<str>);

impl Default for WebSocketPolicy {
    fn default() -> Self {
        Self { enabled: true, origins: Origins::Any }
    }
}

impl WebSocketChange {
    /// The settings with this change.
    #[must_use]
    pub fn on(&self, below: WebSocketPolicy) -> WebSocketPolicy {
        WebSocketPolicy {
            enabled: self.enabled.unwrap_or(below.enabled),
            origins: self.origins.clone().unwrap_or(below.origins),
        }
    }
}

impl WebSocketPolicy {
    /// Whether a page that says it is from there may come in.
    pub fn admits(&self, origin: &[u8]) -> bool {
        let is = |own: &Origin| own.0.as_bytes().eq_ignore_ascii_case(origin);
        match &self.origins {
            Origins::Any => true,
            Origins::Only(list) => list.iter().any(is),
        }
    }
}

impl Origin {
    /// Stands for every origin in a list.
    pub const ANY: &str = "*";

    /// The origin that is written so: scheme, host, perhaps a port, and nothing behind it.
    pub fn from_text(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let (scheme, host) = text.split_once("://")?;
        let (host, port) = match host.rsplit_once(':') {
            // The colons inside an IPv6 address are none of a port's.
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (host, None),
        };
        let port_is_good = port.is_none_or(|port| port.parse::<u16>().is_ok());
        let letter = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host_is_good = match address {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(|c| letter(c) || c == '_'),
        };
        let good = !scheme.is_empty() && scheme.chars().all(letter) && host_is_good && port_is_good;
        let own_port = matches!((scheme, port), ("http", Some("80")) | ("https", Some("443")));
        let port = port.filter(|_| !own_port).map_or(String::new(), |port| format!(":{port}"));
        good.then(|| Self(format!("{scheme}://{host}{port}").into()))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        Origin::from_text(text).map(|origin| origin.to_string())
    }

    #[test]
    fn an_origin_is_written_as_browsers_do() {
        for (text, origin) in [
            ("https://example.org", "https://example.org"),
            ("HTTPS://Example.ORG:443", "https://example.org"),
            ("http://example.org:80", "http://example.org"),
            ("http://example.org:443", "http://example.org:443"),
            ("https://example.org:8443", "https://example.org:8443"),
            ("http://[::1]", "http://[::1]"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("moz-extension://5b2f", "moz-extension://5b2f"),
        ] {
            assert_eq!(read(text).as_deref(), Some(origin), "{text}");
        }
        for text in [
            "",
            "*",
            "example.org",
            "https://",
            "://example.org",
            "https://example.org/",
            "https://example.org/page",
            "https://example.org:",
            "https://example.org:70000",
            "https://*.example.org",
            "https://a:b:80",
            "http://[x]",
            "https://user@example.org",
            "https://example.org ",
            "https://ex\u{e4}mple.org",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_list_admits_what_is_in_it() {
        let list = ["https://example.org:443", "http://[::1]:8080"];
        let list = list.map(|text| Origin::from_text(text).expect("good"));
        let policy = WebSocketPolicy { enabled: true, origins: Origins::Only(list.into()) };
        for good in ["https://example.org", "https://EXAMPLE.org", "http://[::1]:8080"] {
            assert!(policy.admits(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "null",
            "http://example.org",
            "https://example.org.evil.net",
            "https://example.org:444",
            "https://www.example.org",
            "http://[::1]",
        ] {
            assert!(!policy.admits(bad.as_bytes()), "{bad}");
            assert!(WebSocketPolicy::default().admits(bad.as_bytes()), "{bad}");
        }
        let nobody = WebSocketPolicy { origins: Origins::Only([].into()), ..policy };
        assert!(!nobody.admits(b"https://example.org"));
    }
}
