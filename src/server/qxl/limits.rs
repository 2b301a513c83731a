//! Limits of the graphics workers, each with its reason.

use std::time::Duration;

/// Requests that wait for one worker. QEMU has at most a handful under way (it makes
/// them under its big lock); a caller beyond this waits for its turn.
pub const QUEUED_REQUESTS: usize = 1024;

/// Surface ids of one device. QEMU's qxl announces 1024.
pub const SURFACES: u32 = 1024;

/// Bytes of one surface: what fits an i32, as guests' drivers compute with.
pub const SURFACE_BYTES: u64 = 0x7fff_ffff;

/// Pixels of a surface's or bitmap's longer side. Eight times the widest screens; rows
/// are worked on in memory of their length.
pub const SURFACE_SIDE: u32 = 65_535;

/// Chunks that a guest's data may be split into. Drivers cut at pages or more, so these
/// are at least 256 MB; a list that leads back into itself ends here.
pub const DATA_CHUNKS: usize = 65_536;

/// Bytes of a QUIC image for each pixel: four channels with words of 26 bits at most, and
/// in front of a pixel a run's length of 0.
pub const QUIC_PIXEL: u64 = 20;

/// Bytes of a QUIC image's data: what the largest image that is drawn has uncompressed. A
/// guest's chunks may lie above one another and come to much more than its memory.
pub const QUIC_BYTES: u64 = 256 << 20;

/// Bytes of a path, string or clip: a million points, or the glyphs of a large screen.
pub const DETAIL_BYTES: usize = 16 << 20;

/// Rectangles of one clip. Drivers send what a window's visible part is made of.
pub const CLIP_RECTS: usize = 65_536;

/// Commands taken from one ring before requests get their turn, so that a guest
/// that never stops drawing delays a waiting vCPU only by these.
pub const COMMANDS_PER_TURN: usize = 128;

/// How long one turn goes on taking commands, for the same reason: drawings may be large.
pub const TURN: Duration = Duration::from_millis(10);

/// Commands taken in one flush. A ring holds 32; a guest that refills it as fast as
/// we empty it must not hold up the caller, who has QEMU's big lock, for ever.
pub const COMMANDS_PER_FLUSH: usize = 65_536;

/// Commands in one `spice_qxl_loadvm_commands`: a surface each, and the cursor.
pub const LOADVM_COMMANDS: u32 = SURFACES + 1;

/// Largest width and height of a pointer: those that guests use have 64 pixels, or 256.
pub const CURSOR_SIDE: u16 = 1024;

/// Pieces of one pointer's picture. Drivers put a few kilobytes into each, and the largest
/// picture has four megabytes.
pub const CURSOR_CHUNKS: usize = 1024;

/// How long the rings are left alone after a command at which the library panicked: it
/// may panic at the next one, too, and each costs a line in the log.
pub const RINGS_REST: Duration = Duration::from_secs(1);

/// How long an empty ring is left before its wakeup is armed. A wakeup costs the
/// guest an exit; a guest that draws keeps drawing.
pub const RING_LINGER: Duration = Duration::from_millis(10);

/// Longest hardware address in `spice_qxl_set_device_info`, in bytes.
pub const DEVICE_ADDRESS_BYTES: usize = 255;

/// Most monitors of one device, the number that its address message has room for.
pub const MONITORS: u32 = 16;

/// Most planes of a scanout: DRM knows four.
pub const SCANOUT_PLANES: u32 = 4;

/// Log lines about a guest's mistakes, per device and [`COMPLAINT_WINDOW`].
pub const COMPLAINTS: u32 = 10;

/// See [`COMPLAINTS`].
pub const COMPLAINT_WINDOW: Duration = Duration::from_secs(60);

/// Pixels of a primary surface that clients are shown: two screens of 8192 by 4320. A
/// larger one would cost the host as much memory again as the guest has given it.
pub const PIXELS_SHOWN: u64 = 2 * 8192 * 4320;

/// Bytes of a surface that are looked through before requests get their turn: some
/// hundred microseconds.
pub const LOOK_BYTES: u64 = 1024 * 1024;

/// The shortest time between two looks at what a guest has drawn: what it draws meanwhile
/// is seen together, and a hundred pictures a second are more than anybody sees.
pub const LOOK_PERIOD: Duration = Duration::from_millis(10);
