//! Settings that do not come from the C API: limits, where connections live, which
//! device becomes which channel, what may pass to and from the guest's
//! agent, how old TLS may be, for whom there is WebSocket, what links may cost, what is logged,
//! and where statistics can be read.
//!
//! Pure values; nothing here touches the host. Only [`file::File::find`] and
//! [`file::File::read`] read a file.

pub mod agent;
pub mod file;
pub mod home;
pub mod limits;
pub mod link;
pub mod log;
mod print;
pub mod registry;
pub mod stamp;
pub mod statistics;
pub mod tls;
pub mod websocket;

use agent::AgentPolicy;
use home::HomeKind;
use link::LinkPolicy;
use log::LogPolicy;
use registry::Registry;
use statistics::StatisticsPolicy;
use tls::TlsVersion;
use websocket::WebSocketPolicy;

/// The settings of one virtual machine.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where established connections live; `None`: the library chooses.
    pub home: Option<HomeKind>,
    /// Which device becomes which channel.
    pub registry: Registry,
    /// What may pass to and from the guest's agent.
    pub agent: AgentPolicy,
    /// The oldest version of TLS that is spoken.
    pub oldest_tls: TlsVersion,
    /// Who may come in by WebSocket.
    pub websocket: WebSocketPolicy,
    /// How links are kept from harming others.
    pub link: LinkPolicy,
    /// Which lines are logged, and how.
    pub log: LogPolicy,
    /// Where statistics can be read.
    pub statistics: StatisticsPolicy,
}
