//! Clients on their way from one host to another (docs/protocol/migration-data.md,
//! "Display").
//!
//! A client takes what it sees along and is not told of it again. Who leaves first gets all
//! that it has not seen; who comes is told nothing before it has brought its state and the
//! guest runs: until then the screen is the other host's, and from then on it changes.

use super::{PRIMARY, Told, Viewer, ViewerKey, Viewers};
use crate::canvas::{Rect, Region};
use crate::channel::pipe::Outgoing;
use crate::channels::display::compression::{Loss, Policy};
use crate::wire::display::{Caches, inval_all_pixmaps, surface_destroy, to_client};
use crate::wire::migration::display::{
    CACHE_CLIENTS, Cache, Display, Glz, Surface as Taken, SurfaceForm,
};
use crate::wire::migration::{MIGRATE, flag};

use super::Next;

/// Where a client stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Passage {
    /// It does not move.
    #[default]
    Settled,
    /// It comes from another host. What it has brought, whether the guest has run since it
    /// came, and the area of the surface then.
    Coming { brought: Option<(u8, Box<Display>)>, begun: bool, bounds: Rect },
    /// It goes to another host, and is told what it has not seen.
    Leaving,
    /// It has been told to go.
    Gone,
}

impl Passage {
    /// Whether nothing is to be said now.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self, Self::Coming { .. } | Self::Gone)
    }
}

/// What a client has for images. Nothing is put there by this server; what other hosts have
/// put there is told to the next one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kept {
    cache: Cache,
    glz: Glz,
}

impl From<Caches> for Kept {
    fn from(caches: Caches) -> Self {
        Self {
            cache: Cache { id: caches.cache, size: caches.cache_size, used_by: [0; 4] },
            glz: Glz {
                id: caches.glz,
                size: caches.glz_size,
                encoders: CACHE_CLIENTS,
                last_image: 0,
            },
        }
    }
}

/// The form that a list of surfaces has by these settings. Nobody is taken for one with
/// little bandwidth.
pub(super) fn form(policy: Policy) -> SurfaceForm {
    match policy.loss {
        Loss::Always => SurfaceForm::WithAreas,
        Loss::Never | Loss::WhileSlow => SurfaceForm::Plain,
    }
}

impl Viewers {
    /// The client that has just come comes from another host.
    pub fn await_state(&mut self, key: ViewerKey) {
        let begun = self.running;
        if let Some(viewer) = self.viewer(key) {
            viewer.passage = Passage::Coming { brought: None, begun, bounds: Rect::default() };
        }
    }

    /// The guest runs, or stands still.
    pub fn set_running(&mut self, running: bool) {
        if running && !self.running {
            let surface = self.surface.as_ref().map(|surface| {
                let (width, height) = surface.size;
                (surface.generation, Rect::of_size(width, height), surface.complete)
            });
            for viewer in &mut self.all {
                viewer.see_begin(surface);
            }
        }
        self.running = running;
    }

    /// The client has brought its state, on the channel with this id.
    pub fn restore(&mut self, key: ViewerKey, channel: u8, state: Display) {
        if let Some(viewer) = self.viewer(key)
            && let Passage::Coming { brought, .. } = &mut viewer.passage
        {
            *brought = Some((channel, Box::new(state)));
            viewer.settle();
        }
    }

    /// The client goes to another host. MIGRATE is its last message.
    pub fn send_off(&mut self, key: ViewerKey) {
        if let Some(viewer) = self.viewer(key) {
            viewer.passage = Passage::Leaving;
        }
    }

    /// What a client that has been told to go takes along; the serial, and who opens the
    /// cache, are the caller's to say. The form is that of the list of surfaces.
    pub fn moving(&self, key: ViewerKey) -> Option<(Display, SurfaceForm)> {
        let viewer = self.all.iter().find(|viewer| viewer.key == key)?;
        if viewer.passage != Passage::Gone {
            return None;
        }
        let lossy = viewer.lossy.bounds();
        let has_surface = viewer.told.surface.is_some();
        let primary = Taken {
            id: PRIMARY,
            lossy: if viewer.lossy.is_empty() {
                [0; 4]
            } else {
                [lossy.left, lossy.top, lossy.right, lossy.bottom]
            },
        };
        let display = Display {
            serial: 0,
            low_bandwidth: false,
            cache: viewer.kept.cache,
            opens_cache: false,
            glz: viewer.kept.glz,
            surfaces: has_surface.then_some(primary).into_iter().collect(),
        };
        Some((display, form(self.policy)))
    }
}

impl Viewer {
    /// The last message.
    pub(super) fn say_migrate(&mut self) -> Next {
        self.passage = Passage::Gone;
        let flags = flag::NEED_FLUSH | flag::NEED_DATA;
        Next::Message(Outgoing::small(MIGRATE, flags.to_le_bytes().to_vec()))
    }

    /// The guest begins to run. The surface that it has then, if any, is the one that the
    /// client has: its generation and area, and whether its picture is known.
    fn see_begin(&mut self, surface: Option<(u64, Rect, bool)>) {
        let Passage::Coming { begun, bounds, .. } = &mut self.passage else { return };
        if std::mem::replace(begun, true) {
            return;
        }
        if let Some((generation, area, known)) = surface {
            *bounds = area;
            self.newcomer = false;
            self.told = Told { surface: Some(generation), mark: true, ..Told::default() };
            if !known {
                // When it is, the guest may have changed it.
                self.changed = area.into();
            }
        }
        self.settle();
    }

    /// Goes on, if the client has brought its state and the guest has run.
    fn settle(&mut self) {
        let Passage::Coming { brought, begun: true, bounds } = &mut self.passage else { return };
        let bounds = *bounds;
        let Some((channel, state)) = brought.take() else { return };
        self.passage = Passage::Settled;
        self.ready = true;
        self.kept = Kept { cache: state.cache, glz: state.glz };
        if state.opens_cache {
            let used = (0..).zip(state.cache.used_by);
            let others = used.filter(|&(id, serial)| id != channel && serial > 0);
            let body = inval_all_pixmaps(others);
            self.first_words.push_back(Outgoing::small(to_client::INVAL_ALL_PIXMAPS, body));
            self.kept.cache.used_by = [0; 4];
        }
        self.told.palettes = true;
        self.first_words.push_back(Outgoing::small(to_client::INVAL_ALL_PALETTES, Vec::new()));
        let mut has_primary = false;
        for Taken { id, lossy: [left, top, right, bottom] } in state.surfaces {
            if id == PRIMARY && self.told.surface.is_some() {
                has_primary = true;
                self.lossy.add(Rect::new(left, top, right, bottom).intersection(&bounds));
            } else {
                // Nothing is drawn on it here.
                let body = surface_destroy(id);
                self.first_words.push_back(Outgoing::small(to_client::SURFACE_DESTROY, body));
            }
        }
        if self.told.surface.is_some() && !has_primary {
            self.told = Told { palettes: true, ..Told::default() };
            self.newcomer = true;
            self.changed = Region::new();
            self.lossy = Region::new();
        }
    }
}

#[cfg(test)]
mod tests;
