//! What clients say to the agent on their main channels.

use std::rc::Rc;

use super::key;
use crate::channels::agent::filter::{Filter, Part, Verdict};
use crate::channels::agent::monitors::Monitors;
use crate::chardev::{FlowControl, Origin};
use crate::config::limits;
use crate::server::Server;
use crate::server::connection::Connection;
use crate::wire::agent::{Head, MonitorsConfig};

/// What a main channel remembers of its talk with the agent.
#[derive(Debug, Default)]
pub(in crate::server) struct ClientSide {
    /// It has begun since the agent was attached.
    started: bool,
    filter: Filter,
    monitors: Monitors,
}

impl ClientSide {
    /// The agent is gone: the rest of the present message is for nobody.
    pub(super) fn stop(&mut self) {
        self.started = false;
        self.filter.abandon();
    }
}

/// What is to be done with a piece.
enum Fate {
    /// It goes to the agent, so many bytes of it; the message ends there or does not.
    Pass(usize, bool),
    /// It was the last one of the client's monitors.
    Monitors(MonitorsConfig),
    /// Nothing.
    Drop,
}

impl Server {
    /// AGENT_START: the client takes so many pieces of the agent's messages.
    pub(in crate::server) fn handle_agent_start(
        self: &Rc<Self>,
        connection: &Rc<Connection>,
        tokens: u32,
    ) -> Result<(), String> {
        let Some(agent) = self.attached_agent() else {
            crate::debug!("{}: AGENT_START without an agent, ignored", connection.peer);
            return Ok(());
        };
        self.update_monitors_way();
        if let Some(mut side) = connection.agent_side() {
            side.started = true;
        }
        let client = key(connection.id);
        if agent.client_exists(client) {
            let granted = agent.grant_send_tokens(client, tokens.into(), true);
            granted.map_err(|unknown| unknown.to_string())?;
        } else {
            agent.kind().expect_client(client);
            let flow = FlowControl {
                max_send_queue: limits::AGENT_QUEUE,
                client_tokens: limits::AGENT_WINDOW.into(),
                send_tokens: tokens.into(),
            };
            agent.client_add(client, Some(flow), false).map_err(|refusal| refusal.to_string())?;
        }
        self.send_graphics_device_info();
        Ok(())
    }

    /// AGENT_TOKEN: the client takes so many more pieces.
    pub(in crate::server) fn handle_agent_token(
        self: &Rc<Self>,
        connection: &Rc<Connection>,
        tokens: u32,
    ) {
        let granted = self
            .attached_agent()
            .map(|agent| agent.grant_send_tokens(key(connection.id), tokens.into(), false));
        if granted.is_none_or(|granted| granted.is_err()) {
            crate::debug!("{}: AGENT_TOKEN before AGENT_START, ignored", connection.peer);
        }
    }

    /// AGENT_DATA: a piece of a message for the agent.
    pub(in crate::server) fn handle_agent_data(
        self: &Rc<Self>,
        connection: &Rc<Connection>,
        piece: &[u8],
    ) -> Result<(), String> {
        let client = key(connection.id);
        let started = connection.agent_side().is_some_and(|side| side.started);
        let agent = self.attached_agent().filter(|_| started);
        if let Some(agent) = &agent {
            agent.take_client_token(client).map_err(|refusal| refusal.to_string())?;
        }
        let fate = self.judge_piece(connection, piece, agent.is_some())?;
        let Some(agent) = agent else {
            return Ok(());
        };
        if let Fate::Pass(length, ends) = fate
            && agent.kind().may_speak(client)
        {
            agent.kind().note_spoken(client, ends);
            agent.add_of_client(client, &piece[..length]);
            return Ok(());
        }
        let _ = agent.release(Origin::Client(client), 1);
        if let Fate::Monitors(config) = fate {
            self.configure_monitors(&config);
        }
        Ok(())
    }

    fn judge_piece(
        &self,
        connection: &Connection,
        piece: &[u8],
        open: bool,
    ) -> Result<Fate, String> {
        let switches = self.agent_switches();
        let Some(mut side) = connection.agent_side() else {
            return Ok(Fate::Drop);
        };
        let ClientSide { filter, monitors, .. } = &mut *side;
        let part = filter.handle(piece, open, switches).map_err(|broken| broken.to_string())?;
        match part.verdict {
            Verdict::Pass => Ok(Fate::Pass(length(&part), part.ends)),
            Verdict::Discard | Verdict::Refuse => Ok(Fate::Drop),
            Verdict::Monitors => {
                let whole = monitors.handle(&part).map_err(|bad| bad.to_string())?;
                Ok(whole.map_or(Fate::Drop, Fate::Monitors))
            }
        }
    }

    /// Passes a client's monitors to the graphics devices.
    fn configure_monitors(&self, config: &MonitorsConfig) {
        let displays = self.displays.borrow().clone();
        for display in displays {
            display.device().client_monitors_config(Some(&mut config.encode()));
        }
    }

    /// Looks whether the graphics devices take the clients' monitors: all of them, and
    /// there is one.
    pub(super) fn update_monitors_way(&self) {
        let displays = self.displays.borrow().clone();
        let all = displays.iter().all(|display| display.device().client_monitors_config(None));
        self.monitors_to_display.set(all && !displays.is_empty());
    }

    /// A client's session has ended.
    pub(in crate::server) fn leave_agent(self: &Rc<Self>, connection: &Connection) {
        let Some(agent) = self.agent.borrow().clone() else {
            return;
        };
        // It may never have begun with the agent.
        let _ = agent.client_remove(key(connection.id));
        let interrupted = agent.kind().forget_client(key(connection.id));
        let last = self.client_count() == 0;
        if last {
            agent.kind().abandon_message();
        }
        if last || interrupted {
            self.send_client_disconnected();
        }
    }
}

/// How much of its piece a part is.
fn length(part: &Part<'_>) -> usize {
    part.body.len() + if part.head.is_some() { Head::BYTES } else { 0 }
}
