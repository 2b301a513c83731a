//! VSC messages of the smartcard channel and of the host's reader
//! (docs/protocol/smartcard.md).
//!
//! The same header stands on both sides of the server, and only the order of its
//! bytes differs: little endian towards clients, big endian towards the device.

use bytes::Bytes;

use super::common::u32_at;

/// The one message type of the channel, in either direction: a VSC message.
pub const DATA: u16 = 101;

/// The one reader that is served.
pub const READER: u32 = 0;
/// What stands for no reader: a client cannot know a number before it has one.
pub const UNDEFINED_READER: u32 = u32::MAX;

/// What a VSC message is about.
pub mod kind {
    /// The protocol's version and capabilities.
    pub const INIT: u32 = 1;
    /// The answer to a message, u32 code; code 0 says that all is well.
    pub const ERROR: u32 = 2;
    /// A reader appears; the data are its name.
    pub const READER_ADD: u32 = 3;
    /// A reader disappears.
    pub const READER_REMOVE: u32 = 4;
    /// A card was put in; the data are its answer to reset.
    pub const ATR: u32 = 5;
    /// The card was taken out.
    pub const CARD_REMOVE: u32 = 6;
    /// A command for the card or what it answered.
    pub const APDU: u32 = 7;
}

/// Codes of [`kind::ERROR`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// What was asked for makes no sense now.
    General = 1,
    /// Every reader has a client.
    CannotAddMoreReaders = 2,
}

/// What stands before a message's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// One of [`kind`].
    pub kind: u32,
    /// The reader that it is about.
    pub reader: u32,
    /// Bytes of data behind the header.
    pub length: u32,
}

impl Header {
    /// Bytes of a header.
    pub const BYTES: usize = 12;

    /// As a client writes it.
    pub fn from_client(bytes: &[u8; Self::BYTES]) -> Self {
        let [kind, reader, length] = [0, 4, 8].map(|at| u32_at(bytes, at));
        Self { kind, reader, length }
    }

    /// As the device writes it.
    pub fn from_device(bytes: &[u8; Self::BYTES]) -> Self {
        let Self { kind, reader, length } = Self::from_client(bytes);
        let [kind, reader, length] = [kind, reader, length].map(u32::swap_bytes);
        Self { kind, reader, length }
    }

    /// A message for a client.
    pub fn to_client(self, data: &[u8]) -> Bytes {
        self.message(u32::to_le_bytes, data)
    }

    /// A message for the device.
    pub fn to_device(self, data: &[u8]) -> Bytes {
        self.message(u32::to_be_bytes, data)
    }

    fn message(self, bytes_of: fn(u32) -> [u8; 4], data: &[u8]) -> Bytes {
        let words = [self.kind, self.reader, self.length].map(bytes_of);
        [words.as_flattened(), data].concat().into()
    }
}

/// What the server itself answers a client.
pub fn error(reader: u32, code: Code) -> Bytes {
    Header { kind: kind::ERROR, reader, length: 4 }.to_client(&(code as u32).to_le_bytes())
}

/// What the server itself tells the device: a message without data.
pub fn plain(kind: u32) -> Bytes {
    Header { kind, reader: READER, length: 0 }.to_device(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header { kind: 0x0102_0304, reader: 5, length: 1 };

    #[test]
    fn clients_are_little_endian_and_devices_big() {
        let client = HEADER.to_client(&[9]);
        assert_eq!(client[..], [4, 3, 2, 1, 5, 0, 0, 0, 1, 0, 0, 0, 9]);
        assert_eq!(Header::from_client(client.first_chunk().expect("12 bytes")), HEADER);
        let device = HEADER.to_device(&[9]);
        assert_eq!(device[..], [1, 2, 3, 4, 0, 0, 0, 5, 0, 0, 0, 1, 9]);
        assert_eq!(Header::from_device(device.first_chunk().expect("12 bytes")), HEADER);
    }

    #[test]
    fn what_the_server_says_itself() {
        let refusal = error(UNDEFINED_READER, Code::CannotAddMoreReaders);
        assert_eq!(refusal[..], [2, 0, 0, 0, 255, 255, 255, 255, 4, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(plain(kind::READER_ADD)[..], [0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
