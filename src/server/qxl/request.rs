//! What the host asks of a worker.

#![forbid(unsafe_code)]

use super::release::{Completion, Done};
use crate::canvas::Region;
use crate::host::abi::{QXLCommandExt, QXLDevSurfaceCreate};
use crate::host::guest_memory::GuestSlot;
use parking_lot::Mutex;
use std::sync::Arc;

/// One request. Dropping it answers it, see [`Done`] and [`Completion`].
#[derive(Debug)]
pub(super) enum Request {
    /// Something may be in the rings.
    Wakeup,
    /// The guest waits for memory that it wants back.
    Oom,
    /// Take commands from the rings from now on.
    Start,
    /// Leave the rings alone from now on.
    Stop(Done),
    /// Make a surface's memory show what the guest has drawn, and say what that was.
    UpdateArea { surface: u32, clear: bool, dirty: Arc<Mutex<Region>>, done: Done },
    /// Map memory.
    AddSlot { slot: GuestSlot, done: Done },
    /// Unmap memory.
    RemoveSlot { group: u32, slot: u32 },
    /// Unmap all memory.
    ResetSlots,
    /// Make the primary surface.
    CreatePrimary { surface: u32, create: QXLDevSurfaceCreate, done: Done },
    /// Destroy the primary surface.
    DestroyPrimary { surface: u32, done: Done },
    /// Let go of what still refers to a surface.
    DestroySurface { surface: u32, done: Done },
    /// Destroy all surfaces.
    DestroySurfaces(Done),
    /// Carry out everything in the rings.
    FlushSurfaces(Completion),
    /// Forget remembered images.
    ResetImageCache(Done),
    /// Forget the cursor.
    ResetCursor(Done),
    /// Commands that the guest gave before it was saved or migrated.
    Loadvm { commands: Vec<QXLCommandExt>, done: Done },
    /// The guest's driver told which monitors it drives.
    MonitorsConfig { group: u32, address: u64, done: Completion },
    /// Clients came or went.
    Viewers,
    /// The guest's driver went away.
    DriverUnload,
    /// End the worker.
    Quit,
    /// For tests of the panic boundary.
    #[cfg(test)]
    Panic(Done),
}
