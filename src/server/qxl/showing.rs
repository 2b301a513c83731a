//! What the worker does for those who watch: looks at what the guest has drawn on the
//! primary surface, a slice at a time, and puts it into the device's [`Display`].
//!
//! Used by the worker thread between requests.

#![forbid(unsafe_code)]

use super::display::{BAND, Display, normalise};
use super::limits;
use super::rings::Wait;
use super::surface::{Change, PRIMARY, SurfaceError, Surfaces};
use crate::canvas::Region;
use crate::host::guest_memory::GuestMemory;
use std::sync::Arc;
use std::time::Instant;

/// See the module.
#[derive(Debug)]
pub(super) struct Showing {
    display: Arc<Display>,
    /// Somebody watches, and the display has what is known here.
    watched: bool,
    /// The display has a surface to show.
    shown: bool,
    /// The new surface has not been looked through yet.
    begun: bool,
    /// Where something was drawn that has not been looked at.
    pending: Region,
    last_look: Option<Instant>,
    buffer: Vec<u32>,
}

impl Showing {
    /// Nobody watches.
    pub(super) fn new(display: Arc<Display>) -> Self {
        Self {
            display,
            watched: false,
            shown: false,
            begun: false,
            pending: Region::new(),
            last_look: None,
            buffer: Vec::new(),
        }
    }

    /// Clients came or went.
    pub(super) fn handle_viewers(&mut self, surfaces: &mut Surfaces) {
        let watched = self.display.is_watched();
        if watched && !self.watched {
            surfaces.take_changes();
            if surfaces.get(PRIMARY).is_ok() {
                self.begin(surfaces);
            }
        } else if !watched && self.watched {
            self.end();
        }
        self.watched = watched;
    }

    /// Looks at some of what was drawn; says when to do so again.
    pub(super) fn turn(
        &mut self,
        memory: &GuestMemory,
        surfaces: &mut Surfaces,
        now: Instant,
    ) -> Wait {
        if !self.watched {
            return Wait::ForRequest;
        }
        if let Some(change) = surfaces.take_changes().remove(&PRIMARY) {
            self.take_over(&change, surfaces);
        }
        if self.pending.is_empty() {
            return Wait::ForRequest;
        }
        if let Some(due) = self.last_look.map(|last| last + limits::LOOK_PERIOD)
            && due > now
        {
            return Wait::Until(due);
        }
        if let Err(error) = self.look(memory, surfaces) {
            crate::debug!("the primary surface cannot be shown: {error}");
            self.pending = Region::new();
        }
        if !self.pending.is_empty() {
            return Wait::Until(now);
        }
        self.last_look = Some(now);
        if std::mem::take(&mut self.begun) {
            self.display.complete();
        }
        Wait::ForRequest
    }

    fn take_over(&mut self, change: &Change, surfaces: &Surfaces) {
        if change.destroyed {
            self.end();
        }
        if change.created {
            self.begin(surfaces);
        } else if self.shown {
            self.pending.union(&change.region);
        }
    }

    fn begin(&mut self, surfaces: &Surfaces) {
        let Ok(surface) = surfaces.get(PRIMARY) else { return };
        let geometry = surface.geometry();
        self.shown = self.display.begin_surface((geometry.width, geometry.height));
        self.begun = self.shown;
        self.pending = Region::new();
        self.last_look = None;
        if self.shown {
            self.pending.add(geometry.bounds());
        } else {
            crate::warning!(
                "a surface of {} by {} pixels is too large to be shown",
                geometry.width,
                geometry.height
            );
        }
    }

    fn end(&mut self) {
        self.display.end_surface();
        self.shown = false;
        self.begun = false;
        self.pending = Region::new();
    }

    /// Looks at a slice of what is pending.
    fn look(&mut self, memory: &GuestMemory, surfaces: &Surfaces) -> Result<(), SurfaceError> {
        let surface = surfaces.get(PRIMARY)?;
        let pixels = surface.pixels(memory)?;
        let bounds = surface.geometry().bounds();
        let mut left = limits::LOOK_BYTES;
        while left > 0 {
            let first = self.pending.iter().next();
            let Some(first) = first else { break };
            let mut area = first.intersection(&bounds);
            area.bottom = area.bottom.min(area.top + BAND as i32);
            let seen = if area.is_empty() { first } else { area };
            if !area.is_empty() {
                let width = area.width() as usize;
                self.buffer.resize(width * area.height() as usize, 0);
                for (row, y) in self.buffer.chunks_exact_mut(width).zip(area.top as u32..) {
                    pixels.read_row(area.left as u32, y, row);
                }
                normalise(pixels.format(), &mut self.buffer);
                self.display.update(area, &self.buffer);
            }
            self.pending.subtract(&Region::from(seen));
            left = left
                .saturating_sub(u64::from(seen.width()) * u64::from(seen.height().min(BAND)) * 4);
        }
        Ok(())
    }
}
