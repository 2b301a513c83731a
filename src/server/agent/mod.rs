//! The guest's agent: its device, and what the main channels have to do with it
//! (docs/protocol/agent.md).
//!
//! Runs under the host's serialisation. The device's machine is kept for the server's
//! life: its clients and their tokens outlive an agent that goes and comes. What a
//! client's side needs is kept with its main channel ([`ClientSide`]).

mod answers;
mod clients;
mod device;
mod migration;
mod own;
mod port;

use std::rc::Rc;

use super::Server;
use super::char_device::InService;
use super::connection::Connection;
use crate::channels::agent::Switches;
use crate::channels::agent::audit::Record;
use crate::chardev::{ClientKey, Parameters};
use crate::config::limits;
use crate::host::char_device::CharDevice;
use crate::log::Subject;
use crate::net::io_thread::ConnectionId;
use crate::server::driver::Driver;
use crate::stats::Refusal;
use crate::wire::main::{capability, to_client};

pub(super) use clients::ClientSide;
use device::VdAgent;
use migration::awaits;
use port::AgentPort;

/// The device, whether an agent is attached to it or not.
pub(super) type Agent = Driver<VdAgent>;

const PARAMETERS: Parameters =
    Parameters { token_interval: limits::AGENT_TOKEN_LOT, self_tokens: limits::AGENT_SELF_TOKENS };

impl Server {
    /// Takes the host's device of subtype "vdagent". Only one at a time is served; the
    /// host is not told.
    pub(super) fn add_agent(self: &Rc<Self>, host: CharDevice) -> Option<Rc<dyn InService>> {
        if self.attached_agent().is_some() {
            self.statistics.refusals().count(Refusal::Device);
            crate::warning!(about &subject(); "an agent is attached already, the second one is not served");
            return None;
        }
        let known = self.agent.borrow().clone();
        if let Some(agent) = known {
            agent.rebind(Some(host));
        } else {
            let kind = VdAgent::new(Rc::downgrade(self));
            *self.agent.borrow_mut() = Some(self.make_device(host, PARAMETERS, kind));
        }
        let port = Rc::new(AgentPort::new(Rc::downgrade(self), host));
        self.keep_device(Rc::clone(&port) as Rc<dyn InService>);
        Some(port)
    }

    /// The device, if an agent is attached.
    pub(super) fn attached_agent(&self) -> Option<Rc<Agent>> {
        self.agent.borrow().clone().filter(|agent| agent.host().is_some())
    }

    /// Whether an agent is attached.
    pub fn has_agent(&self) -> bool {
        self.attached_agent().is_some()
    }

    /// Lets the device and the clients know that an agent is there.
    fn announce_agent(self: &Rc<Self>, host: CharDevice) {
        self.update_monitors_way();
        self.update_mouse_mode();
        crate::info!(about &subject(); "the guest's agent is attached");
        host.state(true);
        if self.attached_agent().is_none_or(|agent| agent.host() != Some(host)) {
            // It was taken away from inside.
            return;
        }
        for connection in self.main_connections() {
            if !self.meet_agent(&connection) {
                self.tell_of_agent(&connection);
            }
        }
    }

    /// Tells a client that an agent is there.
    fn tell_of_agent(&self, connection: &Connection) {
        if connection.caps.has(capability::AGENT_CONNECTED_TOKENS) {
            let tokens = limits::AGENT_WINDOW.to_le_bytes();
            self.send(connection, to_client::AGENT_CONNECTED_TOKENS, &tokens);
        } else {
            self.send(connection, to_client::AGENT_CONNECTED, &[]);
        }
    }

    /// The agent is gone, or talks nonsense: nothing more is read from it or written to
    /// it. The clients stay, and are told.
    fn detach_agent(self: &Rc<Self>, agent: &Rc<Agent>) {
        let Some(host) = agent.host() else {
            return;
        };
        for connection in self.main_connections() {
            if let Some(mut side) = connection.agent_side() {
                side.stop();
            }
            if awaits(&connection) {
                // The next agent is another one, with which the client begins anew.
                let _ = agent.client_remove(key(connection.id));
            }
        }
        self.audit_all(&self.unfinished(agent));
        agent.kind().end();
        agent.stop();
        agent.reset();
        agent.rebind(None);
        crate::info!(about &subject(); "the guest's agent is detached");
        host.state(false);
        self.update_mouse_mode();
        for connection in self.main_connections().iter().filter(|main| !awaits(main)) {
            self.send(connection, to_client::AGENT_DISCONNECTED, &NO_ERROR);
        }
    }

    /// The same for the agent that is attached, if there is one.
    fn detach_attached_agent(self: &Rc<Self>) {
        if let Some(agent) = self.attached_agent() {
            self.detach_agent(&agent);
        }
    }

    /// What was under way between clients and agent and comes to nothing.
    fn unfinished(&self, agent: &Agent) -> Vec<Record> {
        let audit = self.transfer_policy().audit;
        agent.kind().talk.borrow_mut().end(audit)
    }

    /// Which messages of clients and agent may pass.
    fn agent_switches(&self) -> Switches {
        let settings = self.settings.borrow();
        Switches {
            copy_paste: settings.agent.copy_paste,
            file_transfer: settings.agent.file_transfer,
            monitors_to_display: self.monitors_to_display.get(),
        }
    }

    /// Whether the agent moves the pointer: it is attached, and the host lets it.
    pub fn agent_points(&self) -> bool {
        self.settings.borrow().agent.mouse && self.has_agent()
    }

    /// Whether the agent may move the pointer.
    pub fn set_agent_mouse(self: &Rc<Self>, allowed: bool) {
        self.settings.borrow_mut().agent.mouse = allowed;
        self.update_mouse_mode();
    }
}

/// The reason in AGENT_DISCONNECTED; there is only one.
const NO_ERROR: [u8; 4] = [0; 4];

/// The device for readers of the log.
fn subject() -> Subject {
    Subject::device("vdagent")
}

/// The device's name for a client: that of its main channel.
fn key(connection: ConnectionId) -> ClientKey {
    connection as ClientKey
}
