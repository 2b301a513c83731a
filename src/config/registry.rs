//! Which char device becomes which channel, and how that channel is served.
//!
//! Pure values: the rules come from the configuration file and from
//! `spice_server_register_channel`; upstream's table stands behind them
//! (docs/custom-channels.md).

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::limits;

/// The channel types that the protocol names, as security settings name them.
const KNOWN: [(&str, u8); 11] = [
    ("main", 1),
    ("display", 2),
    ("inputs", 3),
    ("cursor", 4),
    ("playback", 5),
    ("record", 6),
    ("tunnel", 7),
    ("smartcard", 8),
    ("usbredir", USBREDIR),
    ("port", PORT),
    ("webdav", WEBDAV),
];

const USBREDIR: u8 = 9;
const PORT: u8 = 10;
const WEBDAV: u8 = 11;
/// The first number that the protocol leaves to others.
const FIRST_FREE: u8 = 12;

const WEBDAV_PORT: &str = "org.spice-space.webdav.0";
/// A device with a protocol of its own, not a plain port.
pub const STREAM_PORT: &str = "org.spice-space.stream.0";

/// What a second client of a busy channel meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Busy {
    /// It is refused; the first one stays. Upstream's way.
    #[default]
    Refuse,
    /// The first one is cut, and the device sees a clean close and open.
    TakeOver,
}

/// How a channel is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// LZ4 is offered, and used where both sides have it.
    pub compression: bool,
    /// What a second client meets.
    pub busy: Busy,
    /// How long a client may be unreachable on TCP before it is cut; zero: only the
    /// kernel's keepalive finds it, after upstream's ten minutes and more.
    pub idle: Duration,
}

/// Upstream's ways.
impl Default for Policy {
    fn default() -> Self {
        Self { compression: true, busy: Busy::Refuse, idle: Duration::ZERO }
    }
}

/// What a rule says differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyChange {
    /// See [`Policy::compression`].
    pub compression: Option<bool>,
    /// See [`Policy::busy`].
    pub busy: Option<Busy>,
    /// See [`Policy::idle`].
    pub idle: Option<Duration>,
}

impl PolicyChange {
    /// This change on top of `policy`.
    pub fn on(self, policy: Policy) -> Policy {
        Policy {
            compression: self.compression.unwrap_or(policy.compression),
            busy: self.busy.unwrap_or(policy.busy),
            idle: self.idle.unwrap_or(policy.idle),
        }
    }
}

/// The devices that a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The port of this name; a trailing `*` stands for any ending.
    Port(String),
    /// `-chardev spicevmc,name=…` of this name.
    Subtype(String),
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(name) => write!(f, "port {name}"),
            Self::Subtype(name) => write!(f, "subtype {name}"),
        }
    }
}

/// A rule as it is written: what is missing has a default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The devices that it is for.
    pub selector: Selector,
    /// The channel type; without it what the device would have had.
    pub kind: Option<u8>,
    /// The channel's name in security settings, logs and statistics.
    pub name: Option<String>,
    /// How the channel is served.
    pub policy: PolicyChange,
}

/// Why a rule was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The type belongs to another protocol.
    #[error(
        "channel type {0} is reserved: ports may have 10, 11 and 12 to 255, subtypes 12 to 255"
    )]
    ReservedType(u8),
    /// Nobody would know which number to take.
    #[error("{0} needs a channel type, 12 to 255")]
    NoType(Selector),
    /// These devices are served otherwise.
    #[error("{0} is reserved: the device has a protocol of its own")]
    ReservedDevice(Selector),
    /// No device is called so.
    #[error(
        "\"{0}\" is no name of a port or subtype: 1 to 255 characters without blanks, a `*` at the end of a port's only"
    )]
    BadSelector(String),
    /// Names stand in options and logs.
    #[error("\"{0}\" is no channel name: 1 to 32 of the characters a-z, 0-9, '-', '_' and '.'")]
    BadName(String),
    /// The name would mean two channel types.
    #[error("the channel name {name} belongs to type {kind}")]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        kind: u8,
    },
    /// The type would have two names.
    #[error("channel type {kind} is named {name} already")]
    TypeNamed {
        /// The channel type.
        kind: u8,
        /// Its name.
        name: String,
    },
    /// Two rules for the same devices.
    #[error("there is a rule for {0} already")]
    Duplicate(Selector),
    /// The table has a bound.
    #[error("there are {} rules already", limits::CHANNEL_RULES)]
    TooMany,
}

