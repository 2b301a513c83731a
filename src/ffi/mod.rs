//! The C ABI: guard, check, convert, call, convert back. No logic lives here.
//!
//! Every exported function's doc comment carries a line `Compat: works`,
//! `Compat: partial: what lacks` or `Compat: missing`, and a line
//! `Shown by: FILE[, FILE]` naming the tests; `scripts/compat` makes
//! docs/compat.md of them.

pub mod audio;
pub mod devices;
mod handles;
pub mod migration;
pub mod qxl;
pub mod replay;
pub mod server;
pub mod settings;
