//! `QXLMonitorsConfig`: which monitors a guest's driver drives, read from its memory.

#![forbid(unsafe_code)]

use super::limits;
use crate::host::guest_memory::GuestMemory;
use crate::host::memslot::SlotError;
use crate::wire::display::Head;

/// What is wrong with a monitors configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum MonitorsError {
    /// It is not in the guest's memory.
    #[error(transparent)]
    Address(#[from] SlotError),
    /// No monitor, or more than are allowed.
    #[error("{count} monitors of at most {max}")]
    Count { count: u16, max: u16 },
}

/// u16 count, u16 how many there may be; then for each u32 id, surface, width, height, x, y,
/// flags.
const HEADER: usize = 4;
const HEAD: usize = 28;

/// Reads a configuration; at most `allowed` monitors are taken, and those without a size are
/// left out. Returns them and how many there may be.
pub(super) fn read(
    memory: &GuestMemory,
    group: u32,
    address: u64,
    allowed: u32,
) -> Result<(Vec<Head>, u16), MonitorsError> {
    let header = memory.range(group, address, HEADER)?.read::<HEADER>(0);
    let count = u16::from_le_bytes([header[0], header[1]]);
    let max = u16::from_le_bytes([header[2], header[3]]);
    if count == 0 || count > max {
        return Err(MonitorsError::Count { count, max });
    }
    let allowed = allowed.min(limits::MONITORS) as u16;
    let count = usize::from(count.min(allowed));
    let heads = memory.range(group, address, HEADER + count * HEAD)?;
    let heads = (0..count).map(|n| {
        let word = |at: usize| heads.read_u32(HEADER + n * HEAD + at * 4);
        Head { id: word(0), surface: word(1), size: (word(2), word(3)), at: (word(4), word(5)) }
    });
    let heads = heads.filter(|head| head.size.0 > 0 && head.size.1 > 0).collect();
    Ok((heads, max.min(allowed)))
}
