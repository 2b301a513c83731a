//! A client's talk with the agent on its way to another host (docs/protocol/migration-data.md,
//! "Main").
//!
//! The device with the agent and the client with the state come to the other host in any
//! order; the state waits for the agent if need be.

use std::rc::Rc;

use bytes::Bytes;

use super::{Agent, NO_ERROR, key, subject};
use crate::channel::ending::Ending;
use crate::channels::agent::Switches;
use crate::channels::agent::chunks::Chunks;
use crate::chardev::{Block, FlowControl};
use crate::config::agent::AgentPolicy;
use crate::config::limits;
use crate::server::Server;
use crate::server::connection::Connection;
use crate::server::handover::send_migrate;
use crate::stats::Refusal;
use crate::wire::main::to_client;
use crate::wire::migration::Body;
use crate::wire::migration::main::{ChunkRest, Fate, FromAgent, Main, Rest};

/// What a client that comes from another host waits for.
#[derive(Debug, Default)]
pub(super) enum Arrival {
    /// Nothing.
    #[default]
    Settled,
    /// It has not brought its state. So many agents have been attached.
    Awaited { agents: u32 },
    /// It has brought this, and no agent has been attached.
    Kept(Bytes),
}

/// Whether a client has not brought its state yet: it is told nothing of agents.
pub(super) fn awaits(connection: &Connection) -> bool {
    let side = connection.agent_side();
    side.is_some_and(|side| matches!(side.arrival, Arrival::Awaited { .. }))
}

impl Server {
    /// A main channel's client comes from another host and brings its talk with the agent.
    pub(in crate::server) fn await_main(self: &Rc<Self>, connection: &Rc<Connection>) {
        connection.await_migration_data();
        if let Some(mut side) = connection.agent_side() {
            side.arrival = Arrival::Awaited { agents: 0 };
        }
        if self.has_agent() {
            self.meet_agent(connection);
        }
    }

    /// An agent was attached. False if the client is to be told, as usual.
    pub(super) fn meet_agent(self: &Rc<Self>, connection: &Rc<Connection>) -> bool {
        let arrival = connection.agent_side().map(|mut side| std::mem::take(&mut side.arrival));
        let Some(agent) = self.attached_agent() else {
            return false;
        };
        match arrival.unwrap_or_default() {
            Arrival::Settled => return false,
            Arrival::Awaited { agents } => {
                let first = agents == 0 && await_state(&agent, connection).is_ok();
                let agents = if first { 1 } else { 2 };
                if let Some(mut side) = connection.agent_side() {
                    side.arrival = Arrival::Awaited { agents };
                }
            }
            Arrival::Kept(whole) => {
                let restored = await_state(&agent, connection)
                    .and_then(|()| self.restore_agent(&agent, connection, &whole));
                if let Err(reason) = restored {
                    self.doom(connection, Ending::Fault(reason));
                }
            }
        }
        true
    }

    /// Sends a main channel to the other host.
    pub(in crate::server) fn send_off_main(self: &Rc<Self>, connection: &Rc<Connection>) {
        if let Some(agent) = self.attached_agent() {
            let client = key(connection.id);
            agent.leave();
            let hears = agent.client_exists(client);
            match agent.kind().last_words(self) {
                Ok(words) if hears => {
                    for message in words {
                        // The client gets it whether it granted a token or not: it cannot
                        // move.
                        agent.take_send_token(client);
                        agent.kind().tell_last(&message, client);
                    }
                }
                Ok(_) => {}
                Err(reason) => {
                    crate::warning!(about &subject(); "the agent is detached: {reason}");
                    self.statistics.refusals().count(Refusal::Agent);
                    self.detach_attached_agent();
                }
            }
            if !hears {
                // It has not begun, and may do so on the other host.
                agent.kind().expect_client(client);
                let flow = flow(0);
                let _ = agent.client_add(client, Some(flow), false);
            }
        }
        send_migrate(connection, true);
    }

