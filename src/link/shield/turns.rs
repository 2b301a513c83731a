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

    /// Whose turn it is.
    pub fn next(&self) -> Option<LinkId> {
        self.0.front().and_then(|(_, links)| links.front().copied())
    }

    /// That one waits no more.
    pub fn pop(&mut self) {
        if let Some((source, mut links)) = self.0.pop_front() {
            links.pop_front();
            if !links.is_empty() {
                self.0.push_back((source, links));
            }
        }
    }

    /// This link has ended.
    pub fn remove(&mut self, source: Source, id: LinkId) {
        let Some(at) = self.0.iter().position(|(of, _)| *of == source) else { return };
        let links = &mut self.0[at].1;
        if let Some(place) = links.iter().position(|other| *other == id) {
            links.remove(place);
            if links.is_empty() {
                self.0.remove(at);
            }
        }
    }
}
