//! What is counted while the library works, and who reads it.
//!
//! Counters are atomics that any thread may add to. What exists at all (clients, channels)
//! is in a registry under a lock, which is taken when something comes or goes and when
//! somebody reads, never where bytes move. How the numbers are told (`document.rs`,
//! `metrics.rs`, `shared.rs`) and what readers may ask (`request.rs`) is without I/O; the
//! socket is in `net/statistics.rs`.

mod counters;
mod document;
mod endings;
mod links;
mod metrics;
mod names;
mod refusals;
mod registry;
pub mod request;
pub mod shared;
mod tally;
pub(crate) mod time;
mod view;

pub use counters::{Counters, Totals};
pub use document::document;
pub use endings::{EndingCounters, EndingKind};
pub use links::{LinkCounters, LinkEvent};
pub use metrics::metrics;
pub use names::{METRICS, Metric, Unit};
pub use refusals::{Refusal, RefusalCounters};
pub use registry::{ConnectionLabel, ServerStatistics};
pub use tally::{Kind, Tally};
pub use time::{Nanoseconds, host_time, now};
pub use view::View;