    /// What a main channel takes along.
    pub(in crate::server) fn main_migration_data(
        self: &Rc<Self>,
        connection: &Rc<Connection>,
    ) -> Result<Bytes, String> {
        self.send_answers_to_agent();
        let client = key(connection.id);
        let agent = self.attached_agent().filter(|agent| agent.client_exists(client));
        let Some(agent) = agent else {
            return Ok(without_agent().encode(&[]).into());
        };
        let (device, data) = agent.hand_over(Main::FIXED).map_err(|refusal| refusal.to_string())?;
        let (started, to_agent) =
            connection.agent_side().map(|side| side.moving()).unwrap_or_default();
        let encode = |from_agent: FromAgent<'_>| {
            Main { device, started, from_agent, to_agent }.encode(&data)
        };
        Ok(agent.kind().with_position(client, encode).into())
    }

    /// Goes on where the other host left off.
    pub(in crate::server) fn restore_main(
        self: &Rc<Self>,
        connection: &Rc<Connection>,
        whole: &Bytes,
    ) -> Result<(), String> {
        let (block, ..) = parse(whole)?;
        if !self.is_heard() {
            self.tell_multimedia_time();
        }
        let arrival = connection.agent_side().map(|mut side| std::mem::take(&mut side.arrival));
        let agents = match arrival.unwrap_or_default() {
            Arrival::Awaited { agents } => agents,
            Arrival::Settled | Arrival::Kept(_) => return Err("nobody waits for it".to_owned()),
        };
        match (block.connected, self.attached_agent()) {
            (true, Some(agent)) if agents <= 1 => self.restore_agent(&agent, connection, whole)?,
            (true, Some(agent)) => self.begin_anew(&agent, connection),
            (true, None) if agents > 0 => {
                self.send(connection, to_client::AGENT_DISCONNECTED, &NO_ERROR);
            }
            (true, None) => {
                if let Some(mut side) = connection.agent_side() {
                    side.arrival = Arrival::Kept(whole.clone());
                }
            }
            (false, Some(agent)) => {
                // It may not be waiting any more.
                let _ = agent.client_remove(key(connection.id));
                self.tell_of_agent(connection);
            }
            (false, None) => {}
        }
        Ok(())
    }

    /// The client begins anew with the agent that is there.
    fn begin_anew(&self, agent: &Agent, connection: &Connection) {
        let _ = agent.client_remove(key(connection.id));
        self.send(connection, to_client::AGENT_DISCONNECTED, &NO_ERROR);
        self.tell_of_agent(connection);
    }

    fn restore_agent(
        self: &Rc<Self>,
        agent: &Rc<Agent>,
        connection: &Rc<Connection>,
        whole: &Bytes,
    ) -> Result<(), String> {
        let (block, main, body) = parse(whole)?;
        let chunks = Chunks::resume(&main.from_agent).map_err(|unknown| unknown.to_string())?;
        let rest = match main.from_agent {
            FromAgent::Header { message, .. } | FromAgent::Chunk { message, .. } => message,
        };
        let client = key(connection.id);
        if self.is_strict() && is_under_way(&block, &main) {
            // Nobody has looked at these bytes but a client that may have written them.
            crate::warning!(
                about &**connection;
                "{connection}: what was under way between client and agent is dropped: what \
                 may pass is limited here"
            );
            let discard = Rest { fate: Fate::Discard, ..rest };
            agent.kind().resume(chunks, discard, client, Rest::default());
            self.begin_anew(agent, connection);
            self.send_client_disconnected();
            return Ok(());
        }
        self.update_monitors_way();
        agent.take_over(&block, (body, whole, Main::FIXED), || {
            if let Some(mut side) = connection.agent_side() {
                side.resume(main.started, main.to_agent);
            }
            agent.kind().resume(chunks, rest, client, main.to_agent);
        })
    }

    /// Whether not everything may pass between client and agent.
    fn is_strict(&self) -> bool {
        let Switches { copy_paste, file_transfer, .. } = self.agent_switches();
        !(copy_paste && file_transfer) || self.transfer_policy() != AgentPolicy::default()
    }
}

/// Adds a client that will bring its state.
fn await_state(agent: &Agent, connection: &Connection) -> Result<(), String> {
    let added = agent.client_add(key(connection.id), Some(flow(u32::MAX)), true);
    added.map_err(|refusal| refusal.to_string())
}

fn flow(send_tokens: u32) -> FlowControl {
    FlowControl {
        max_send_queue: limits::AGENT_QUEUE,
        client_tokens: limits::AGENT_WINDOW.into(),
        send_tokens: send_tokens.into(),
    }
}

fn parse(whole: &Bytes) -> Result<(Block, Main<'_>, Body<'_>), String> {
    let (main, body) = Main::parse(whole).map_err(|bad| bad.to_string())?;
    let block = Block::parse(&main.device).map_err(|bad| bad.to_string())?;
    body.part(Main::FIXED, block.write_data, block.write_size.into())
        .map_err(|bad| bad.to_string())?;
    Ok((block, main, body))
}

/// Whether there is more than counters.
fn is_under_way(block: &Block, main: &Main<'_>) -> bool {
    let from_agent = match main.from_agent {
        FromAgent::Header { message, .. } => message.bytes > 0,
        FromAgent::Chunk { begun, message, rest, .. } => {
            message.bytes > 0 || !begun.is_empty() || rest != ChunkRest::Exact(0)
        }
    };
    block.write_size > 0 || main.to_agent.bytes > 0 || from_agent
}

/// What says that there is no agent.
fn without_agent() -> Main<'static> {
    Main {
        device: Block::default().encode(),
        started: false,
        from_agent: FromAgent::Header { begun: &[], message: Rest::default() },
        to_agent: Rest::default(),
    }
}
