//! What of a device moves to another host with its one client.
//!
//! The block is 25 bytes, little endian (docs/protocol/char-device.md,
//! "Migration block"). What comes in is hostile until proved otherwise.

use super::client::Client;
use super::device::{Action, Device, Origin, Pending, Write};

/// The fields of the block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// False for the block of a device without a client: everything else is 0.
    pub connected: bool,
    /// What the client may still send.
    pub client_tokens: u32,
    /// What may still be sent to the client.
    pub send_tokens: u32,
    /// Bytes that the device has not taken yet.
    pub write_size: u32,
    /// The client's tokens that those bytes cost.
    pub write_client_tokens: u32,
    /// Where the bytes are, counted from the start of the message's body; 0 for none.
    pub write_data: u32,
}

/// Bytes that move along with a block, oldest first.
pub type Moving<B> = Vec<Write<B>>;

/// Why a block is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// It ends too early.
    #[error("the migration block is too short")]
    Short,
    /// A version from the future.
    #[error("version {0} of the migration block is not known")]
    Version(u32),
}

/// Why a device cannot be moved now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MigrateRefusal {
    /// Exactly one client can be moved.
    #[error("the device has {0} clients, not one")]
    Clients(usize),
    /// The client has not taken what it was sent.
    #[error("messages still wait for the client")]
    Waiting,
}

/// Why a block cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreRefusal {
    /// Nobody waits for it.
    #[error("the device does not wait for migration data")]
    NotWaiting,
    /// It says that there was no client.
    #[error("the migration block is that of a device without a client")]
    NotConnected,
    /// More tokens than the window has.
    #[error("the migration block claims more tokens than there are")]
    Tokens,
    /// The announced bytes are not the ones given.
    #[error("the migration block announces another number of bytes")]
    Size,
    /// No self token is left for the bytes.
    #[error("no token is left for the bytes of the migration block")]
    NoSelfToken,
}

impl Block {
    /// Length on the wire.
    pub const BYTES: usize = 25;
    const VERSION: u32 = 1;

    /// Reads a block.
    pub fn parse(bytes: &[u8]) -> Result<Self, BlockError> {
        let bytes: &[u8; Self::BYTES] = bytes.first_chunk().ok_or(BlockError::Short)?;
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        if word(0) > Self::VERSION {
            return Err(BlockError::Version(word(0)));
        }
        Ok(Self {
            connected: bytes[4] != 0,
            client_tokens: word(5),
            send_tokens: word(9),
            write_size: word(13),
            write_client_tokens: word(17),
            write_data: word(21),
        })
    }

    /// The block's bytes.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&Self::VERSION.to_le_bytes());
        bytes[4] = u8::from(self.connected);
        let words = [
            self.client_tokens,
            self.send_tokens,
            self.write_size,
            self.write_client_tokens,
            self.write_data,
        ];
        for (place, word) in bytes[5..].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

impl<M: Clone, B: Clone> Device<M, B> {
    /// The block for the other host, with `write_data` left 0, and the bytes that
    /// go along, oldest first.
    pub fn migrate_out(&self) -> Result<(Block, Moving<B>), MigrateRefusal> {
        let [client] = &self.clients[..] else {
            return Err(MigrateRefusal::Clients(self.clients.len()));
        };
        let (client_tokens, send_tokens) = match &client.window {
            Some(window) if !window.queue.is_empty() => return Err(MigrateRefusal::Waiting),
            Some(window) => (cut(window.client_tokens), cut(window.send_tokens)),
            None => (u32::MAX, u32::MAX - client.delivered),
        };
        let current = self.current.iter().map(|(pending, written)| (pending, *written));
        let queued = self.queue.iter().map(|pending| (pending, 0));
        let mut block = Block { connected: true, client_tokens, send_tokens, ..Block::default() };
        let mut bytes = Vec::new();
        for (pending, from) in current.chain(queued) {
            let (buffer, to) = (pending.buffer.clone(), pending.length);
            block.write_size = block.write_size.saturating_add((to - from) as u32);
            if matches!(pending.origin, Origin::Client(_)) {
                block.write_client_tokens = block.write_client_tokens.saturating_add(pending.price);
            }
            bytes.push(Write { buffer, from, to });
        }
        Ok((block, bytes))
    }

    /// Whether [`Device::restore`] would take this block with that many bytes. To be
    /// asked before memory is taken for them.
    pub fn check_restore(&self, block: &Block, length: usize) -> Result<(), RestoreRefusal> {
        let idle = self.queue.is_empty() && self.current.is_none();
        let [client] = &self.clients[..] else {
            return Err(RestoreRefusal::NotWaiting);
        };
        if !self.waiting_for_migration || !idle {
            return Err(RestoreRefusal::NotWaiting);
        }
        if !block.connected {
            return Err(RestoreRefusal::NotConnected);
        }
        if block.write_size as usize != length {
            return Err(RestoreRefusal::Size);
        }
        free_tokens(client, block)?;
        if length > 0 && block.write_client_tokens == 0 && !self.has_self_token() {
            return Err(RestoreRefusal::NoSelfToken);
        }
        Ok(())
    }

    /// Goes on where the other host left off; `data` holds the bytes that the
    /// device there had not taken. The caller then runs both loops.
    pub fn restore(
        &mut self,
        block: &Block,
        data: Option<(B, usize)>,
    ) -> Result<(), RestoreRefusal> {
        let length = data.as_ref().map_or(0, |(_, length)| *length);
        self.check_restore(block, length)?;
        let interval = self.token_interval();
        let client = &mut self.clients[0];
        let key = client.key;
        let free = free_tokens(client, block)?;
        if let Some(window) = &mut client.window {
            window.client_tokens = block.client_tokens.into();
            // A price without bytes has nothing left that it could be paid for.
            let unused = if length == 0 { block.write_client_tokens } else { 0 };
            // The other host may have had no chance to tell the client.
            let lot = window.give_back(free + u64::from(unused), interval);
            self.actions.extend(lot.map(|lot| Action::GrantTokens(key, lot)));
            window.send_tokens = block.send_tokens.into();
            // Messages of a read that the client came in the middle of.
            let waiting = std::iter::from_fn(|| window.pop_ready());
            self.actions.extend(waiting.map(|message| Action::Send(key, message)));
            window.deadline = window.deadline.filter(|_| !window.queue.is_empty());
        }
        if let Some((buffer, length @ 1..)) = data {
            let price = block.write_client_tokens;
            let origin = if price > 0 { Origin::Client(key) } else { Origin::Server };
            if origin == Origin::Server {
                self.take_self_token();
            }
            let price = price.max(1);
            self.queued_bytes += length;
            self.current = Some((Pending { buffer, length, origin, price }, 0));
        }
        self.waiting_for_migration = false;
        Ok(())
    }
}

/// Tokens the client has used and was not given back yet: what its window lacks.
fn free_tokens<M>(client: &Client<M>, block: &Block) -> Result<u64, RestoreRefusal> {
    let Some(window) = &client.window else {
        // Without flow control the counters say nothing.
        return Ok(0);
    };
    window
        .client_tokens
        .checked_sub(block.client_tokens.into())
        .and_then(|rest| rest.checked_sub(block.write_client_tokens.into()))
        .ok_or(RestoreRefusal::Tokens)
}

/// The counters are 64 bits here and 32 on the wire.
fn cut(tokens: u64) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}
