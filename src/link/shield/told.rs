//! Which links the host is told of before they are authenticated.
//!
//! Each link is two events for the host, on its main thread. So many at once and so many a
//! second are told when they begin. Beyond that the news of a link waits until there is
//! time for it or its client is authenticated; of a link that ends before, the host hears
//! nothing at all. What it hears is always whole: CONNECTED first, and DISCONNECTED for
//! every CONNECTED.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::LinkId;
use crate::config::limits;

/// The links that the host has not been told of, each with what is to be told.
#[derive(Debug)]
pub struct Told<T> {
    /// The oldest first.
    waiting: BTreeMap<LinkId, T>,
    /// How many may be told now.
    left: u32,
    /// When there was one more.
    filled: Option<Instant>,
}

/// Time for one more.
const STEP: Duration = Duration::from_millis(1000 / limits::TOLD_PER_SECOND as u64);

impl<T> Default for Told<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), left: limits::TOLD_AT_ONCE, filled: None }
    }
}

impl<T> Told<T> {
    /// A link begins.
    pub fn begin(&mut self, id: LinkId, news: T) {
        self.waiting.insert(id, news);
    }

    /// What is to be told now. To be asked until there is nothing.
    pub fn poll(&mut self, now: Instant) -> Option<(LinkId, T)> {
        self.fill(now);
        if self.left == 0 {
            return None;
        }
        let told = self.waiting.pop_first()?;
        self.left -= 1;
        Some(told)
    }

    /// The link is authenticated; what the host has to hear first.
    pub fn take(&mut self, id: LinkId) -> Option<T> {
        self.waiting.remove(&id)
    }

    /// When [`Self::poll`] will have something, if anything waits.
    pub fn due(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then_some(self.filled).flatten().map(|filled| filled + STEP)
    }

    fn fill(&mut self, now: Instant) {
        let since = *self.filled.get_or_insert(now);
        let steps = now.saturating_duration_since(since).as_millis() / STEP.as_millis();
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        let left = self.left.saturating_add(steps);
        if left >= limits::TOLD_AT_ONCE {
            self.left = limits::TOLD_AT_ONCE;
            self.filled = Some(now);
        } else {
            self.left = left;
            self.filled = Some(since + STEP * steps);
        }
    }
}
