//! The C ABI: guard, check, convert, call, convert back. No logic lives here.
//!
//! Every exported function's doc comment carries a line `Compat: works`,
//! `Compat: partial: what lacks` or `Compat: missing`, and a line
//! `Shown by: FILE[, FILE]` naming the tests; `scripts/compat` makes
//! docs/compat.md of them. Those of the old char-device API (`char_device`,
//! `marshaller`) and our additions (`registry`, `statistics`) are no part of that table
//! and carry the second line only.

pub mod audio;
pub mod char_device;
pub mod devices;
mod handles;
pub mod marshaller;
pub mod migration;
pub mod qxl;
pub mod registry;
pub mod replay;
pub mod server;
pub mod settings;
pub mod statistics;
mod subtypes;
