//! What clients say to the agent on their main channels.

use std::rc::Rc;

use bytes::Bytes;

use super::answers::audit;
use super::migration::Arrival;
use super::{Agent, key};
use crate::channels::agent::Side;
use crate::channels::agent::audit::Record;
use crate::channels::agent::capabilities::{Capabilities, Change};
use crate::channels::agent::filter::{Filter, Verdict};
use crate::channels::agent::monitors::Monitors;
use crate::channels::agent::policy::{Answer, Decision, Forward, Lane};
use crate::chardev::{FlowControl, Origin};
use crate::config::limits;
use crate::server::Server;
use crate::server::connection::Connection;
use crate::wire::agent::MonitorsConfig;
use crate::wire::migration::main::Rest;

/// What a main channel remembers of its talk with the agent.
#[derive(Debug, Default)]
pub(in crate::server) struct ClientSide {
    /// It has begun since the agent was attached.
    started: bool,
    filter: Filter,
    lane: Lane,
    monitors: Monitors,
    pub(super) arrival: Arrival,
}

impl ClientSide {
    /// The agent is gone: the rest of the present message is for nobody.
    pub(super) fn stop(&mut self) {
        self.started = false;
        self.filter.abandon();
    }

    /// What moves to another host: whether it has begun, and the rest of its message.
    pub(super) fn moving(&self) -> (bool, Rest) {
        (self.started, self.filter.rest(self.lane.lets_pass()))
    }

    /// Goes on where it was on another host.
    pub(super) fn resume(&mut self, started: bool, rest: Rest) {
        self.started = started;
        self.filter = Filter::resume(rest);
        self.lane = Lane::default();
    }
}

/// What is to be done with a piece.
#[derive(Default)]
struct Fate {
    /// These bytes go to the agent.
    forward: Option<Bytes>,
    /// The message that they belong to is to be continued.
    inside: bool,
    answers: Vec<Answer>,
    record: Option<Record>,
    /// It was the last piece of the client's monitors.
    monitors: Option<MonitorsConfig>,
}

impl Server {
    /// The client begins with the agent and takes so many pieces of the agent's messages.
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

    /// The client takes so many more pieces.
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

    /// A piece of a message for the agent.
    pub(in crate::server) fn handle_agent_data(
        self: &Rc<Self>,
        connection: &Rc<Connection>,
        piece: &Bytes,
    ) -> Result<(), String> {
        let client = key(connection.id);
        let started = connection.agent_side().is_some_and(|side| side.started);
        let agent = self.attached_agent().filter(|_| started);
        if let Some(agent) = &agent {
            agent.take_client_token(client).map_err(|refusal| refusal.to_string())?;
        }
        let fate = self.judge_piece(connection, piece, agent.as_ref())?;
        let Some(agent) = agent else {
            return Ok(());
        };
        match fate.forward {
            Some(bytes) => {
                agent.kind().note_spoken(client, fate.inside);
                agent.add_of_client(client, &bytes);
            }
            None => {
                let _ = agent.release(Origin::Client(client), 1);
            }
        }
        audit(connection, fate.record.as_slice());
        for Answer { to, message } in fate.answers {
            match to {
                Side::Client => self.answer_client(client, message),
                Side::Guest => self.answer_agent(message),
            }
        }
        if let Some(config) = fate.monitors {
            self.configure_monitors(&config);
        }
        self.send_answers_to_agent();
        Ok(())
    }

    /// What becomes of a piece, `agent` being the one that would hear it.
    fn judge_piece(
        &self,
        connection: &Connection,
        piece: &Bytes,
        agent: Option<&Rc<Agent>>,
    ) -> Result<Fate, String> {
        let switches = self.agent_switches();
        let Some(mut side) = connection.agent_side() else {
            return Ok(Fate::default());
        };
        let ClientSide { filter, lane, monitors, .. } = &mut *side;
        // With several clients a message that begins inside another one's is lost.
        let agent = agent.filter(|agent| agent.kind().may_speak(key(connection.id)));
        let part =
            filter.handle(piece, agent.is_some(), switches).map_err(|broken| broken.to_string())?;
        let Some(agent) = agent else {
            return Ok(Fate::default());
        };
        match part.verdict {
            Verdict::Discard => Ok(Fate::default()),
            Verdict::Monitors => {
                let monitors = monitors.handle(&part).map_err(|bad| bad.to_string())?;
                Ok(Fate { monitors, ..Fate::default() })
            }
            Verdict::Pass | Verdict::Refuse => {
                let mut talk = agent.kind().talk.borrow_mut();
                talk.client.handle(&part, Change::default());
                let Decision { forward, answers, record } =
                    lane.handle(Side::Client, &part, || self.transfer_policy(), &mut talk);
                let forward = match forward {
                    Forward::AsItIs => Some(piece.slice(..part.length())),
                    Forward::Nothing => None,
                    Forward::Instead(bytes) => Some(Bytes::from(bytes)),
                };
                let inside = lane.is_inside(&part);
                Ok(Fate { forward, inside, answers, record, monitors: None })
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
            agent.kind().talk.borrow_mut().client = Capabilities::default();
            audit(connection, &self.unfinished(&agent));
        }
        if last || interrupted {
            self.send_client_disconnected();
        }
        self.send_answers_to_agent();
    }
}
