//! What is counted while the library works.
//!
//! Counters are atomics that any thread may add to; nothing here is a lock.

mod channel;
mod links;

pub use channel::{ChannelCounters, ChannelTotals};
pub use links::{LinkCounters, LinkEvent};
