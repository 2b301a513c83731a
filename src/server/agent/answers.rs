//! Messages of the server's in somebody's name: what the policy answers to those who ask
//! for what they may not have, and the lines of its audit.
//!
//! An answer must not fall into the middle of another message. Towards the agent it goes
//! to the client's port, where the agent waits for it.

use std::cell::RefCell;
use std::collections::VecDeque;

use super::device::ToClients;
use crate::channels::agent::audit::Record;
use crate::chardev::{ClientKey, Origin};
use crate::config::limits;
use crate::server::Server;
use crate::server::connection::Connection;
use crate::wire::agent::port;

/// What waits for the end of a message towards the same side.
#[derive(Default)]
pub(super) struct Answers {
    to_clients: RefCell<VecDeque<(ClientKey, Vec<u8>)>>,
    to_agent: RefCell<VecDeque<Vec<u8>>>,
}

impl Answers {
    /// The agent is gone.
    pub(super) fn forget(&self) {
        self.to_clients.borrow_mut().clear();
        self.to_agent.borrow_mut().clear();
    }

    /// This client is gone.
    pub(super) fn forget_client(&self, client: ClientKey) {
        self.to_clients.borrow_mut().retain(|(to, _)| *to != client);
    }

    /// The next answer for a client.
    pub(super) fn next_for_client(&self) -> Option<ToClients> {
        let (to, message) = self.to_clients.borrow_mut().pop_front()?;
        Some(ToClients::answer(to, message))
    }
}

impl Server {
    /// Answers a client in the agent's name.
    pub(super) fn answer_client(&self, client: ClientKey, message: Vec<u8>) {
        let Some(agent) = self.attached_agent() else {
            return;
        };
        let queue = &agent.kind().answers.to_clients;
        if queue.borrow().len() >= limits::AGENT_ANSWERS {
            return crate::debug!("too many answers wait for a client, one is left out");
        }
        queue.borrow_mut().push_back((client, message));
        // Answers cost the client's tokens, like everything else that is read.
        agent.wakeup();
    }

    /// Answers the agent in a client's name.
    pub(super) fn answer_agent(&self, message: Vec<u8>) {
        let Some(agent) = self.attached_agent() else {
            return;
        };
        let queue = &agent.kind().answers.to_agent;
        if queue.borrow().len() >= limits::AGENT_ANSWERS {
            return crate::debug!("too many answers wait for the agent, one is left out");
        }
        queue.borrow_mut().push_back(message);
        self.send_answers_to_agent();
    }

    /// Sends what waits for the agent, unless a client's message is under way.
    pub(super) fn send_answers_to_agent(&self) {
        while let Some(agent) = self.attached_agent() {
            let full = agent.queued_bytes() >= limits::AGENT_NOTICES;
            if full || agent.kind().is_spoken_to() {
                return;
            }
            let Some(message) = agent.kind().answers.to_agent.borrow_mut().pop_front() else {
                return;
            };
            agent.add_chunk(Origin::ServerNoToken, port::CLIENT, &message);
        }
    }

    /// Writes down transfers of whoever is connected.
    pub(super) fn audit_all(&self, records: &[Record]) {
        for connection in self.main_connections() {
            audit(&connection, records);
        }
    }
}

/// Writes down transfers of one client.
pub(super) fn audit(connection: &Connection, records: &[Record]) {
    for record in records {
        crate::message!(Audit about connection; "audit: {}: {record}", connection.peer);
    }
}
