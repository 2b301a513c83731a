//! Large buffers that sockets are read into, shared by the connections of one thread.
//!
//! A connection has one while it is being read, and keeps it only while a message in it
//! is not whole yet. So a connection at rest costs none, a busy one reads into memory that
//! is in the processor's cache, and nothing is allocated for a message.

use bytes::BytesMut;
use parking_lot::Mutex;

use crate::config::limits;

/// Buffers that nobody has. Some may still be in use by what was read into them.
#[derive(Debug, Default)]
pub struct ReadBuffers(Mutex<Vec<BytesMut>>);

impl ReadBuffers {
    /// An empty buffer with room for any turn's worth of reading.
    pub fn take(&self) -> BytesMut {
        let mut idle = self.0.lock();
        let free = idle.iter_mut().position(|buffer| buffer.try_reclaim(limits::READ_TURN_UNIX));
        free.map_or_else(
            || BytesMut::with_capacity(limits::READ_TURN_UNIX),
            |place| idle.swap_remove(place),
        )
    }

    /// Takes one back.
    pub fn give_back(&self, mut buffer: BytesMut) {
        buffer.clear();
        let mut idle = self.0.lock();
        if idle.len() >= limits::IDLE_READ_BUFFERS {
            idle.remove(0);
        }
        idle.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_when_nothing_that_was_read_is_left() {
        let buffers = ReadBuffers::default();
        let mut buffer = buffers.take();
        let place = buffer.as_ptr();
        buffer.extend_from_slice(b"read");
        let read = buffer.split().freeze();
        buffers.give_back(buffer);
        let other = buffers.take();
        assert_ne!(other.as_ptr(), place, "what was read is still there");
        drop(read);
        let again = buffers.take();
        assert_eq!(again.as_ptr(), place);
        assert!(again.is_empty() && again.capacity() >= limits::READ_TURN_UNIX);
    }

    #[test]
    fn few_are_kept() {
        let buffers = ReadBuffers::default();
        for _ in 0..3 * limits::IDLE_READ_BUFFERS {
            buffers.give_back(BytesMut::with_capacity(1));
        }
        assert_eq!(buffers.0.lock().len(), limits::IDLE_READ_BUFFERS);
    }
}
