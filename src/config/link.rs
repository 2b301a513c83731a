//! What the configuration says of links: how long one may take, how many there may be,
//! and what wrong passwords cost.
//!
//! Pure values.

use std::time::Duration;

use super::limits;

/// How links are kept from harming others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkPolicy {
    /// From accept to the end of the link, without the delays below.
    pub deadline: Duration,
    /// Links under way at a time: so many from addresses, and so many local ones.
    pub pending: usize,
    /// Of these, from one address.
    pub pending_per_address: usize,
    /// Failed authentications of an address that cost it nothing.
    pub free_failures: u32,
    /// The longest time that an address waits after more of them; zero: none at all.
    pub longest_delay: Duration,
}

/// What a section says differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkChange {
    /// See [`LinkPolicy::deadline`].
    pub deadline: Option<Duration>,
    /// See [`LinkPolicy::pending`].
    pub pending: Option<usize>,
    /// See [`LinkPolicy::pending_per_address`].
    pub pending_per_address: Option<usize>,
    /// See [`LinkPolicy::free_failures`].
    pub free_failures: Option<u32>,
    /// See [`LinkPolicy::longest_delay`].
    pub longest_delay: Option<Duration>,
}

impl Default for LinkPolicy {
    fn default() -> Self {
        Self {
            deadline: limits::LINK_DEADLINE,
            pending: limits::PENDING_LINKS,
            pending_per_address: limits::PENDING_LINKS_PER_ADDRESS,
            free_failures: limits::FREE_FAILURES,
            longest_delay: limits::LONGEST_DELAY,
        }
    }
}

impl LinkChange {
    /// The settings with this change.
    #[must_use]
    pub fn on(&self, below: LinkPolicy) -> LinkPolicy {
        LinkPolicy {
            deadline: self.deadline.unwrap_or(below.deadline),
            pending: self.pending.unwrap_or(below.pending),
            pending_per_address: self.pending_per_address.unwrap_or(below.pending_per_address),
            free_failures: self.free_failures.unwrap_or(below.free_failures),
            longest_delay: self.longest_delay.unwrap_or(below.longest_delay),
        }
    }
}
