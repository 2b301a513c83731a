//! The old char-device C API: devices that a C program makes of its own, and channels
//! for devices of any type.
//!
//! `layout` is what C sees; `state`, `clients`, `buffers`, `migration`, `vmc` and
//! `explicit` are the exported functions, from whose comments the headers are made;
//! `device`, `callbacks`, `pool` and `lookup` do what they say, on top of
//! `server::driver`. Everything runs under the host's serialisation.

#![allow(clippy::doc_markdown, reason = "the comments go into C headers, as C writes names")]

pub mod buffers;
mod callbacks;
pub mod clients;
mod device;
pub mod explicit;
pub mod layout;
mod lookup;
pub mod migration;
mod pool;
pub mod state;
#[cfg(test)]
mod tests;
pub mod vmc;

pub(super) use device::Device;
