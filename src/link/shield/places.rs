//! The places of links under way.

use std::collections::{BTreeSet, HashMap};

use super::{LinkId, Source};
use crate::config::limits;
use crate::config::link::LinkPolicy;
use crate::stats::LinkEvent;

/// How far a link has come. Of one source's links, those that have come less far make way
/// first: it costs a flooder more to speak than to connect.
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

#[derive(Debug)]
struct Place {
    source: Source,
    stage: Stage,
    bytes: usize,
}

/// Who is there. Ids grow, so that the lower one is the older one.
#[derive(Debug, Default)]
pub(super) struct Places {
    links: HashMap<LinkId, Place>,
    /// The same, of each source the one first that makes way first.
    order: BTreeSet<(Source, Stage, LinkId)>,
    /// None is zero.
    of: HashMap<Source, usize>,
    bytes: usize,
}

impl Places {
    pub(super) fn insert(&mut self, id: LinkId, source: Source) {
        self.remove(id);
        self.links.insert(id, Place { source, stage: Stage::default(), bytes: 0 });
        self.order.insert((source, Stage::default(), id));
        *self.of.entry(source).or_insert(0) += 1;
    }

    pub(super) fn remove(&mut self, id: LinkId) {
        let Some(place) = self.links.remove(&id) else { return };
        self.order.remove(&(place.source, place.stage, id));
        self.bytes -= place.bytes;
        if let Some(count) = self.of.get_mut(&place.source) {
            *count -= 1;
            if *count == 0 {
                self.of.remove(&place.source);
            }
        }
    }

    pub(super) fn advance(&mut self, id: LinkId, stage: Stage, bytes: usize) {
        if let Some(place) = self.links.get_mut(&id) {
            if place.stage != stage {
                self.order.remove(&(place.source, place.stage, id));
                self.order.insert((place.source, stage, id));
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
        let own = self.of.get(&source).copied().unwrap_or(0);
        if source.is_local() {
            let first = (own >= policy.pending).then(|| self.first_of(source)).flatten();
            return first.map(|(_, id)| (id, LinkEvent::TooMany));
        }
        if own >= policy.pending_per_address {
            return self.first_of(source).map(|(_, id)| (id, LinkEvent::TooManyOfAddress));
        }
        let local = self.of.get(&Source::Local).copied().unwrap_or(0);
        if self.links.len() - local < policy.pending {
            return None;
        }
        let remote = || self.of.iter().filter(|(source, _)| !source.is_local());
        let most = remote().map(|(_, count)| *count).max()?;
        // Several may have most.
        let first = remote().filter(|(_, count)| **count == most);
        let first = first.filter_map(|(source, _)| self.first_of(*source)).min();
        first.map(|(_, id)| (id, LinkEvent::TooMany))
    }

    /// The link with most bytes, if all together have too many.
    pub(super) fn too_heavy(&self) -> Option<LinkId> {
        if self.bytes <= limits::LINK_BYTES {
            return None;
        }
        let heaviest = self.links.iter().max_by_key(|(id, place)| (place.bytes, **id));
        heaviest.map(|(id, _)| *id)
    }

    /// The one that has come least far and is oldest.
    fn first_of(&self, source: Source) -> Option<(Stage, LinkId)> {
        let from = (source, Stage::Silent, LinkId::MIN);
        let to = (source, Stage::Asked, LinkId::MAX);
        self.order.range(from..=to).next().map(|(_, stage, id)| (*stage, *id))
    }

    #[cfg(test)]
    pub(super) fn count(&self, source: Source) -> usize {
        self.links.values().filter(|place| place.source == source).count()
    }
}
