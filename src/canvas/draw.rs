//! Drawing: what happens to the pixels of a surface.

use super::bitmap::{Bitmap, BitmapFormat};
use super::pixels::{Format, Raster};
use super::region::{Rect, Region};

/// One drawing on a surface.
#[derive(Debug)]
pub struct Drawing<'memory> {
    /// What may change, inside the surface.
    pub bounds: Rect,
    /// Only what is in here changes.
    pub clip: Option<Region>,
    /// What is drawn.
    pub operation: Operation<'memory>,
}

/// What is drawn.
#[derive(Debug)]
pub enum Operation<'memory> {
    /// Copies a part of a bitmap, of the size of the bounds.
    Copy {
        /// The bitmap.
        source: Bitmap<'memory>,
        /// The part.
        area: Rect,
    },
}

/// Why nothing was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DrawError {
    /// The bounds are not those of pixels of the surface.
    #[error("it reaches outside its surface")]
    Outside,
    /// The part of the source is not a part of it.
    #[error("it takes more than its source has")]
    Source,
    /// Not something that can be drawn.
    #[error("it is of a kind that is not drawn")]
    Unsupported,
}

impl Drawing<'_> {
    /// Draws, and says what may have changed.
    pub fn draw(&self, target: &Raster<'_>) -> Result<Region, DrawError> {
        if self.bounds.left > self.bounds.right
            || self.bounds.top > self.bounds.bottom
            || !target.bounds().contains(&self.bounds)
        {
            return Err(DrawError::Outside);
        }
        let mut region = Region::from(self.bounds);
        if let Some(clip) = &self.clip {
            region = clip.clone();
            region.intersect(&self.bounds);
        }
        match &self.operation {
            Operation::Copy { source, area } => {
                copy(target, &region, &self.bounds, source, area)?;
            }
        }
        Ok(region)
    }
}

fn copy(
    target: &Raster<'_>,
    region: &Region,
    bounds: &Rect,
    source: &Bitmap<'_>,
    area: &Rect,
) -> Result<(), DrawError> {
    let same_size = (area.width(), area.height()) == (bounds.width(), bounds.height());
    if !source.bounds().contains(area) || !same_size {
        return Err(DrawError::Source);
    }
    let plain = matches!(source.format, BitmapFormat::Xrgb | BitmapFormat::Argb)
        && matches!(target.format(), Format::Xrgb | Format::Argb);
    if !plain {
        return Err(DrawError::Unsupported);
    }
    let mut row = Vec::new();
    for rect in region.iter() {
        row.resize(rect.width() as usize * 4, 0);
        let x = (rect.left - bounds.left + area.left) as usize;
        for y in rect.top..rect.bottom {
            source.read_line((y - bounds.top + area.top) as u32, x * 4, &mut row);
            target.write_bytes(rect.left as u32, y as u32, &row);
        }
    }
    Ok(())
}
