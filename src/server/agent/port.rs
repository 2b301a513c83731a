//! One registration of the agent's device by the host.

use std::cell::Cell;
use std::rc::{Rc, Weak};

use super::Agent;
use crate::host::char_device::CharDevice;
use crate::server::Server;
use crate::server::char_device::InService;

/// What the host added. It stays in service when the agent was detached because of
/// what it said; then nothing flows until the host removes it and adds it again.
pub(super) struct AgentPort {
    server: Weak<Server>,
    host: Cell<Option<CharDevice>>,
}

impl AgentPort {
    pub(super) fn new(server: Weak<Server>, host: CharDevice) -> Self {
        Self { server, host: Cell::new(Some(host)) }
    }

    /// The device, as long as the agent is attached by this registration.
    fn agent(&self) -> Option<Rc<Agent>> {
        let agent = self.server.upgrade()?.attached_agent()?;
        (agent.host() == self.host.get()).then_some(agent)
    }
}

impl InService for AgentPort {
    fn host(&self) -> Option<CharDevice> {
        self.host.get()
    }

    fn server(&self) -> Option<Rc<Server>> {
        self.server.upgrade()
    }

    fn added(&self) {
        if let (Some(server), Some(host)) = (self.server.upgrade(), self.host.get()) {
            server.announce_agent(host);
        }
    }

    fn start(&self) {
        if let Some(agent) = self.agent() {
            agent.start();
        }
    }

    fn stop(&self) {
        if let Some(agent) = self.agent() {
            agent.stop();
        }
    }

    fn wakeup(&self) {
        if let Some(agent) = self.agent() {
            agent.wakeup();
        }
    }

    fn port_event(&self, _event: u8) {
        crate::warning!(about &super::subject(); "port event on the agent's device, which has none");
    }

    fn remove(&self, server: &Rc<Server>) {
        if let Some(agent) = self.agent() {
            server.detach_agent(&agent);
        }
        self.host.set(None);
    }
}
