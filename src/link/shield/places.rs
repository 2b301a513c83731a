//! The places of links under way.

use std::collections::{BTreeSet, HashMap};

use super::{LinkId, Source};
use crate::config::limits;
use crate::config::link::LinkPolicy;
use crate::stats::LinkEvent;

/// How far a link has come. Those make way first that have come as far as most have: who is
/// there and answers is not pushed out by who only connects, and who has just connected not
/// by who has sent a link message and waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nothing has come.
    #[default]
    Silent,
    /// Something has, such as the beginning of TLS.
    Speaking,
    /// The client has said which channel it wants.
    Asked,
}

impl Stage {
    const ALL: [Self; 3] = [Self::Silent, Self::Speaking, Self::Asked];
}

#[derive(Debug)]
struct Place {
    source: Source,
    stage: Stage,
    bytes: usize,
}

/// How many links there are in each stage.
#[derive(Clone, Copy, Debug, Default)]
struct Stages([usize; Stage::ALL.len()]);

impl Stages {
    fn sum(self) -> usize {
        self.0.iter().sum()
    }

    fn of(&mut self, stage: Stage) -> &mut usize {
        &mut self.0[stage as usize]
    }

    fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|stage| self.0[stage] + other.0[stage]))
    }

    /// Where most are; of several the one that is least far.
    fn fullest(self) -> Stage {
        let most = self.0.iter().max().copied().unwrap_or(0);
        let fullest = Stage::ALL.into_iter().find(|stage| self.0[*stage as usize] == most);
        fullest.unwrap_or_default()
    }
}

/// Who is there. Ids grow, so that the lower one is the older one.
#[derive(Debug, Default)]
pub(super) struct Places {
    links: HashMap<LinkId, Place>,
    /// The same, of each source the one first that makes way first.
    order: BTreeSet<(Source, Stage, LinkId)>,
    /// How many there are in each stage; in one of them at least there is one.
    of: HashMap<Source, Stages>,
    bytes: usize,
}

impl Places {
    pub(super) fn insert(&mut self, id: LinkId, source: Source) {
        self.remove(id);
        self.links.insert(id, Place { source, stage: Stage::default(), bytes: 0 });
        self.order.insert((source, Stage::default(), id));
        *self.of.entry(source).or_default().of(Stage::default()) += 1;
    }

    pub(super) fn remove(&mut self, id: LinkId) {
        let Some(place) = self.links.remove(&id) else { return };
        self.order.remove(&(place.source, place.stage, id));
        self.bytes -= place.bytes;
        if let Some(stages) = self.of.get_mut(&place.source) {
            *stages.of(place.stage) -= 1;
            if stages.sum() == 0 {
                self.of.remove(&place.source);
            }
        }
    }

    pub(super) fn advance(&mut self, id: LinkId, stage: Stage, bytes: usize) {
        if let Some(place) = self.links.get_mut(&id) {
            if place.stage != stage {
                self.order.remove(&(place.source, place.stage, id));
                self.order.insert((place.source, stage, id));
                if let Some(stages) = self.of.get_mut(&place.source) {
                    *stages.of(place.stage) -= 1;
                    *stages.of(stage) += 1;
                }
                place.stage = stage;
            }
            self.bytes = self.bytes - place.bytes + bytes;
            place.bytes = bytes;
        }
    }

    pub(super) fn source(&self, id: LinkId) -> Option<Source> {
        self.links.get(&id).map(|place| place.source)
    }

    /// Who makes way for one more link from `source`, if there is no place for it.
    pub(super) fn victim_for(
        &self,
        source: Source,
        policy: &LinkPolicy,
    ) -> Option<(LinkId, LinkEvent)> {
        let own = self.count(source);
        if source.is_local() {
            let first = (own >= policy.pending).then(|| self.first_of(&[source])).flatten();
            return first.map(|id| (id, LinkEvent::TooMany));
        }
        if own >= policy.pending_per_address {
            return self.first_of(&[source]).map(|id| (id, LinkEvent::TooManyOfAddress));
        }
        if self.links.len() - self.count(Source::Local) < policy.pending {
            return None;
        }
        let remote = || self.of.iter().filter(|(source, _)| !source.is_local());
        let most = remote().map(|(_, stages)| stages.sum()).max()?;
        // Several may have most.
        let fullest: Vec<_> = remote()
            .filter(|(_, stages)| stages.sum() == most)
            .map(|(source, _)| *source)
            .collect();
        self.first_of(&fullest).map(|id| (id, LinkEvent::TooMany))
    }

    /// The link with most bytes, if all together have too many.
    pub(super) fn too_heavy(&self) -> Option<LinkId> {
        if self.bytes <= limits::LINK_BYTES {
            return None;
        }
        let heaviest = self.links.iter().max_by_key(|(id, place)| (place.bytes, **id));
        heaviest.map(|(id, _)| *id)
    }

    /// Of the links of these sources, the oldest in the stage where most of them are.
    fn first_of(&self, sources: &[Source]) -> Option<LinkId> {
        let stages = sources.iter().filter_map(|source| self.of.get(source));
        let stage = stages.copied().fold(Stages::default(), Stages::add).fullest();
        let oldest = |source: &Source| {
            let from = (*source, stage, LinkId::MIN);
            self.order.range(from..=(*source, stage, LinkId::MAX)).next().map(|(_, _, id)| *id)
        };
        sources.iter().filter_map(oldest).min()
    }

    /// How many links a source has.
    pub(super) fn count(&self, source: Source) -> usize {
        self.of.get(&source).map_or(0, |stages| stages.sum())
    }
}
