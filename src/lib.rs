//! A SPICE server library with the C ABI of `libspice-server.so.1`.
//!
//! The rooms depend on each other in one direction only:
//! `ffi → server → {channels, net} → {channel, chardev, link} → wire`, with
//! `host` (QEMU seen from Rust) used by `server`. ARCHITECTURE.md is the map.

pub mod canvas;
pub mod channel;
pub mod channels;
pub mod chardev;
pub mod config;
pub(crate) mod fault;
pub mod ffi;
pub(crate) mod guard;
pub mod host;
pub mod link;
pub mod log;
pub mod net;
pub mod server;
pub mod stats;
pub mod wire;
