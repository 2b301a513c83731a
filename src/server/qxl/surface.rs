//! Surfaces: which geometry is sound, which ids are in use, where the pixels are, and
//! what has changed in them.
//!
//! A surface's pixels are memory of the host or the guest, described at creation; the
//! library keeps no copy, and looks the address up anew for each use, as the memory may
//! have been unmapped meanwhile. Pure; used by one worker thread.

#![forbid(unsafe_code)]

use super::limits;
use super::release::Held;
use crate::canvas::{Format, Memory, Raster, Rect, Region};
use crate::host::abi::QXLRect;
use crate::host::guest_memory::{GuestMemory, GuestRange};
use crate::host::memslot::SlotError;
use std::collections::BTreeMap;

/// Size and layout of a surface, known to be sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Pixels per line.
    pub(super) width: u32,
    /// Lines.
    pub(super) height: u32,
    /// Bytes from one line to the next one below; negative when the bottom one comes first.
    pub(super) stride: i32,
    /// How a pixel is laid out.
    pub(super) format: Format,
    /// Bytes of the pixels, all lines with their padding.
    pub(super) bytes: usize,
}

/// The surfaces of one device by id, and what became of them.
#[derive(Debug)]
pub(super) struct Surfaces {
    slots: Vec<Option<Surface>>,
    changes: BTreeMap<u32, Change>,
}

/// A living surface.
#[derive(Debug)]
pub(super) struct Surface {
    geometry: Geometry,
    group: u32,
    address: u64,
    /// Drawn to since the host last asked.
    dirty: Region,
    /// The command that made it, unless it is the primary. The guest keeps the command
    /// while the surface lives: QEMU finds the surfaces of a migrated guest in these.
    _command: Option<Held>,
}

/// What happened to a surface id between two calls of [`Surfaces::take_changes`], in this
/// order. Whoever shows surfaces compares it with what it has shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// The surface that lived at the first call died.
    pub(super) destroyed: bool,
    /// A surface was made, and lives at the second call. All of it is to be shown.
    pub(super) created: bool,
    /// What was drawn to, in the surface that lives at the second call.
    pub(super) region: Region,
}

/// Why a surface was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SurfaceError {
    /// Not one of the formats of the protocol.
    #[error("unknown surface format {0}")]
    Format(u32),
    /// Lines overlap, or the stride cannot be negated.
    #[error("stride {stride} does not fit lines of {width} pixels")]
    Stride {
        /// The stride.
        stride: i32,
        /// The width.
        width: u32,
    },
    /// Larger than a surface may be.
    #[error("surface of {width} by {height} pixels, {stride} bytes a line, is too large")]
    Size {
        /// The width.
        width: u32,
        /// The height.
        height: u32,
        /// The stride.
        stride: i32,
    },
    /// Beyond what the device announced.
    #[error("surface id {0} does not exist")]
    Id(u32),
    /// Create without destroy.
    #[error("surface {0} exists already")]
    Exists(u32),
    /// The memory of the pixels is not, or no longer, mapped.
    #[error("no pixels: {0}")]
    Pixels(#[from] SlotError),
}

impl Geometry {
    /// Checks what the host or a guest wants.
    pub(super) fn new(
        width: u32,
        height: u32,
        stride: i32,
        format: u32,
    ) -> Result<Self, SurfaceError> {
        let format = Format::from_number(format).ok_or(SurfaceError::Format(format))?;
        let line = (u64::from(width) * u64::from(format.bits())).div_ceil(8);
        let distance = u64::from(stride.unsigned_abs());
        if distance < line || stride == i32::MIN {
            return Err(SurfaceError::Stride { stride, width });
        }
        let bytes = distance * u64::from(height);
        if bytes > limits::SURFACE_BYTES || width.max(height) > limits::SURFACE_SIDE {
            return Err(SurfaceError::Size { width, height, stride });
        }
        Ok(Self { width, height, stride, format, bytes: bytes as usize })
    }

    /// All pixels.
    pub(super) fn bounds(&self) -> Rect {
        Rect::of_size(self.width, self.height)
    }
}

impl Surface {
    /// A surface whose pixels are at an address of a group; `command` made it.
    pub(super) fn new(geometry: Geometry, group: u32, address: u64, command: Option<Held>) -> Self {
        Self { geometry, group, address, dirty: Region::new(), _command: command }
    }

