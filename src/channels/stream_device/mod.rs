//! A stream device: what the guest's program says, and what the display channel that
//! shows it says to its clients (docs/protocol/stream.md). The pointer is
//! `channels::cursor`'s.

pub mod intake;
pub mod screen;
