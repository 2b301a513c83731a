//! Sources whose clients could not authenticate, and what that costs them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Source;
use crate::config::limits;
use crate::config::link::LinkPolicy;

#[derive(Clone, Copy, Debug)]
struct Failure {
    count: u32,
    last: Instant,
}

/// At most [`limits::FAILING_ADDRESSES`].
#[derive(Debug, Default)]
pub(super) struct Failures(HashMap<Source, Failure>);

impl Failures {
    /// What the next link from there has to wait.
    pub(super) fn delay(&mut self, source: Source, policy: &LinkPolicy, now: Instant) -> Duration {
        let Some(failure) = self.0.get(&source) else {
            return Duration::ZERO;
        };
        if is_over(failure, now) {
            self.0.remove(&source);
            return Duration::ZERO;
        }
        // Above 16 doublings every delay is longer than the longest.
        match failure.count.saturating_sub(policy.free_failures).min(16) {
            0 => Duration::ZERO,
            more => (limits::FIRST_DELAY * (1 << (more - 1))).min(policy.longest_delay),
        }
    }

    pub(super) fn add(&mut self, source: Source, now: Instant) {
        if source.is_local() {
            return;
        }
        if self.0.get(&source).is_some_and(|failure| is_over(failure, now)) {
            self.0.remove(&source);
        }
        if self.0.len() >= limits::FAILING_ADDRESSES && !self.0.contains_key(&source) {
            self.make_room(now);
        }
        let failure = self.0.entry(source).or_insert(Failure { count: 0, last: now });
        failure.count = failure.count.saturating_add(1);
        failure.last = now;
    }

    pub(super) fn forgive(&mut self, source: Source) {
        self.0.remove(&source);
    }

    /// Forgets who is over, or else who has been quiet for longest.
    fn make_room(&mut self, now: Instant) {
        self.0.retain(|_, failure| !is_over(failure, now));
        if self.0.len() >= limits::FAILING_ADDRESSES {
            let quietest = self.0.iter().min_by_key(|(_, failure)| failure.last);
            if let Some(source) = quietest.map(|(source, _)| *source) {
                self.0.remove(&source);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn is_over(failure: &Failure, now: Instant) -> bool {
    now.saturating_duration_since(failure.last) >= limits::FAILURE_MEMORY
}
