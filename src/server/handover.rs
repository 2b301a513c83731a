//! A client's channels on their way from one host to another: what each takes along, and
//! what it brings (docs/protocol/migration-data.md).
//!
//! Runs under the host's serialisation. When which client moves is not decided here: the
//! caller says [`Server::send_off`] when a channel of the client's is to leave, and
//! [`Server::receive`] when one has come. The framer of one that brings its state is made
//! `with_migration_data`.

use std::rc::Rc;

use bytes::Bytes;

use super::Server;
use super::connection::{Connection, Passage, Role};
use super::driver::{Driver, Kind};
use super::served::Outcome;
use crate::channel::ending::Ending;
use crate::channel::run::Parcel;
use crate::chardev::{Block, MigrateRefusal};
use crate::wire::common::{ACK, ACK_SYNC, DISCONNECTING, MIGRATE_DATA, MIGRATE_FLUSH_MARK, PONG};
use crate::wire::main::{self, is_arrivals_word};
use crate::wire::migration::{Body, CHAR_DEVICE, MIGRATE, flag};

/// Queues MIGRATE; from now on the client is sent nothing but its MIGRATE_DATA, if the
/// channel has any.
pub(super) fn send_migrate(connection: &Connection, with_data: bool) {
    let flags = if with_data { flag::NEED_FLUSH | flag::NEED_DATA } else { 0 };
    // A connection that is broken is noticed when it is read.
    let _ = connection.send(MIGRATE, &flags.to_le_bytes());
    connection.leave();
}

impl Server {
    /// Sends one channel of a client's to the other host. The VM stands still.
    pub(super) fn send_off(self: &Rc<Self>, connection: &Rc<Connection>) {
        if connection.passage() != Passage::Settled || connection.is_closed() {
            return;
        }
        match &connection.role {
            Role::Main(_) => self.send_off_main(connection),
            Role::Served(served) => served.send_off(connection),
        }
        // What waited for room moves along instead.
        if connection.is_held() {
            connection.release();
            self.pump(connection);
        }
    }

    /// A client that comes from another host has linked to a channel, and brings the states
    /// of those that have any. From here on the channel knows the connection.
    pub(super) fn receive(self: &Rc<Self>, connection: &Rc<Connection>) {
        match &connection.role {
            Role::Main(_) => self.await_main(connection),
            Role::Served(served) if served.moves() => {
                connection.await_migration_data();
                served.attach(connection);
            }
            Role::Served(served) => served.attach_moved(connection),
        }
    }

    /// Takes what belongs to the client's move; gives back what is the channel's own.
    pub(super) fn handle_passing(
        self: &Rc<Self>,
        connection: &Rc<Connection>,
        parcel: Parcel,
    ) -> Result<Parcel, Outcome> {
        let kind = match &parcel {
            Parcel::Message(message) => Some(message.kind),
            Parcel::Run(_) => None,
        };
        if kind == Some(PONG) && connection.passage() != Passage::Parked {
            // The session's liveness is watched meanwhile.
            return Ok(parcel);
        }
        match (connection.passage(), kind) {
            (Passage::Parked, Some(DISCONNECTING)) => Err(Outcome::Handled),
            (Passage::Parked, kind) => match &connection.role {
                Role::Main(_) if kind.is_some_and(is_arrivals_word) => Ok(parcel),
                Role::Main(_) => Err(Outcome::Handled),
                Role::Served(_) => Err(Outcome::Full(parcel)),
            },
            // Whoever comes may have said these before it thought of moving on.
            (Passage::Awaited | Passage::Gone, Some(DISCONNECTING | ACK_SYNC | ACK)) => {
                Err(Outcome::Handled)
            }
            (Passage::Awaited, Some(main::ATTACH_CHANNELS)) if connection.channel.is_main() => {
                crate::debug!("{connection}: it asks for channels before it has moved, ignored");
                Err(Outcome::Handled)
            }
            (Passage::Awaited, Some(MIGRATE_DATA)) => {
                let Parcel::Message(message) = parcel else { return Ok(parcel) };
                Err(self.take_in(connection, &message.body))
            }
            (Passage::Finishing | Passage::Leaving, Some(MIGRATE_FLUSH_MARK))
                if moves(connection) =>
            {
                Err(self.hand_over(connection))
            }
            (Passage::Settled | Passage::Finishing | Passage::Leaving, _) => Ok(parcel),
            (Passage::Awaited, _) => {
                Err(Outcome::Refused("a message before the migration data".to_owned()))
            }
            (Passage::Gone, _) => {
                Err(Outcome::Refused("a message behind the flush mark".to_owned()))
            }
        }
    }

    /// The client has said all that it had to say here.
    fn hand_over(self: &Rc<Self>, connection: &Rc<Connection>) -> Outcome {
        let data = match &connection.role {
            Role::Main(_) => self.main_migration_data(connection),
            Role::Served(served) => served.migration_data(connection),
        };
        match data {
            Ok(body) => {
                crate::debug!("{connection}: {} bytes of migration data", body.len());
                if let Err(error) = connection.send_migration_data(body) {
                    self.doom(connection, Ending::fault(error));
                }
                Outcome::Handled
            }
            Err(reason) => Outcome::Refused(format!("the channel cannot be moved: {reason}")),
        }
    }

    /// The client has brought the channel's state.
    fn take_in(self: &Rc<Self>, connection: &Rc<Connection>, body: &Bytes) -> Outcome {
        connection.settle_down();
        let restored = match &connection.role {
            Role::Main(_) => self.restore_main(connection, body),
            Role::Served(served) => served.restore(connection, body),
        };
        match restored {
            Ok(()) => {
                self.settle_arrival(connection.session);
                Outcome::Handled
            }
            Err(reason) => Outcome::Refused(format!("migration data refused: {reason}")),
        }
    }
}

fn moves(connection: &Connection) -> bool {
    match &connection.role {
        Role::Main(_) => true,
        Role::Served(served) => served.moves(),
    }
}

impl<K: Kind<Buffer = Bytes>> Driver<K> {
    /// The device's block and the bytes that it has not taken, for a body in which they
    /// stand at `at`.
    pub(super) fn hand_over(
        &self,
        at: usize,
    ) -> Result<([u8; CHAR_DEVICE], Vec<u8>), MigrateRefusal> {
        let (mut block, moving) = self.migrate_out()?;
        let mut data = Vec::with_capacity(block.write_size as usize);
        for part in moving {
            data.extend_from_slice(&part.buffer[part.from..part.to]);
        }
        block.write_data = if data.is_empty() { 0 } else { at as u32 };
        Ok((block.encode(), data))
    }

    /// Goes on where the other host left off, by the block in `whole`, which is a body with
    /// `fixed` bytes of fields. `ready` is called when nothing can be refused any more and
    /// nothing has moved yet.
    pub(super) fn take_over(
        &self,
        block: &Block,
        (body, whole, fixed): (Body<'_>, &Bytes, usize),
        ready: impl FnOnce(),
    ) -> Result<(), String> {
        let data = body
            .part(fixed, block.write_data, block.write_size.into())
            .map_err(|bad| bad.to_string())?;
        self.check_restore(block, data.len()).map_err(|refusal| refusal.to_string())?;
        ready();
        let data = (!data.is_empty()).then(|| (whole.slice_ref(data), data.len()));
        self.restore(block, data).map_err(|refusal| refusal.to_string())
    }
}
