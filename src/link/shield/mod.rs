//! Who may begin a link, who has to make way, and who has to wait.
//!
//! Links are many, cheap for their clients, and nobody has said who he is. So places are
//! bounded, in all and for each address, and a newcomer is never the one who pays: the
//! oldest link of whoever has most of them makes way, of those that are as far as most are.
//! Who fails to authenticate waits before his address' next link goes on. No I/O, no thread,
//! no clock: the I/O thread asks, and closes what has to go.

mod failures;
mod places;
mod source;
#[cfg(test)]
mod tests;
mod told;
mod turns;

use std::time::{Duration, Instant};

use failures::Failures;
use places::Places;

use crate::config::link::LinkPolicy;
use crate::stats::LinkEvent;

pub use places::Stage;
pub use source::Source;
pub use told::Told;
pub use turns::Turns;

/// Names a link.
pub type LinkId = u64;

/// The links under way and what is remembered of those that failed.
#[derive(Debug)]
pub struct Shield {
    policy: LinkPolicy,
    places: Places,
    failures: Failures,
}

impl Shield {
    /// Nobody is there.
    pub fn new(policy: LinkPolicy) -> Self {
        Self { policy, places: Places::default(), failures: Failures::default() }
    }

    /// A link is about to begin. If it is one too many, this is the one that makes way, and
    /// why.
    pub fn victim_for(&self, source: Source) -> Option<(LinkId, LinkEvent)> {
        self.places.victim_for(source, &self.policy)
    }

    /// A link begins.
    pub fn enter(&mut self, id: LinkId, source: Source) {
        self.places.insert(id, source);
    }

    /// How far a link has come, and how many bytes of its client's it holds.
    pub fn advance(&mut self, id: LinkId, stage: Stage, bytes: usize) {
        self.places.advance(id, stage, bytes);
    }

    /// The link that makes way because all together hold too many bytes.
    pub fn too_heavy(&self) -> Option<LinkId> {
        self.places.too_heavy()
    }

    /// A link has ended, in whatever way.
    pub fn leave(&mut self, id: LinkId) {
        self.places.remove(id);
    }

    /// Whose link this is.
    pub fn source(&self, id: LinkId) -> Option<Source> {
        self.places.source(id)
    }

    /// How long a link from there has to wait before it goes on.
    pub fn delay(&mut self, source: Source, now: Instant) -> Duration {
        self.failures.delay(source, &self.policy, now)
    }

    /// A client from there could not authenticate.
    pub fn failed(&mut self, source: Source, now: Instant) {
        self.failures.add(source, now);
    }

    /// One could: what was before is forgiven.
    pub fn succeeded(&mut self, source: Source) {
        self.failures.forgive(source);
    }
}
