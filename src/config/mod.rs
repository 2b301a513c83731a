//! Settings that do not come from the C API: limits, where connections live, and which
//! device becomes which channel.
//!
//! Pure values; nothing here touches the host.

pub mod home;
pub mod limits;
pub mod registry;
