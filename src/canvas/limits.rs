//! Limits of the canvas, each with its reason.

/// Rectangles in one region. Guests draw in few places at a time; beyond this the places
/// are joined, because each addition costs time in proportion to their number.
pub const REGION_RECTS: usize = 128;
