//! Which device becomes which channel on this server: the rules of the configuration
//! file and those of the host program. And what else is known of channels by name.

use super::Server;
use crate::config::registry::{Rule, RuleError, Service};
use crate::link::ChannelSecurity;
use crate::stats::ChannelTotals;
use crate::wire::ChannelKey;

impl Server {
    /// Adds a rule of the host program's for devices that are added from now on.
    pub fn register_channel(&self, rule: Rule) -> Result<(), RuleError> {
        self.registry.borrow_mut().add(rule)
    }

    /// The subtypes of char devices that rules have added to upstream's.
    pub fn registered_subtypes(&self) -> Vec<String> {
        self.registry.borrow().subtypes().map(str::to_owned).collect()
    }

    /// The channel for a device that its maker gives the channel type himself.
    pub fn channel_of_type(&self, kind: u8) -> Service {
        self.registry.borrow().channel_of_type(kind)
    }

    /// Which transports the channels of this name may use. False: there is no such name.
    pub fn set_named_security(&self, name: &[u8], security: ChannelSecurity) -> bool {
        let kind = self.registry.borrow().type_named(name);
        if kind.is_some() {
            self.set_channel_security(kind, security);
        }
        kind.is_some()
    }

    /// What a channel of a char device has moved; `None`: there is none.
    pub fn channel_totals(&self, channel: ChannelKey) -> Option<ChannelTotals> {
        self.device_of(channel).map(|device| device.counters().totals())
    }
}
