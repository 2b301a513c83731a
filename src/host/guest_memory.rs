//! Guest memory: the only place that reads or writes it.
//!
//! The guest may change its memory at any moment, so no reference into it is ever
//! made: each field is copied out once, byte by byte, and judged afterwards. Used
//! by the worker thread of the device; slots may be described on any thread.

use super::abi::{QXLDevInitInfo, QXLDevMemSlot};
use super::memslot::{MemSlots, SlotError};
use std::marker::PhantomData;

/// A memory slot whose host mapping its maker vouches for.
#[derive(Debug, Clone, Copy)]
pub struct GuestSlot {
    slot: QXLDevMemSlot,
}

/// What a device's guest addresses mean.
#[derive(Debug)]
pub struct GuestMemory {
    slots: MemSlots,
}

/// A stretch of guest memory that lies wholly inside a mapped slot.
///
/// It borrows the table, so no slot can go away while it is in use.
#[derive(Debug, Clone, Copy)]
pub struct GuestRange<'memory> {
    start: u64,
    len: usize,
    memory: PhantomData<&'memory GuestMemory>,
}

/// The host address of a command, kept to give the command back later.
///
/// Only a number to us: nothing is read through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandAddress(u64);

impl GuestSlot {
    /// Takes the host's description of a slot.
    ///
    /// # Safety
    /// The bytes from `virt_start` to `virt_end` stay mapped, readable and
    /// writable until the device's worker has carried out the removal of the slot.
    /// For the slot that spans all memory this holds of each address that the host
    /// passes in with that slot's group.
    pub unsafe fn new(slot: QXLDevMemSlot) -> Self {
        Self { slot }
    }
}

impl GuestMemory {
    /// An empty table of the shape that the device announces.
    pub fn new(info: &QXLDevInitInfo) -> Result<Self, SlotError> {
        Ok(Self { slots: MemSlots::new(info)? })
    }

    /// Maps a slot, replacing what was mapped there.
    pub fn add(&mut self, slot: &GuestSlot) -> Result<(), SlotError> {
        self.slots.add(&slot.slot)
    }

    /// Unmaps a slot.
    pub fn remove(&mut self, group: u32, slot: u32) -> Result<(), SlotError> {
        self.slots.remove(group, slot)
    }

    /// Unmaps all slots.
    pub fn clear(&mut self) {
        self.slots.clear();
    }

    /// The `len` bytes at a guest address.
    pub fn range(&self, group: u32, address: u64, len: usize) -> Result<GuestRange<'_>, SlotError> {
        let start = self.slots.translate(group, address, len as u64)?;
        Ok(GuestRange { start, len, memory: PhantomData })
    }
}

impl GuestRange<'_> {
    /// Copies `N` bytes out. Each byte is read exactly once.
    ///
    /// # Panics
    /// When the bytes do not lie in the range: the caller asked for a structure
    /// that is smaller than what it reads of it.
    pub fn read<const N: usize>(&self, offset: usize) -> [u8; N] {
        let from = self.within(offset, N);
        // SAFETY: the table was filled from `GuestSlot`s, whose makers vouch for the
        // mapping until the slot is removed; `self` borrows the table, so that did
        // not happen yet; the bytes lie in the range, which lies in the slot.
        // Volatile because the guest may write at the same time.
        std::array::from_fn(|at| unsafe { from.wrapping_add(at).read_volatile() })
    }

    /// A little-endian u32.
    pub fn read_u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.read(offset))
    }

    /// A little-endian u64.
    pub fn read_u64(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.read(offset))
    }

    /// Copies bytes out, as many as `into` has room for. What the guest writes at the
    /// same time arrives in whole or in part.
    ///
    /// # Panics
    /// As [`Self::read`].
    pub fn copy_out(&self, offset: usize, into: &mut [u8]) {
        let from = self.within(offset, into.len());
        // SAFETY: as in `read`; `into` is as long. C's function is opaque to the compiler,
        // which so cannot assume that the bytes stay as they are.
        unsafe { libc::memmove(into.as_mut_ptr().cast(), from.cast(), into.len()) };
    }

    /// Copies bytes in.
    ///
    /// # Panics
    /// As [`Self::read`].
    pub fn copy_in(&self, offset: usize, from: &[u8]) {
        let to = self.within(offset, from.len());
        // SAFETY: as in `copy_out`, the other way.
        unsafe { libc::memmove(to.cast(), from.as_ptr().cast(), from.len()) };
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Overwrites the whole range with zero bytes.
    pub fn clear(&self) {
        // SAFETY: as in `read`. A guest that writes at the same time sees some
        // mixture of bytes, which is its own affair.
        unsafe { self.pointer().write_bytes(0, self.len) };
    }

    /// Where the range begins, for giving a command back.
    pub fn command_address(&self) -> CommandAddress {
        CommandAddress(self.start)
    }

    /// The first of some bytes of the range.
    fn within(&self, offset: usize, len: usize) -> *mut u8 {
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.len);
        assert!(inside, "access past a structure");
        self.pointer().wrapping_add(offset)
    }

    fn pointer(&self) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(self.start as usize)
    }
}

