//! QEMU seen from Rust: the structures it hands in and the functions it wants called.
//!
//! What lives here: layouts of the public C ABI and thin wrappers that check
//! versions and NULL pointers before they call the host. Policy lives in
//! `server`. Each wrapper says which thread may call it.

pub mod abi;
#[cfg(test)]
pub(crate) mod fake_qxl;
pub mod guest_memory;
pub mod memslot;
pub mod qxl;
pub mod thread;