/// The channel that a device gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The channel type.
    pub kind: u8,
    /// Its name in security settings, logs and statistics.
    pub name: Arc<str>,
    /// How it is served.
    pub policy: Policy,
}

#[derive(Clone, Debug)]
struct Entry {
    selector: Selector,
    kind: u8,
    name: Arc<str>,
    policy: PolicyChange,
}

/// The rules in force.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    defaults: Policy,
    entries: Vec<Entry>,
}

impl Registry {
    /// Upstream's table, served by `defaults`.
    pub fn new(defaults: Policy) -> Self {
        Self { defaults, entries: Vec::new() }
    }

    /// Adds a rule.
    pub fn add(&mut self, rule: Rule) -> Result<(), RuleError> {
        let Rule { selector, kind, name, policy } = rule;
        check_selector(&selector)?;
        if self.has(&selector) {
            return Err(RuleError::Duplicate(selector));
        }
        if self.entries.len() >= limits::CHANNEL_RULES {
            return Err(RuleError::TooMany);
        }
        let kind = channel_type(&selector, kind)?;
        let name = self.name_for(kind, name)?;
        self.entries.push(Entry { selector, kind, name, policy });
        Ok(())
    }

    /// Whether there is a rule for exactly these devices.
    pub fn has(&self, selector: &Selector) -> bool {
        self.entries.iter().any(|entry| entry.selector == *selector)
    }

    /// The channel for a device of this subtype and port name; `None`: no channel of
    /// this family serves it.
    pub fn channel_for(&self, subtype: &[u8], port_name: Option<&[u8]>) -> Option<Service> {
        if subtype != b"port" {
            let own = self.entries.iter().find(
                |entry| matches!(&entry.selector, Selector::Subtype(name) if name.as_bytes() == subtype),
            );
            return match own {
                Some(entry) => Some(self.service(entry)),
                None => (subtype == b"usbredir").then(|| self.plain(USBREDIR)),
            };
        }
        let port_name = port_name?;
        if port_name == STREAM_PORT.as_bytes() {
            return None;
        }
        if let Some(entry) = self.entries.iter().find(|entry| entry.is_exactly(port_name)) {
            return Some(self.service(entry));
        }
        if port_name == WEBDAV_PORT.as_bytes() {
            return Some(self.plain(WEBDAV));
        }
        let widest = |entry: &&Entry| entry.prefix().map_or(0, str::len);
        let by_prefix = self.entries.iter().filter(|entry| entry.begins(port_name));
        Some(by_prefix.max_by_key(widest).map_or_else(|| self.plain(PORT), |e| self.service(e)))
    }

    /// The channel of this type for a device that its maker gave the type himself.
    pub fn channel_of_type(&self, kind: u8) -> Service {
        let own = self.entries.iter().find(|entry| entry.kind == kind && kind >= FIRST_FREE);
        own.map_or_else(|| self.plain(kind), |entry| self.service(entry))
    }

