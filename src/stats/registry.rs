//! What a server consists of at the moment, with everybody's counters: clients, channels,
//! connections.
//!
//! The main thread enters and strikes out; any thread reads. The lock is held for some
//! microseconds by either, and never where bytes move. What a connection has moved is added
//! to its client, its channel and the server when it is struck out, under the same lock, so
//! that no sum ever shrinks and nothing is in it twice.

use std::sync::Arc;

use parking_lot::Mutex;

use super::counters::{Counters, Totals};
use super::endings::{EndingCounters, EndingKind};
use super::links::{LinkCounters, LinkEvent};
use super::refusals::{Refusal, RefusalCounters};
use super::time::{Nanoseconds, host_time, now};
use super::view::{ChannelView, ClientView, ConnectionView, View};

/// A server as readers see it.
#[derive(Debug)]
pub struct ServerStatistics {
    started: Nanoseconds,
    links: Arc<LinkCounters>,
    endings: EndingCounters,
    refusals: Arc<RefusalCounters>,
    roster: Mutex<Roster>,
}

/// Who a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLabel {
    /// Its name since it was accepted.
    pub id: u64,
    /// The session it belongs to.
    pub session: u32,
    /// Type of its channel.
    pub kind: u8,
    /// The channel's id.
    pub channel_id: u8,
    /// Whether it is encrypted.
    pub secured: bool,
    /// Where it lives, as the configuration says it.
    pub home: &'static str,
}

#[derive(Debug, Default)]
struct Roster {
    vm: Option<Vec<u8>>,
    uuid: Option<[u8; 16]>,
    clients: Vec<ClientEntry>,
    channels: Vec<ChannelEntry>,
    connections: Vec<ConnectionEntry>,
    /// Of connections that are closed.
    gone: Totals,
}

#[derive(Debug)]
struct ClientEntry {
    session: u32,
    peer: String,
    since: Nanoseconds,
    gone: Totals,
}

#[derive(Debug)]
struct ChannelEntry {
    kind: u8,
    id: u8,
    name: String,
    port: Option<String>,
    gone: Totals,
}

#[derive(Debug)]
struct ConnectionEntry {
    label: ConnectionLabel,
    counters: Arc<Counters>,
}

impl Default for ServerStatistics {
    fn default() -> Self {
        Self {
            started: now(),
            links: Arc::default(),
            endings: EndingCounters::default(),
            refusals: Arc::default(),
            roster: Mutex::default(),
        }
    }
}

impl ServerStatistics {
    /// Which virtual machine this is.
    pub fn identify(&self, vm: Option<&[u8]>, uuid: Option<[u8; 16]>) {
        let mut roster = self.roster.lock();
        roster.vm = vm.map(<[u8]>::to_vec);
        roster.uuid = uuid;
    }

    /// What becomes of links.
    pub fn links(&self) -> &Arc<LinkCounters> {
        &self.links
    }

    /// How connections end.
    pub fn count_ending(&self, kind: EndingKind) {
        self.endings.count(kind);
    }

    /// What guests, devices and clients were refused.
    pub fn refusals(&self) -> &Arc<RefusalCounters> {
        &self.refusals
    }

    /// A channel is there: its type, id, name, and the port behind it.
    pub fn add_channel(&self, kind: u8, id: u8, name: String, port: Option<String>) {
        let gone = Totals::default();
        self.roster.lock().channels.push(ChannelEntry { kind, id, name, port, gone });
    }

    /// A channel is there no more. What it has moved stays in the server's sum.
    pub fn remove_channel(&self, kind: u8, id: u8) {
        self.roster.lock().channels.retain(|channel| (channel.kind, channel.id) != (kind, id));
    }

    /// A client is there.
    pub fn add_client(&self, session: u32, peer: &str) {
        let peer = peer.to_owned();
        let gone = Totals::default();
        self.roster.lock().clients.push(ClientEntry { session, peer, since: now(), gone });
    }

    /// A client is there no more.
    pub fn remove_client(&self, session: u32) {
        self.roster.lock().clients.retain(|client| client.session != session);
    }

    /// A connection is there, with its counters.
    pub fn add_connection(&self, label: ConnectionLabel, counters: Arc<Counters>) {
        self.roster.lock().connections.push(ConnectionEntry { label, counters });
    }

    /// A connection is there no more. What it has moved stays with its client, its channel
    /// and the server.
    pub fn remove_connection(&self, id: u64) {
        let mut roster = self.roster.lock();
        let Some(at) = roster.connections.iter().position(|other| other.label.id == id) else {
            return;
        };
        let ConnectionEntry { label, counters } = roster.connections.swap_remove(at);
        let totals = counters.totals(now()).closed();
        roster.gone.add(&totals);
        for client in roster.clients.iter_mut().filter(|other| other.session == label.session) {
            client.gone.add(&totals);
        }
        let is_its =
            |other: &&mut ChannelEntry| (other.kind, other.id) == (label.kind, label.channel_id);
        for channel in roster.channels.iter_mut().filter(is_its) {
            channel.gone.add(&totals);
        }
    }

    /// What a channel has moved over all its clients; `None`: there is none.
    pub fn channel_totals(&self, kind: u8, id: u8) -> Option<Totals> {
        let roster = self.roster.lock();
        let channel = roster.channels.iter().find(|own| (own.kind, own.id) == (kind, id))?;
        let mut totals = channel.gone;
        for own in roster.connections.iter().filter(|own| own.label.is_on(kind, id)) {
            totals.add(&own.counters.totals(now()));
        }
        Some(totals)
    }

