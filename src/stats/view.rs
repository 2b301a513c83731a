//! A server's statistics at one moment: plain values, for whoever writes them down.

use super::counters::Totals;
use super::endings::EndingKind;
use super::links::LinkEvent;
use super::refusals::Refusal;
use super::time::Nanoseconds;

/// A server.
#[derive(Clone, Debug)]
pub struct View {
    /// When this was.
    pub now: Nanoseconds,
    /// The virtual machine's name.
    pub vm: Option<String>,
    /// Its UUID.
    pub uuid: Option<[u8; 16]>,
    /// The process it runs in.
    pub pid: u32,
    /// Time since the server was made.
    pub up: Nanoseconds,
    /// Time of the process's other threads that the library took.
    pub host_time: Nanoseconds,
    /// What became of links.
    pub links: [(LinkEvent, u64); LinkEvent::ALL.len()],
    /// How connections ended.
    pub endings: [(EndingKind, u64); EndingKind::ALL.len()],
    /// What was refused besides.
    pub refusals: [(Refusal, u64); Refusal::ALL.len()],
    /// Over all connections that there have been.
    pub totals: Totals,
    /// Channels that clients may have.
    pub channels: Vec<ChannelView>,
    /// Clients that are there.
    pub clients: Vec<ClientView>,
}

/// A channel.
#[derive(Clone, Debug)]
pub struct ChannelView {
    /// Channel type.
    pub kind: u8,
    /// Tells channels of one type apart.
    pub id: u8,
    /// Its name, as the log has it.
    pub name: String,
    /// The port behind it.
    pub port: Option<String>,
    /// Clients that have it now.
    pub connections: usize,
    /// Over all clients that have had it.
    pub totals: Totals,
}

/// A client.
#[derive(Clone, Debug)]
pub struct ClientView {
    /// Its session's id.
    pub session: u32,
    /// Its end, as the log has it.
    pub peer: String,
    /// For how long it has been there.
    pub connected: Nanoseconds,
    /// Over all its connections, closed ones too.
    pub totals: Totals,
    /// Those it has now.
    pub connections: Vec<ConnectionView>,
}

/// A client's connection to a channel.
#[derive(Clone, Debug)]
pub struct ConnectionView {
    /// Channel type.
    pub kind: u8,
    /// The channel's id.
    pub id: u8,
    /// The channel's name.
    pub name: String,
    /// Whether it is encrypted.
    pub secured: bool,
    /// "main" or "thread".
    pub home: &'static str,
    /// What it has moved.
    pub totals: Totals,
}

impl View {
    /// The UUID as text.
    pub fn uuid_text(&self) -> Option<String> {
        let number = format!("{:032x}", u128::from_be_bytes(self.uuid?));
        let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
        Some(parts.map(|part| number[part].to_owned()).join("-"))
    }
}
