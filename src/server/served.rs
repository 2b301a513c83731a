//! A channel other than the main channel, as sessions see it: what clients are
//! offered, and who acts on what they send.
//!
//! Runs under the host's serialisation. A channel is shared by its connections; what
//! belongs to one of them is kept by the channel under the connection's id.

use std::rc::Rc;

use bytes::Bytes;

use super::Server;
use super::connection::Connection;
#[cfg(doc)]
use super::connection::Passage;
use super::handover::send_migrate;
use super::start::common_caps;
use crate::channel::framing::{Message, Rules};
use crate::channel::packer::Packer;
use crate::channel::run::{Parcel, Run};
use crate::config::limits;
use crate::config::registry::Policy;
use crate::link::Offer;
use crate::log::Subject;
use crate::wire::ChannelKey;
use crate::wire::link::CapSet;

/// A channel that clients link to.
pub(super) trait Served {
    /// Its type and id.
    fn channel(&self) -> ChannelKey;

    /// As the log names it.
    fn label(&self) -> String;

    /// What it offers besides what all channels offer.
    fn capabilities(&self) -> CapSet;

    /// How its connections are built.
    fn terms(&self) -> Terms;

    /// What rewrites messages to a client with these capabilities on their way out. Its
    /// connection lives on the I/O thread.
    fn packer(&self, _caps: &CapSet) -> Option<Box<dyn Packer>> {
        None
    }

    /// Whether its packets are to go before others.
    fn is_urgent(&self) -> bool {
        false
    }

    /// From how many unsent bytes on [`Connection::is_full`].
    fn full_at(&self) -> usize {
        limits::DEVICE_TO_CLIENT
    }

    /// Whether several clients may have it at a time, so that it is listed to each.
    fn is_shared(&self) -> bool;

    /// Whether a client from `newcomer` may have it now. If another one is in the way,
    /// that one may be closed here.
    fn make_way(&self, _server: &Rc<Server>, _newcomer: &str) -> bool {
        true
    }

    /// The port behind it, if it is one.
    fn port(&self) -> Option<String> {
        None
    }

    /// A client is linked; what the channel says first is sent from here. One that comes
    /// from another host and brings the channel's state is [`Passage::Awaited`].
    fn attach(&self, connection: &Rc<Connection>);

    /// The same for a client that comes from another host without any state, because the
    /// channel has none that moves: it has already been told what a newcomer is told.
    fn attach_moved(&self, connection: &Rc<Connection>) {
        self.attach(connection);
    }

    /// Whether a client that goes to another host takes the channel's state along.
    fn moves(&self) -> bool {
        false
    }

    /// The client goes to another host: what is left to say is said, and MIGRATE behind it.
    fn send_off(&self, connection: &Rc<Connection>) {
        send_migrate(connection, self.moves());
    }

    /// What the client takes along: the body of MIGRATE_DATA. Asked once, when the client
    /// has said all that it had to say here.
    fn migration_data(&self, _connection: &Rc<Connection>) -> Result<Bytes, String> {
        Err("the channel has no state that moves".to_owned())
    }

    /// Goes on where the other host left off.
    fn restore(&self, _connection: &Rc<Connection>, _body: &Bytes) -> Result<(), String> {
        Err("the channel has no state that moves".to_owned())
    }

    /// A connection is closed, whether it was attached or not.
    fn detach(&self, connection: &Rc<Connection>);

    /// A client's message.
    fn handle_message(&self, connection: &Rc<Connection>, message: Message) -> Outcome;

    /// A client's data messages. Only channels with [`Terms::data`] get any.
    fn handle_run(&self, _connection: &Rc<Connection>, _run: Run) -> Outcome {
        Outcome::Refused("data on a channel that carries none".to_owned())
    }

    /// The queue towards a client was found full ([`Connection::is_full`]) and has shrunk.
    fn handle_drained(&self, connection: &Rc<Connection>);
}

