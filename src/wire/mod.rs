//! Bytes to messages and back. No state, no sockets, no clock; any thread.
//!
//! Everything on the wire is little endian. A wire type is only built from
//! valid bytes; input that ends too early is [`Truncated`], never a panic.
//! Writing goes through `bytes::BufMut`, which `Vec<u8>` implements.

#![forbid(unsafe_code)]

pub mod agent;
pub mod audio;
pub mod common;
pub mod cursor;
pub mod display;
pub mod header;
pub mod image;
pub mod inputs;
pub mod link;
pub mod main;
pub mod marshaller;
pub mod migration;
pub mod smartcard;
pub mod spicevmc;
pub mod stream_device;
pub mod websocket;

use std::fmt;

/// Reads little-endian fields off the front of a byte slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

/// The input ended inside a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message ends inside a field")]
pub struct Truncated;

/// Names a channel: its type number and its number among those of that type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelKey {
    /// The channel type; [`ChannelKey::MAIN`] is 1.
    pub kind: u8,
    /// Tells channels of one type apart.
    pub id: u8,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Takes the next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Truncated> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Takes the next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Takes one byte.
    pub fn u8(&mut self) -> Result<u8, Truncated> {
        self.array().map(u8::from_le_bytes)
    }

    /// Takes a 16-bit number.
    pub fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_le_bytes)
    }

    /// Takes a 32-bit number.
    pub fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_le_bytes)
    }

    /// Takes a 64-bit number.
    pub fn u64(&mut self) -> Result<u64, Truncated> {
        self.array().map(u64::from_le_bytes)
    }
}

impl ChannelKey {
    /// The type of the main channel, with which every session begins.
    pub const MAIN: u8 = 1;
    /// The type of display channels.
    pub const DISPLAY: u8 = 2;

    /// Whether this is the main channel.
    pub fn is_main(self) -> bool {
        self.kind == Self::MAIN
    }
}

impl fmt::Display for ChannelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "type {} id {}", self.kind, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_little_endian_and_in_order() {
        let bytes: Vec<u8> = (1..=18).collect();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u8(), Ok(0x01));
        assert_eq!(reader.u16(), Ok(0x0302));
        assert_eq!(reader.u32(), Ok(0x0706_0504));
        assert_eq!(reader.u64(), Ok(0x0f0e_0d0c_0b0a_0908));
        assert_eq!(reader.bytes(2), Ok(&[16, 17][..]));
        assert_eq!(reader.rest(), [18]);
    }

    #[test]
    fn a_field_that_does_not_fit_takes_nothing() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u32(), Err(Truncated));
        assert_eq!(reader.bytes(usize::MAX), Err(Truncated));
        assert_eq!(reader.bytes(3), Ok(&[1, 2, 3][..]));
        assert_eq!(reader.u8(), Err(Truncated));
        assert_eq!(reader.bytes(0), Ok(&[][..]));
    }
}
