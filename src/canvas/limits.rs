//! Limits of the canvas, each with its reason.

/// Rectangles in one region. Guests draw in few places at a time; beyond this the places
/// are joined, because each addition costs time in proportion to their number.
pub const REGION_RECTS: usize = 128;

/// Rectangles in a region that must stay as it is, such as a clip: `n` overlapping ones
/// may become about `n * n / 4`.
pub const EXACT_RECTS: usize = 1 << 18;

/// Pixels of a source's longer side that are scaled: lines are worked on in memory of
/// their length, and no surface or bitmap is wider.
pub const SOURCE_SIDE: u32 = 65_535;

/// Pixels of a source that is turned, or of a part of a surface that takes a source's
/// place. It is looked at in any order, so it is copied as a
/// whole; this is twice the largest screens.
pub const TURNED_PIXELS: u64 = 1 << 26;

/// Points that a path may be made of. Drivers cut long ones up to fit their buffers.
pub const PATH_POINTS: usize = 1 << 20;

/// Pixels that the lines of one drawing go through; what comes later is not drawn. Many
/// times a screen full of lines, and drawn within a second or so.
pub const STROKE_STEPS: u64 = 1 << 24;

/// Halvings of a curve. Each brings it four times closer to its chord, so this is more
/// than the widest surface needs.
pub const CURVE_HALVINGS: u32 = 12;

/// Pixels of a string's glyphs, which are put together before they are drawn.
pub const TEXT_PIXELS: u64 = 1 << 26;
