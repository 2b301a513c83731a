//! What is known of each server: the last answer, rates since the one before, and a history
//! of rates for the graphs.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::time::Instant;

use crate::server::{Numbers, Server};
use crate::source::Answer;

/// All servers.
#[derive(Default)]
pub(crate) struct Model {
    servers: Vec<Known>,
}

/// One of them.
pub(crate) struct Known {
    pub(crate) socket: PathBuf,
    pub(crate) server: Server,
    /// Why there is no newer answer.
    pub(crate) error: Option<String>,
    /// Bytes a second, the newest last.
    pub(crate) received: VecDeque<u64>,
    pub(crate) sent: VecDeque<u64>,
    rates: HashMap<Key, Rate>,
    when: Instant,
}

/// Whose rate it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Server,
    Channel(String),
    Client(u64),
    Connection(u64, String),
}

/// In a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rate {
    pub(crate) received: f64,
    pub(crate) received_messages: f64,
    pub(crate) sent: f64,
    pub(crate) sent_messages: f64,
    /// Parts of the time, 0 to 1.
    pub(crate) blocked_in: f64,
    pub(crate) blocked_out: f64,
}

/// Points of a graph: wider than terminals are.
const HISTORY: usize = 300;

impl Model {
    /// All that answered, or did once.
    pub(crate) fn servers(&self) -> &[Known] {
        &self.servers
    }

    /// Takes the answers of one asking. A server of which there is none is gone.
    pub(crate) fn take(&mut self, answers: Vec<Answer>) {
        let mut before = std::mem::take(&mut self.servers);
        for answer in answers {
            let at = before.iter().position(|known| known.socket == answer.socket);
            let known = at.map(|at| before.swap_remove(at));
            self.servers.extend(Known::after(known, answer));
        }
    }
}

impl Known {
    fn after(known: Option<Self>, answer: Answer) -> Option<Self> {
        let Answer { socket, when, result } = answer;
        let server = match result {
            Ok(document) => Server::read(&document),
            Err(error) => {
                // Shown with what it said last.
                let error = Some(error.to_string());
                return known
                    .map(|known| Self { error: error.clone(), ..known })
                    .or(Some(Self { error, ..Self::new(socket, Server::default(), when) }));
            }
        };
        // After a new start all counters begin anew.
        let known = known.filter(|known| known.server.pid == server.pid);
        let Some(mut known) = known else {
            return Some(Self::new(socket, server, when));
        };
        let passed = when.saturating_duration_since(known.when).as_secs_f64();
        let before: HashMap<_, _> = all(&known.server).collect();
        let rates = all(&server).filter_map(|(key, now)| {
            let rate = Rate::between(before.get(&key)?, &now, passed)?;
            Some((key, rate))
        });
        known.rates = rates.collect();
        let rate = known.rate(&Key::Server);
        push(&mut known.received, rate.received);
        push(&mut known.sent, rate.sent);
        Some(Self { server, when, error: None, ..known })
    }

    fn new(socket: PathBuf, server: Server, when: Instant) -> Self {
        Self {
            socket,
            server,
            error: None,
            received: VecDeque::new(),
            sent: VecDeque::new(),
            rates: HashMap::new(),
            when,
        }
    }

    /// The rate of one of its things; zero when nobody can tell yet.
    pub(crate) fn rate(&self, key: &Key) -> Rate {
        self.rates.get(key).copied().unwrap_or_default()
    }
}

impl Rate {
    fn between(before: &Numbers, now: &Numbers, passed: f64) -> Option<Self> {
        // Another one of the same name has begun.
        if passed <= 0.0 || now.received < before.received || now.sent < before.sent {
            return None;
        }
        let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / passed;
        let part = |before: f64, now: f64| ((now - before) / passed).clamp(0.0, 1.0);
        Some(Self {
            received: rate(before.received, now.received),
            received_messages: rate(before.received_messages, now.received_messages),
            sent: rate(before.sent, now.sent),
            sent_messages: rate(before.sent_messages, now.sent_messages),
            blocked_in: part(before.blocked_in, now.blocked_in),
            blocked_out: part(before.blocked_out, now.blocked_out),
        })
    }
}

/// All of a server's things and their numbers.
fn all(server: &Server) -> impl Iterator<Item = (Key, Numbers)> {
    let channels = server.channels.iter().map(|own| (Key::Channel(own.name.clone()), own.numbers));
    let clients = server.clients.iter().flat_map(|client| {
        let session = client.session;
        let connections = client
            .connections
            .iter()
            .map(move |own| (Key::Connection(session, own.name.clone()), own.numbers));
        std::iter::once((Key::Client(session), client.row.numbers)).chain(connections)
    });
    std::iter::once((Key::Server, server.numbers)).chain(channels).chain(clients)
}

fn push(history: &mut VecDeque<u64>, rate: f64) {
    if history.len() == HISTORY {
        history.pop_front();
    }
    history.push_back(rate as u64);
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io;
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    pub(crate) fn answer(when: Instant, result: io::Result<Value>) -> Answer {
        Answer { socket: "/a.socket".into(), when, result }
    }

    /// A server and its client on a port that has been sent so many bytes.
    pub(crate) fn document(pid: u64, sent: u64) -> Value {
        let port = json!({"name": "port:0", "port": "org.example", "sent_bytes": sent,
            "blocked_out_seconds": sent as f64 / 1000.0, "queued_bytes": 4096});
        json!({"format": 1, "pid": pid, "vm": "a vm", "sent_bytes": sent, "channels": [port],
            "up_seconds": 3725.0,
            "clients": [{"session": 3, "peer": "192.0.2.1:5", "sent_bytes": sent,
                "connections": [port]}]})
    }

    #[test]
    fn rates_are_differences_by_time() {
        let (mut model, begin) = (Model::default(), Instant::now());
        let later = |seconds| begin + Duration::from_secs(seconds);
        model.take(vec![answer(begin, Ok(document(1, 100)))]);
        assert_eq!(model.servers()[0].rate(&Key::Server), Rate::default());
        model.take(vec![answer(later(2), Ok(document(1, 1100)))]);
        let known = &model.servers()[0];
        assert!((known.rate(&Key::Server).sent - 500.0).abs() < 1e-9);
        let connection = known.rate(&Key::Connection(3, "port:0 org.example".to_owned()));
        assert!((connection.blocked_out - 0.5).abs() < 1e-9);
        assert_eq!(known.sent, [500]);
        model.take(vec![answer(later(3), Err(io::Error::other("gone")))]);
        assert_eq!(model.servers()[0].error.as_deref(), Some("gone"));
        assert_eq!(model.servers()[0].server.numbers.sent, 1100);
        model.take(vec![answer(later(4), Ok(document(2, 5)))]);
        assert!(model.servers()[0].sent.is_empty(), "another process");
        model.take(Vec::new());
        assert!(model.servers().is_empty());
    }
}
