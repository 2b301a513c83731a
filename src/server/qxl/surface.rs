//! Surfaces: which geometry is sound, and which ids are in use.
//!
//! A surface's pixels are memory of the host or the guest, described at creation;
//! the library keeps no copy. Pure; used by one worker thread.

#![forbid(unsafe_code)]

use super::limits;
use super::release::Held;

/// Size and layout of a surface, known to be sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Pixels per line.
    pub(super) width: u32,
    /// Lines.
    pub(super) height: u32,
    /// Bytes of the pixels, all lines with their padding.
    pub(super) bytes: usize,
}

/// The surfaces of one device by id.
#[derive(Debug)]
pub(super) struct Surfaces {
    slots: Vec<Option<Surface>>,
}

/// A living surface.
#[derive(Debug)]
pub(super) enum Surface {
    /// The primary, made by a request of the host.
    Primary,
    /// Made by a command of the ring. The guest keeps the command while the surface
    /// lives: QEMU finds the surfaces of a migrated guest in these commands.
    OffScreen(#[expect(dead_code, reason = "held for its drop")] Held),
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
    /// More bytes than a surface may have.
    #[error("surface of {height} lines of {stride} bytes is too large")]
    Size {
        /// The stride.
        stride: i32,
        /// The height.
        height: u32,
    },
    /// Beyond what the device announced.
    #[error("surface id {0} does not exist")]
    Id(u32),
    /// Create without destroy.
    #[error("surface {0} exists already")]
    Exists(u32),
}

impl Geometry {
    /// Checks what the host or a guest wants.
    pub(super) fn new(
        width: u32,
        height: u32,
        stride: i32,
        format: u32,
    ) -> Result<Self, SurfaceError> {
        let bits = bits_per_pixel(format).ok_or(SurfaceError::Format(format))?;
        let line = (u64::from(width) * bits).div_ceil(8);
        let distance = u64::from(stride.unsigned_abs());
        if distance < line || stride == i32::MIN {
            return Err(SurfaceError::Stride { stride, width });
        }
        let bytes = distance * u64::from(height);
        if bytes > limits::SURFACE_BYTES {
            return Err(SurfaceError::Size { stride, height });
        }
        Ok(Self { width, height, bytes: bytes as usize })
    }
}

impl Surfaces {
    /// No surfaces, and room for what the device announces.
    pub(super) fn new(count: u32) -> Self {
        let count = count.clamp(1, limits::SURFACES);
        Self { slots: (0..count).map(|_| None).collect() }
    }

    /// Checks that a command may create a surface of this id.
    pub(super) fn check_free(&self, id: u32) -> Result<(), SurfaceError> {
        match self.slots.get(id as usize) {
            None => Err(SurfaceError::Id(id)),
            Some(Some(_)) => Err(SurfaceError::Exists(id)),
            Some(None) => Ok(()),
        }
    }

    /// Checks that there is a surface of this id.
    pub(super) fn check_alive(&self, id: u32) -> Result<(), SurfaceError> {
        match self.slots.get(id as usize) {
            Some(Some(_)) => Ok(()),
            _ => Err(SurfaceError::Id(id)),
        }
    }

    /// Checks that the device announced this id.
    pub(super) fn check_id(&self, id: u32) -> Result<(), SurfaceError> {
        if (id as usize) < self.slots.len() { Ok(()) } else { Err(SurfaceError::Id(id)) }
    }

    /// Puts a surface into its place; one that was there dies.
    pub(super) fn insert(&mut self, id: u32, surface: Surface) {
        if let Some(slot) = self.slots.get_mut(id as usize) {
            *slot = Some(surface);
        }
    }

    /// Destroys a surface, if it lives.
    pub(super) fn remove(&mut self, id: u32) {
        if let Some(slot) = self.slots.get_mut(id as usize) {
            *slot = None;
        }
    }

    /// Destroys all surfaces.
    pub(super) fn clear(&mut self) {
        self.slots.iter_mut().for_each(|slot| *slot = None);
    }
}

/// The id that the primary surface always has.
pub(super) const PRIMARY: u32 = 0;

/// `SPICE_SURFACE_FMT_*`: 1 and 8 are masks, 16 is x555, 80 is 565, 32 and 96 are
/// 32 bits without and with alpha.
fn bits_per_pixel(format: u32) -> Option<u64> {
    match format {
        1 => Some(1),
        8 => Some(8),
        16 | 80 => Some(16),
        32 | 96 => Some(32),
        _ => None,
    }
}

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
            Err(SurfaceError::Size { stride: 4, height: u32::MAX })
        );
    }

    #[test]
    fn ids_are_free_alive_or_wrong() {
        let mut surfaces = Surfaces::new(4);
        assert_eq!(surfaces.check_free(4), Err(SurfaceError::Id(4)));
        assert_eq!(surfaces.check_alive(0), Err(SurfaceError::Id(0)));
        surfaces.insert(0, Surface::Primary);
        assert_eq!(surfaces.check_free(0), Err(SurfaceError::Exists(0)));
        assert_eq!(surfaces.check_alive(0), Ok(()));
        surfaces.remove(0);
        assert_eq!(surfaces.check_free(0), Ok(()));
        surfaces.remove(99);
        surfaces.insert(99, Surface::Primary);
        assert_eq!(surfaces.check_alive(99), Err(SurfaceError::Id(99)));
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
                let bits = bits_per_pixel(u32::from(format)).unwrap();
                prop_assert!(geometry.bytes as u64 <= limits::SURFACE_BYTES);
                prop_assert!(geometry.bytes as u64 * 8 >= u64::from(width) * u64::from(height) * bits);
            }
        }
    }
}
