//! Settings that do not come from the C API: limits, and where connections live.
//!
//! Pure values; nothing here reads files or touches the host.

pub mod home;
pub mod limits;