    /// Size and layout.
    pub(super) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The pixels, unless their memory has been unmapped.
    pub(super) fn pixels<'memory>(
        &self,
        memory: &'memory GuestMemory,
    ) -> Result<Raster<'memory>, SurfaceError> {
        let Geometry { width, height, stride, format, bytes } = self.geometry;
        let range = memory.range(self.group, self.address, bytes)?;
        Ok(Raster::new(Box::new(range), format, (width, height), stride))
    }
}

impl From<Rect> for QXLRect {
    fn from(rect: Rect) -> Self {
        Self { top: rect.top, left: rect.left, bottom: rect.bottom, right: rect.right }
    }
}

impl Memory for GuestRange<'_> {
    fn read(&self, offset: usize, into: &mut [u8]) {
        self.copy_out(offset, into);
    }

    fn write(&self, offset: usize, from: &[u8]) {
        self.copy_in(offset, from);
    }
}

impl Surfaces {
    /// No surfaces, and room for what the device announces.
    pub(super) fn new(count: u32) -> Self {
        let count = count.clamp(1, limits::SURFACES);
        Self { slots: (0..count).map(|_| None).collect(), changes: BTreeMap::new() }
    }

    /// Checks that a command may create a surface of this id.
    pub(super) fn check_free(&self, id: u32) -> Result<(), SurfaceError> {
        match self.slots.get(id as usize) {
            None => Err(SurfaceError::Id(id)),
            Some(Some(_)) => Err(SurfaceError::Exists(id)),
            Some(None) => Ok(()),
        }
    }

    /// The living surface of this id.
    pub(super) fn get(&self, id: u32) -> Result<&Surface, SurfaceError> {
        self.slots.get(id as usize).and_then(Option::as_ref).ok_or(SurfaceError::Id(id))
    }

    /// Checks that the device announced this id.
    pub(super) fn check_id(&self, id: u32) -> Result<(), SurfaceError> {
        if (id as usize) < self.slots.len() { Ok(()) } else { Err(SurfaceError::Id(id)) }
    }

    /// Puts a surface into its place; one that was there dies.
    pub(super) fn insert(&mut self, id: u32, surface: Surface) {
        self.remove(id);
        if let Some(slot) = self.slots.get_mut(id as usize) {
            *slot = Some(surface);
            self.changes.entry(id).or_default().created = true;
        }
    }

    /// Destroys a surface, if it lives.
    pub(super) fn remove(&mut self, id: u32) {
        let Some(slot) = self.slots.get_mut(id as usize) else { return };
        if slot.take().is_some() {
            let change = self.changes.entry(id).or_default();
            // One that came and went between two calls was never seen.
            let seen = change.destroyed || !change.created;
            *change = Change { destroyed: seen, ..Change::default() };
        }
    }

    /// Destroys all surfaces.
    pub(super) fn clear(&mut self) {
        (0..self.slots.len() as u32).for_each(|id| self.remove(id));
    }

    /// Notes that a surface was drawn to.
    pub(super) fn note_changed(&mut self, id: u32, region: &Region) {
        let Some(Some(surface)) = self.slots.get_mut(id as usize) else { return };
        if !region.is_empty() {
            surface.dirty.union(region);
            self.changes.entry(id).or_default().region.union(region);
        }
    }

    /// What happened since the last call, by id.
    pub(super) fn take_changes(&mut self) -> BTreeMap<u32, Change> {
        std::mem::take(&mut self.changes)
    }

    /// What was drawn to a surface since [`Self::clear_dirty`], whoever was shown it.
    pub(super) fn dirty(&self, id: u32) -> Result<&Region, SurfaceError> {
        Ok(&self.get(id)?.dirty)
    }

    /// Forgets what was drawn to a surface.
    pub(super) fn clear_dirty(&mut self, id: u32) {
        if let Some(Some(surface)) = self.slots.get_mut(id as usize) {
            surface.dirty = Region::new();
        }
    }
}

