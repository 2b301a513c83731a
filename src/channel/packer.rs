//! Rewriting messages on their way out, on whichever thread sends: compressing a device's
//! data, encoding sound.
//!
//! Sans-IO. The queue in front of it ([`super::outbox`]) decides when: on the I/O thread
//! just before the socket has room, so that the work is done outside the host's lock.

use std::fmt::Debug;

/// Rewrites messages.
pub trait Packer: Debug + Send {
    /// Whether [`Self::pack`] would look at a message of this type and length.
    fn would_try(&self, kind: u16, length: usize) -> bool;

    /// Type and body of the message that is sent instead; `None` when it is to be sent as
    /// it is.
    fn pack(&mut self, kind: u16, body: &[u8]) -> Option<(u16, &[u8])>;

    /// A message leaves without having been looked at.
    fn pass(&mut self, kind: u16, length: usize);

    /// One more, for other messages of the same connection at the same time; `None` where
    /// each message follows from the last, as sound does.
    fn another(&self) -> Option<Box<dyn Packer>> {
        None
    }
}