impl CommandAddress {
    /// The pointer that the host gets back.
    pub(super) fn pointer(self) -> *mut libc::c_void {
        std::ptr::with_exposed_provenance_mut(self.0 as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory_over(bytes: &mut [u8]) -> GuestMemory {
        let info = QXLDevInitInfo {
            num_memslots_groups: 1,
            num_memslots: 1,
            memslot_gen_bits: 8,
            memslot_id_bits: 8,
            ..QXLDevInitInfo::default()
        };
        let start = bytes.as_mut_ptr().expose_provenance() as u64;
        let slot = QXLDevMemSlot {
            virt_start: start,
            virt_end: start + bytes.len() as u64,
            addr_delta: start,
            ..QXLDevMemSlot::default()
        };
        let mut memory = GuestMemory::new(&info).unwrap();
        // SAFETY: the tests keep the bytes until they are done with the table.
        memory.add(&unsafe { GuestSlot::new(slot) }).unwrap();
        memory
    }

    #[test]
    fn fields_are_read_where_they_are() {
        let mut bytes = *b"\x01\x02\x03\x04\x05\x06\x07\x08\x09";
        let memory = memory_over(&mut bytes);
        let range = memory.range(0, 1, 8).unwrap();
        assert_eq!(range.read_u32(0), 0x0504_0302);
        assert_eq!(range.read_u64(0), 0x0908_0706_0504_0302);
        assert_eq!(range.read::<2>(6), [8, 9]);
        assert!(memory.range(0, 2, 8).is_err());
    }

    #[test]
    fn clearing_touches_the_range_only() {
        let mut bytes = [0xff_u8; 8];
        let memory = memory_over(&mut bytes);
        memory.range(0, 2, 4).unwrap().clear();
        assert_eq!(memory.range(0, 0, 8).unwrap().read::<8>(0), [255, 255, 0, 0, 0, 0, 255, 255]);
    }

    #[test]
    fn bytes_are_copied_both_ways() {
        let mut bytes = *b"abcdefgh";
        let memory = memory_over(&mut bytes);
        let range = memory.range(0, 1, 6).unwrap();
        let mut out = [0; 3];
        range.copy_out(3, &mut out);
        assert_eq!(&out, b"efg");
        range.copy_in(4, b"XY");
        assert_eq!(&range.read::<6>(0), b"bcdeXY");
        assert_eq!((range.len(), range.is_empty()), (6, false));
    }

    #[test]
    #[should_panic(expected = "access past a structure")]
    fn reading_past_the_range_is_a_bug_of_ours() {
        let mut bytes = [0_u8; 8];
        memory_over(&mut bytes).range(0, 0, 8).unwrap().read_u32(5);
    }
}
