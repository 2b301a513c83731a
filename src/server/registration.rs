//! Which device becomes which channel on this server: the rules of the configuration
//! file and those of the host program. And what else is known of channels by name.

use super::Server;
use crate::config::agent::AgentPolicy;
use crate::config::file::{File, Watch};
use crate::config::home::HomeKind;
use crate::config::log::LogPolicy;
use crate::config::registry::{Rule, RuleError, Service};
use crate::link::ChannelSecurity;
use crate::log;
use crate::stats::Totals;
use crate::wire::ChannelKey;

/// What is kept from the making of a server until init, when the VM's name is known.
#[derive(Debug)]
pub(super) struct Draft {
    file: Option<File>,
    /// Notices changes from the reading on.
    watch: Watch,
    /// Rules of the host program, taken already.
    rules: Vec<Rule>,
    /// Transports for channel names of the file.
    security: Vec<(Vec<u8>, ChannelSecurity)>,
}

impl Draft {
    /// Reads the configuration file.
    pub(super) fn new() -> Self {
        let watch = Watch::new();
        let file = File::find();
        log::configure(
            file.as_ref().map_or_else(LogPolicy::default, |file| file.config(None, None).0.log),
        );
        for problem in file.iter().flat_map(File::problems) {
            crate::warning!("{problem}");
        }
        Self { file, watch, rules: Vec::new(), security: Vec::new() }
    }

    /// Keeps a transport rule for a name that the file knows; false for other names.
    fn remember(&mut self, name: &[u8], security: ChannelSecurity) -> bool {
        let known = self.file.as_ref().is_some_and(|file| file.names_channel(name));
        if known {
            self.security.retain(|(other, _)| other != name);
            self.security.push((name.to_vec(), security));
        }
        known
    }
}

impl Server {
    /// Takes what the configuration file says to all VMs: the host may ask for channels
    /// by name before it says which VM this is.
    pub(super) fn configure_for_all(&self) {
        let draft = self.draft.borrow();
        if let Some(file) = draft.as_ref().and_then(|draft| draft.file.as_ref()) {
            // What is wrong in this has been told; sections for VMs are looked at later.
            let (config, _) = file.config(None, None);
            *self.registry.borrow_mut() = config.registry;
        }
    }

    /// Takes what the configuration file says to this VM, at init.
    pub(super) fn configure_for_vm(&self) {
        let Some(Draft { file, watch, rules, security }) = self.draft.borrow_mut().take() else {
            return;
        };
        let mut agent = AgentPolicy::default();
        if let Some(file) = file {
            let settings = self.settings.borrow();
            let (config, problems) = file.config(settings.name.as_deref(), settings.uuid.as_ref());
            log::configure(config.log);
            for problem in problems {
                crate::warning!("{problem}");
            }
            *self.registry.borrow_mut() = config.registry;
            agent = config.agent;
            self.oldest_tls.set(config.oldest_tls);
            self.link_policy.set(config.link);
            self.policy.change(|policy| policy.websocket = config.websocket);
            *self.statistics_policy.borrow_mut() = config.statistics;
            self.home.set(HomeKind::from_environment().or(config.home));
            for rule in rules {
                if let Err(error) = self.register_channel(rule) {
                    crate::warning!("a channel of the host program's is not registered: {error}");
                }
            }
        }
        self.begin_transfer_policy(agent, watch);
        for (name, security) in security {
            if !self.set_named_security(&name, security) {
                let name = String::from_utf8_lossy(&name);
                crate::warning!("channel {name} is not configured for this VM");
            }
        }
    }

    /// Adds a rule of the host program's for devices that are added from now on.
    pub fn register_channel(&self, rule: Rule) -> Result<(), RuleError> {
        self.registry.borrow_mut().add(rule.clone())?;
        if let Some(draft) = &mut *self.draft.borrow_mut() {
            draft.rules.push(rule);
        }
        Ok(())
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
        // A section for this VM may give the name another type, or know it alone.
        let mut draft = self.draft.borrow_mut();
        let later = draft.as_mut().is_some_and(|draft| draft.remember(name, security));
        kind.is_some() || later
    }

    /// What a channel of a char device has moved; `None`: there is none.
    pub fn channel_totals(&self, channel: ChannelKey) -> Option<Totals> {
        self.channel_of(channel)?.terms().data?;
        self.statistics.channel_totals(channel.kind, channel.id)
    }
}
