//! Bytes to messages and back: no state, no I/O, any thread.
//!
//! One file a subject: `link` (the handshake), `header` (what precedes every
//! message), `common` (messages every channel has), `main`, `spicevmc`.
#![forbid(unsafe_code)]

pub mod common;
pub mod header;
pub mod main;
pub mod spicevmc;