    /// Everything at this moment.
    pub fn view(&self) -> View {
        let now = now();
        let roster = self.roster.lock();
        let read: Vec<_> = roster
            .connections
            .iter()
            .map(|connection| (&connection.label, connection.counters.totals(now)))
            .collect();
        let sum = |gone: Totals, whose: &dyn Fn(&ConnectionLabel) -> bool| {
            let mut totals = gone;
            read.iter().filter(|(label, _)| whose(label)).for_each(|(_, own)| totals.add(own));
            totals
        };
        let name_of = |label: &ConnectionLabel| {
            let own = roster.channels.iter().find(|channel| label.is_on(channel.kind, channel.id));
            own.map_or_else(
                || format!("channel-{}:{}", label.kind, label.channel_id),
                |channel| channel.name.clone(),
            )
        };
        let channels = roster.channels.iter().map(|channel| ChannelView {
            kind: channel.kind,
            id: channel.id,
            name: channel.name.clone(),
            port: channel.port.clone(),
            connections: read
                .iter()
                .filter(|(label, _)| label.is_on(channel.kind, channel.id))
                .count(),
            totals: sum(channel.gone, &|label| label.is_on(channel.kind, channel.id)),
        });
        let connections = |session: u32| {
            let own = read.iter().filter(move |(label, _)| label.session == session);
            own.map(|(label, totals)| ConnectionView {
                kind: label.kind,
                id: label.channel_id,
                name: name_of(label),
                secured: label.secured,
                home: label.home,
                totals: *totals,
            })
            .collect()
        };
        let clients = roster.clients.iter().map(|client| ClientView {
            session: client.session,
            peer: client.peer.clone(),
            connected: now.saturating_sub(client.since),
            totals: sum(client.gone, &|label| label.session == client.session),
            connections: connections(client.session),
        });
        View {
            now,
            vm: roster.vm.as_ref().map(|name| String::from_utf8_lossy(name).into_owned()),
            uuid: roster.uuid,
            pid: std::process::id(),
            up: now.saturating_sub(self.started),
            host_time: host_time(),
            links: LinkEvent::ALL.map(|event| (event, self.links.total(event))),
            endings: EndingKind::ALL.map(|kind| (kind, self.endings.total(kind))),
            refusals: Refusal::ALL.map(|refusal| (refusal, self.refusals.total(refusal))),
            totals: sum(roster.gone, &|_| true),
            channels: channels.collect(),
            clients: clients.collect(),
        }
    }
}

impl ConnectionLabel {
    fn is_on(&self, kind: u8, id: u8) -> bool {
        (self.kind, self.channel_id) == (kind, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(id: u64, session: u32, kind: u8) -> ConnectionLabel {
        ConnectionLabel { id, session, kind, channel_id: 0, secured: false, home: "main" }
    }

    fn open(server: &ServerStatistics, label: ConnectionLabel) -> Arc<Counters> {
        let counters = Arc::<Counters>::default();
        server.add_connection(label, Arc::clone(&counters));
        counters
    }

    #[test]
    fn what_a_closed_connection_moved_stays_in_every_sum() {
        let server = ServerStatistics::default();
        server.add_channel(1, 0, "main:0".to_owned(), None);
        server.add_channel(10, 0, "port:0".to_owned(), Some("org.example".to_owned()));
        for session in [7, 8] {
            server.add_client(session, "local");
            open(&server, label(session.into(), session, 1)).received(5, 1);
        }
        let port = open(&server, label(20, 7, 10));
        port.received(100, 1);
        port.set_queued(30);
        let sums = |server: &ServerStatistics| {
            let view = server.view();
            let client = view.clients.iter().find(|client| client.session == 7).cloned();
            let channel = view.channels.iter().find(|channel| channel.kind == 10).cloned();
            [
                view.totals.received_bytes,
                client.map_or(0, |client| client.totals.received_bytes),
                channel.map_or(0, |channel| channel.totals.received_bytes),
                view.totals.queued,
            ]
        };
        assert_eq!(sums(&server), [110, 105, 100, 30]);
        server.remove_connection(20);
        server.remove_connection(20);
        assert_eq!(sums(&server), [110, 105, 100, 0]);
        open(&server, label(21, 7, 10)).received(1, 1);
        assert_eq!(sums(&server), [111, 106, 101, 0]);
        assert_eq!(server.channel_totals(10, 0).map(|own| own.received_bytes), Some(101));
        assert_eq!(server.channel_totals(10, 1), None);
        server.remove_client(7);
        server.remove_channel(10, 0);
        assert_eq!(sums(&server), [111, 0, 0, 0]);
    }

    #[test]
    fn a_client_has_its_connections_by_name() {
        let server = ServerStatistics::default();
        server.add_channel(1, 0, "main:0".to_owned(), None);
        server.add_client(9, "192.0.2.1:5");
        open(&server, label(1, 9, 1));
        open(&server, label(2, 9, 77));
        let view = server.view();
        let names: Vec<_> = view.clients[0].connections.iter().map(|own| &*own.name).collect();
        assert_eq!(names, ["main:0", "channel-77:0"]);
        assert_eq!(view.channels[0].connections, 1);
    }
}