/// How connections of a channel are built.
pub(super) struct Terms {
    /// How large a client's messages may be.
    pub(super) rules: Rules,
    /// Size of an outgoing chunk in bytes.
    pub(super) chunk: usize,
    /// For channels that carry a device's data as they are.
    pub(super) data: Option<DataTerms>,
    /// Whether so much is sent that the system calls must not be made with the host's lock.
    pub(super) busy: bool,
}

/// What only channels that carry a device's data as they are have.
pub(super) struct DataTerms {
    pub(super) policy: Policy,
}

/// What became of a client's message.
pub(super) enum Outcome {
    /// Done.
    Handled,
    /// Its receiver is full: keep it and come back.
    Full(Parcel),
    /// The client broke the protocol.
    Refused(String),
}

/// Size of an outgoing chunk on channels that carry a device's data: four reads.
pub(super) const DEVICE_CHUNK: usize = 256 * 1024;
/// On channels that carry only small messages.
pub(super) const SMALL_CHUNK: usize = 8 * 1024;

impl Server {
    /// Puts a channel on offer: clients may link to it from now on, and those that know
    /// the list are told.
    pub(super) fn offer_channel(self: &Rc<Self>, served: Rc<dyn Served>) {
        let channel = served.channel();
        let channel_caps = served.capabilities();
        let offer = Offer { common_caps: common_caps(), channel_caps };
        let label = served.label();
        crate::info!(about &Subject::channel(&label); "{label} is there ({channel})");
        let name = label.strip_prefix("channel ").unwrap_or(&label).to_owned();
        self.statistics.add_channel(channel.kind, channel.id, name, served.port());
        self.channels.borrow_mut().insert(0, served);
        self.policy.change(|policy| policy.channels.insert(0, (channel, offer)));
        self.announce(channel);
        if channel.kind == ChannelKey::DISPLAY {
            self.update_mouse_mode();
        }
    }

    /// Takes a channel back: its clients are cut.
    pub(super) fn withdraw_channel(self: &Rc<Self>, channel: ChannelKey, reason: &str) {
        if let Some(served) = self.channel_of(channel) {
            let label = served.label();
            crate::info!(about &Subject::channel(&label); "{label} is gone: {reason}");
        }
        self.channels.borrow_mut().retain(|served| served.channel() != channel);
        self.policy.change(|policy| policy.channels.retain(|(other, _)| *other != channel));
        for connection in self.connections_of(channel) {
            self.close_connection(&connection, reason);
        }
        self.statistics.remove_channel(channel.kind, channel.id);
        if channel.kind == ChannelKey::DISPLAY {
            self.update_mouse_mode();
        }
    }

    /// The channel of this type and id.
    pub(super) fn channel_of(&self, channel: ChannelKey) -> Option<Rc<dyn Served>> {
        self.channels.borrow().iter().find(|served| served.channel() == channel).cloned()
    }

    /// The lowest id that no channel of this type has.
    pub(super) fn free_channel_id(&self, kind: u8) -> Option<u8> {
        (0..=u8::MAX).find(|&id| self.channel_of(ChannelKey { kind, id }).is_none())
    }

    /// Whether this client has the channel by another connection too. That one may have
    /// ended already, and the main loop comes to it only after the newcomer.
    pub(super) fn is_linked_twice(self: &Rc<Self>, newcomer: &Connection) -> bool {
        let mut others = self.connections_of(newcomer.channel);
        others.retain(|other| other.session == newcomer.session && other.id != newcomer.id);
        others.iter().any(|other| {
            self.handle_ready(other.id, true, false);
            !other.is_closed()
        })
    }

    /// The connections that are linked to a channel.
    pub(super) fn connections_of(&self, channel: ChannelKey) -> Vec<Rc<Connection>> {
        let connections = self.connections.borrow();
        connections.values().filter(|other| other.channel == channel).cloned().collect()
    }
}