/// The id that the primary surface always has.
pub(super) const PRIMARY: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const XRGB: u32 = 32;

    #[test]
    fn sound_geometries_are_taken_either_way_up() {
        for stride in [2560, -2560] {
            let geometry = Geometry::new(640, 480, stride, XRGB).unwrap();
            assert_eq!((geometry.width, geometry.height), (640, 480));
            assert_eq!(geometry.bytes, 640 * 480 * 4);
        }
        assert!(Geometry::new(9, 1, 2, 1).is_ok());
        assert!(Geometry::new(17, 1, 2, 1).is_err());
    }

    #[test]
    fn unsound_geometries_are_refused() {
        assert_eq!(Geometry::new(1, 1, 4, 33), Err(SurfaceError::Format(33)));
        let stride = 2559;
        assert_eq!(
            Geometry::new(640, 480, stride, XRGB),
            Err(SurfaceError::Stride { stride, width: 640 })
        );
        assert!(Geometry::new(u32::MAX, 1, i32::MAX, XRGB).is_err());
        assert!(Geometry::new(1, 0, i32::MIN, XRGB).is_err());
        assert_eq!(
            Geometry::new(1, u32::MAX, 4, XRGB),
            Err(SurfaceError::Size { width: 1, height: u32::MAX, stride: 4 })
        );
        assert!(Geometry::new(limits::SURFACE_SIDE, 1, 1 << 20, XRGB).is_ok());
        assert!(Geometry::new(limits::SURFACE_SIDE + 1, 1, 1 << 20, XRGB).is_err());
    }

    fn surface() -> Surface {
        Surface::new(Geometry::new(8, 8, 32, XRGB).unwrap(), 0, 64, None)
    }

    #[test]
    fn ids_are_free_alive_or_wrong() {
        let mut surfaces = Surfaces::new(4);
        assert_eq!(surfaces.check_free(4), Err(SurfaceError::Id(4)));
        assert_eq!(surfaces.get(0).err(), Some(SurfaceError::Id(0)));
        surfaces.insert(0, surface());
        assert_eq!(surfaces.check_free(0), Err(SurfaceError::Exists(0)));
        assert!(surfaces.get(0).is_ok());
        surfaces.remove(0);
        assert_eq!(surfaces.check_free(0), Ok(()));
        surfaces.remove(99);
        surfaces.insert(99, surface());
        assert_eq!(surfaces.get(99).err(), Some(SurfaceError::Id(99)));
        assert!(surfaces.take_changes().keys().all(|id| *id == 0));
    }

    #[test]
    fn changes_tell_what_whoever_shows_surfaces_has_missed() {
        let (created, destroyed) = (true, true);
        let region = Region::from(Rect::new(1, 1, 2, 2));
        let mut surfaces = Surfaces::new(4);
        surfaces.insert(1, surface());
        surfaces.note_changed(1, &region);
        surfaces.note_changed(2, &region);
        let change = Change { created, region: region.clone(), ..Change::default() };
        assert_eq!(surfaces.take_changes(), [(1, change)].into());
        assert_eq!(surfaces.take_changes(), BTreeMap::new());
        surfaces.note_changed(1, &region);
        surfaces.insert(1, surface());
        let change = Change { destroyed, created, ..Change::default() };
        assert_eq!(surfaces.take_changes(), [(1, change)].into());
        surfaces.remove(1);
        surfaces.insert(1, surface());
        surfaces.remove(1);
        let change = Change { destroyed, ..Change::default() };
        assert_eq!(surfaces.take_changes(), [(1, change)].into());
        surfaces.insert(1, surface());
        surfaces.clear();
        assert_eq!(surfaces.take_changes(), [(1, Change::default())].into());
    }

    #[test]
    fn the_host_is_told_what_is_dirty_whoever_has_taken_the_changes() {
        let mut surfaces = Surfaces::new(4);
        surfaces.insert(0, surface());
        let region = Region::from(Rect::new(1, 1, 2, 2));
        surfaces.note_changed(0, &region);
        surfaces.take_changes();
        assert_eq!(surfaces.dirty(0), Ok(&region));
        surfaces.clear_dirty(0);
        assert_eq!(surfaces.dirty(0), Ok(&Region::new()));
        assert!(surfaces.take_changes().is_empty());
    }

    #[test]
    fn an_absurd_number_of_surfaces_takes_no_memory() {
        assert_eq!(
            Surfaces::new(u32::MAX).check_free(limits::SURFACES),
            Err(SurfaceError::Id(1024))
        );
        assert_eq!(Surfaces::new(0).check_free(0), Ok(()));
    }

    proptest! {
        #[test]
        fn a_sound_surface_holds_its_lines(
            width in any::<u32>(), height in any::<u32>(), stride in any::<i32>(), format in any::<u8>(),
        ) {
            if let Ok(geometry) = Geometry::new(width, height, stride, u32::from(format)) {
                let bits = u64::from(geometry.format.bits());
                prop_assert!(geometry.bytes as u64 <= limits::SURFACE_BYTES);
                prop_assert!(geometry.bytes as u64 * 8 >= u64::from(width) * u64::from(height) * bits);
            }
        }
    }
}
