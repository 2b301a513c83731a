//! Settings that do not come from the C API: limits, where connections live, and which
//! device becomes which channel.
//!
//! Pure values; nothing here touches the host. Only [`file::File::find`] and
//! [`file::File::read`] read a file.

pub mod agent;
pub mod file;
pub mod home;
pub mod limits;
mod print;
pub mod registry;

use home::HomeKind;
use registry::Registry;

/// The settings of one virtual machine.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where established connections live; `None`: the library chooses.
    pub home: Option<HomeKind>,
    /// Which device becomes which channel.
    pub registry: Registry,
}