    /// The type number of a channel name in security settings.
    pub fn type_named(&self, name: &[u8]) -> Option<u8> {
        let known = KNOWN.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, kind)| *kind);
        let own = || self.entries.iter().find(|entry| entry.name.as_bytes() == name);
        known.or_else(|| own().map(|entry| entry.kind))
    }

    /// The subtypes that rules have added to upstream's.
    pub fn subtypes(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter_map(|entry| match &entry.selector {
            Selector::Subtype(name) if name != "usbredir" => Some(name.as_str()),
            _ => None,
        })
    }

    /// How a channel is served that no rule is for.
    pub fn defaults(&self) -> Policy {
        self.defaults
    }

    /// The rules in the order in which they were added, with what they come to.
    pub fn rules(&self) -> impl Iterator<Item = (&Selector, Service)> {
        self.entries.iter().map(|entry| (&entry.selector, self.service(entry)))
    }

    fn service(&self, entry: &Entry) -> Service {
        Service {
            kind: entry.kind,
            name: Arc::clone(&entry.name),
            policy: entry.policy.on(self.defaults),
        }
    }

    /// A channel as upstream knows it.
    fn plain(&self, kind: u8) -> Service {
        let name = known_name(kind).map_or_else(|| fallback_name(kind), Arc::from);
        Service { kind, name, policy: self.defaults }
    }

    /// The name for a rule's channel type; one type has one name.
    fn name_for(&self, kind: u8, wanted: Option<String>) -> Result<Arc<str>, RuleError> {
        let present = known_name(kind).map(Arc::from).or_else(|| {
            self.entries
                .iter()
                .find(|entry| entry.kind == kind)
                .map(|entry| Arc::clone(&entry.name))
        });
        let Some(wanted) = wanted else {
            return Ok(present.unwrap_or_else(|| fallback_name(kind)));
        };
        if let Some(present) = present {
            return if *present == *wanted {
                Ok(present)
            } else {
                Err(RuleError::TypeNamed { kind, name: present.to_string() })
            };
        }
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        if wanted.is_empty() || wanted.len() > limits::CHANNEL_NAME || !wanted.chars().all(allowed)
        {
            return Err(RuleError::BadName(wanted));
        }
        // The name of a type that nobody has named yet.
        let unnamed = wanted.strip_prefix("channel-").and_then(|number| number.parse().ok());
        let others = unnamed.filter(|other| *other != kind);
        match self.type_named(wanted.as_bytes()).or(others) {
            Some(kind) => Err(RuleError::NameTaken { name: wanted, kind }),
            None => Ok(wanted.into()),
        }
    }
}

impl Entry {
    fn is_exactly(&self, port_name: &[u8]) -> bool {
        matches!(&self.selector, Selector::Port(name) if name.as_bytes() == port_name)
    }

    /// What the names begin with, if the rule is for several.
    fn prefix(&self) -> Option<&str> {
        match &self.selector {
            Selector::Port(name) => name.strip_suffix('*'),
            Selector::Subtype(_) => None,
        }
    }

    fn begins(&self, port_name: &[u8]) -> bool {
        self.prefix().is_some_and(|prefix| port_name.starts_with(prefix.as_bytes()))
    }
}

fn known_name(kind: u8) -> Option<&'static str> {
    KNOWN.iter().find(|(_, known)| *known == kind).map(|(name, _)| *name)
}

fn fallback_name(kind: u8) -> Arc<str> {
    format!("channel-{kind}").into()
}

fn check_selector(selector: &Selector) -> Result<(), RuleError> {
    let (name, star) = match selector {
        Selector::Port(name) => (name.strip_suffix('*').unwrap_or(name), name.ends_with('*')),
        Selector::Subtype(name) => (name.as_str(), false),
    };
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '*';
    if (name.is_empty() && !star) || name.len() >= limits::API_STRING || !name.chars().all(plain) {
        let (Selector::Port(name) | Selector::Subtype(name)) = selector;
        return Err(RuleError::BadSelector(name.clone()));
    }
    let reserved = match selector {
        Selector::Port(name) => name == STREAM_PORT,
        Selector::Subtype(name) => ["vdagent", "smartcard", "port"].contains(&name.as_str()),
    };
    if reserved { Err(RuleError::ReservedDevice(selector.clone())) } else { Ok(()) }
}

/// The type for a rule, checked.
fn channel_type(selector: &Selector, wanted: Option<u8>) -> Result<u8, RuleError> {
    match (selector, wanted) {
        (Selector::Port(_), Some(kind @ (PORT | WEBDAV))) | (_, Some(kind @ FIRST_FREE..)) => {
            Ok(kind)
        }
        (Selector::Subtype(name), None | Some(USBREDIR)) if name == "usbredir" => Ok(USBREDIR),
        (_, Some(kind)) => Err(RuleError::ReservedType(kind)),
        (Selector::Port(name), None) if name == WEBDAV_PORT => Ok(WEBDAV),
        (Selector::Port(_), None) => Ok(PORT),
        (Selector::Subtype(_), None) => Err(RuleError::NoType(selector.clone())),
    }
}
