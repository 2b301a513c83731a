//! Whose turn it is, when there is not enough of something for everybody.

use std::collections::VecDeque;

use super::{LinkId, Source};

/// Links that wait. Sources take turns, so that one with many links does not hold up
/// another; those of one source come in order.
#[derive(Debug, Default)]
pub struct Turns(VecDeque<(Source, VecDeque<LinkId>)>);

impl Turns {
    /// This link waits from now on.
    pub fn push(&mut self, source: Source, id: LinkId) {
        match self.0.iter_mut().find(|(of, _)| *of == source) {
            Some((_, links)) => links.push_back(id),
            None => self.0.push_back((source, VecDeque::from([id]))),
        }
    }

    /// The next one, which waits no more.
    pub fn pop(&mut self) -> Option<LinkId> {
        let (source, mut links) = self.0.pop_front()?;
        let id = links.pop_front()?;
        if !links.is_empty() {
            self.0.push_back((source, links));
        }
        Some(id)
    }

    /// The one that [`Self::pop`] took has to wait on, and is still next.
    pub fn put_back(&mut self, source: Source, id: LinkId) {
        let mut links = VecDeque::from([id]);
        if let Some(at) = self.0.iter().position(|(of, _)| *of == source)
            && let Some((_, others)) = self.0.remove(at)
        {
            links.extend(others);
        }
        self.0.push_front((source, links));
    }

    /// This link has ended.
    pub fn remove(&mut self, source: Source, id: LinkId) {
        if let Some((_, links)) = self.0.iter_mut().find(|(of, _)| *of == source) {
            links.retain(|other| *other != id);
            self.0.retain(|(_, links)| !links.is_empty());
        }
    }
}
