//! Passwords and SASL: who may connect, and who has to leave when that changes.

use std::rc::Rc;
use std::time::Instant;

use super::Server;
use crate::link::ChannelSecurity;
use crate::net::sasl::{self, SaslError};

/// Why a password was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Clients are connected and the caller wanted none to be.
    #[error("a client is connected")]
    ClientConnected,
    /// The password does not fit into the protocol.
    #[error("the password is longer than 60 characters")]
    TooLong,
}

impl Server {
    /// Lets every client in without a password.
    pub fn set_noauth(&self) {
        self.policy.change(|policy| policy.ticketing.set_noauth());
    }

    /// From now on clients need this password for `lifetime` seconds, 0 for ever.
    pub fn set_ticket(
        self: &Rc<Self>,
        password: Option<&[u8]>,
        lifetime: i32,
        fail_if_connected: bool,
        disconnect_if_connected: bool,
    ) -> Result<(), TicketError> {
        if self.client_count() > 0 {
            if fail_if_connected {
                return Err(TicketError::ClientConnected);
            }
            if disconnect_if_connected {
                self.disconnect_clients("the host set a new password");
            }
        }
        let was_required = self.policy.snapshot().ticketing.is_required();
        let set = self.policy.change(|policy| {
            policy.rule += 1;
            policy.ticketing.set_ticket(password, lifetime, Instant::now())
        });
        if let Some(io) = &*self.io.borrow() {
            io.expect_passwords();
            if !was_required {
                io.cut_links();
            }
        }
        if !was_required {
            self.disconnect_clients("passwords have come into force");
        }
        set.map_err(|_| TicketError::TooLong)
    }

    /// Whether clients authenticate by SASL, instead of a password.
    pub fn set_sasl(&self, enabled: bool) -> Result<(), SaslError> {
        if enabled && self.io.borrow().is_some() {
            self.begin_sasl()?;
        }
        let was = self.policy.change(|policy| {
            policy.rule += u64::from(enabled && !policy.sasl);
            std::mem::replace(&mut policy.sasl, enabled)
        });
        if enabled
            && !was
            && let Some(io) = &*self.io.borrow()
        {
            io.cut_links();
        }
        Ok(())
    }

    /// Prepares the SASL library. Not before somebody wants it: it loads every mechanism that
    /// is installed.
    pub(super) fn begin_sasl(&self) -> Result<(), SaslError> {
        sasl::begin(&self.settings.borrow().sasl_application)
    }

    /// Which transports a channel type may use; `None` sets the default.
    pub fn set_channel_security(&self, kind: Option<u8>, security: ChannelSecurity) {
        self.policy.change(|policy| match kind {
            None => policy.default_security = security,
            Some(kind) => {
                policy.security.retain(|(other, _)| *other != kind);
                policy.security.push((kind, security));
            }
        });
    }
}
