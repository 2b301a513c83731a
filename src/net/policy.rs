//! What the link phase must know of the server: tickets, channels, security.
//!
//! The main thread changes it, the I/O thread reads a snapshot: no lock is held
//! while a ticket is decrypted.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::config::websocket::WebSocketPolicy;
use crate::link::ticket::{TicketRefusal, Ticketing};
use crate::link::{self, ChannelSecurity, Offer};
use crate::wire::ChannelKey;

/// The settings at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Passwords and whether they are asked for.
    pub ticketing: Ticketing,
    /// Clients authenticate by SASL instead of a password.
    pub sasl: bool,
    /// Grows when it changes who may come in: whoever has authenticated by a former rule,
    /// and has not been let in yet, has to begin anew.
    pub rule: u64,
    /// What the main channel offers.
    pub main: Offer,
    /// The other channels that exist, newest first.
    pub channels: Vec<(ChannelKey, Offer)>,
    /// Transport rules by channel type; types without one use the default.
    pub security: Vec<(u8, ChannelSecurity)>,
    /// Transport rule for all other types.
    pub default_security: ChannelSecurity,
    /// Who may come in by WebSocket.
    pub websocket: WebSocketPolicy,
    /// The sessions that exist.
    pub sessions: Vec<u32>,
}

/// Shared between the threads.
#[derive(Debug)]
pub struct SharedPolicy(Mutex<Arc<Snapshot>>);

impl SharedPolicy {
    /// Starts with these settings.
    pub fn new(snapshot: Snapshot) -> Self {
        Self(Mutex::new(Arc::new(snapshot)))
    }

    /// The settings now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.lock())
    }

    /// Changes the settings for every link decision from now on.
    pub fn change<T>(&self, change: impl FnOnce(&mut Snapshot) -> T) -> T {
        change(Arc::make_mut(&mut self.0.lock()))
    }
}

impl link::Policy for Snapshot {
    fn offer(&self, channel: ChannelKey) -> Option<Offer> {
        if channel.kind == ChannelKey::MAIN {
            return Some(self.main.clone());
        }
        self.channels.iter().find(|(key, _)| *key == channel).map(|(_, offer)| offer.clone())
    }

    fn security(&self, kind: u8) -> ChannelSecurity {
        let own = self.security.iter().find(|(of, _)| *of == kind);
        own.map_or(self.default_security, |(_, security)| *security)
    }

    fn check_ticket(&self, password: &[u8], now: Instant) -> Result<(), TicketRefusal> {
        self.ticketing.check(password, now)
    }

    fn ticketing(&self) -> bool {
        self.ticketing.is_required()
    }

    fn sasl(&self) -> bool {
        self.sasl
    }
}
