//! Guest addresses to host addresses: every bound is checked here and only here.
//!
//! Pure arithmetic on numbers; nothing is read. A guest address is split, from
//! the top, into slot, generation and offset; the group comes from the host with
//! each command. Used by one worker thread.

#![forbid(unsafe_code)]

use super::abi::{QXLDevInitInfo, QXLDevMemSlot};

/// The slots of one graphics device.
#[derive(Debug)]
pub struct MemSlots {
    groups: Vec<Vec<Option<Slot>>>,
    id_bits: u32,
    generation_bits: u32,
}

/// A window of guest memory in the host's address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    generation: u64,
    start: u64,
    end: u64,
    delta: u64,
}

/// Why an address or a slot was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// The device announced more than the library keeps tables for, or nothing.
    #[error("{groups} groups of {slots} memory slots, {id_bits}+{generation_bits} address bits")]
    Shape {
        /// Announced groups.
        groups: u32,
        /// Announced slots in each.
        slots: u32,
        /// Announced address bits for the slot.
        id_bits: u32,
        /// Announced address bits for the generation.
        generation_bits: u32,
    },
    /// There is no such group.
    #[error("memory slot group {0} does not exist")]
    Group(u32),
    /// There is no such slot, or nothing is mapped in it.
    #[error("memory slot {slot} of group {group} does not exist")]
    Slot {
        /// The group.
        group: u32,
        /// The slot.
        slot: u64,
    },
    /// A window whose end lies before its start.
    #[error("memory slot ends before it starts")]
    Backwards,
    /// The address was made for an earlier mapping of the slot.
    #[error("address {address:#x} is of generation {found}, the memory slot of {expected}")]
    Generation {
        /// The address.
        address: u64,
        /// Its generation.
        found: u64,
        /// The slot's generation.
        expected: u64,
    },
    /// The bytes do not lie inside the slot.
    #[error("{len} bytes at address {address:#x} do not lie in memory slot {slot}")]
    Range {
        /// The address.
        address: u64,
        /// How many bytes were wanted.
        len: u64,
        /// The slot.
        slot: u64,
    },
}

impl MemSlots {
    /// An empty table of the shape that the device announces.
    pub fn new(info: &QXLDevInitInfo) -> Result<Self, SlotError> {
        let (id_bits, generation_bits) =
            (u32::from(info.memslot_id_bits), u32::from(info.memslot_gen_bits));
        let sane = (1..=MAX_GROUPS).contains(&info.num_memslots_groups)
            && (1..=MAX_SLOTS).contains(&info.num_memslots)
            && id_bits + generation_bits < u64::BITS;
        if !sane {
            return Err(SlotError::Shape {
                groups: info.num_memslots_groups,
                slots: info.num_memslots,
                id_bits,
                generation_bits,
            });
        }
        let group = vec![None; info.num_memslots as usize];
        Ok(Self {
            groups: vec![group; info.num_memslots_groups as usize],
            id_bits,
            generation_bits,
        })
    }

    /// Maps a slot, replacing what was mapped there.
    pub fn add(&mut self, slot: &QXLDevMemSlot) -> Result<(), SlotError> {
        if slot.virt_end < slot.virt_start {
            return Err(SlotError::Backwards);
        }
        *self.entry(slot.slot_group_id, slot.slot_id)? = Some(Slot {
            generation: u64::from(slot.generation),
            start: slot.virt_start,
            end: slot.virt_end,
            delta: slot.addr_delta,
        });
        Ok(())
    }

    /// Unmaps a slot; an empty one stays empty.
    pub fn remove(&mut self, group: u32, slot: u32) -> Result<(), SlotError> {
        *self.entry(group, slot)? = None;
        Ok(())
    }

    /// Unmaps all slots of all groups.
    pub fn clear(&mut self) {
        self.groups.iter_mut().flatten().for_each(|slot| *slot = None);
    }

    /// The host address of `len` bytes at a guest address.
    pub fn translate(&self, group: u32, address: u64, len: u64) -> Result<u64, SlotError> {
        let slots = self.groups.get(group as usize).ok_or(SlotError::Group(group))?;
        if slots[0].is_some_and(Slot::is_whole_host) {
            return host_pointer(address, len);
        }
        let index = top_bits(address, self.id_bits);
        let generation = top_bits(address << self.id_bits, self.generation_bits);
        let offset = address & (u64::MAX >> (self.id_bits + self.generation_bits));
        let slot = usize::try_from(index)
            .ok()
            .and_then(|index| slots.get(index).copied().flatten())
            .ok_or(SlotError::Slot { group, slot: index })?;
        if generation != slot.generation {
            return Err(SlotError::Generation {
                address,
                found: generation,
                expected: slot.generation,
            });
        }
        // The delta may be "negative": the sum wraps, and the range check decides.
        let start = offset.wrapping_add(slot.delta);
        let inside = start >= slot.start
            && start != 0
            && start.checked_add(len).is_some_and(|end| end <= slot.end);
        if inside { Ok(start) } else { Err(SlotError::Range { address, len, slot: index }) }
    }

    fn entry(&mut self, group: u32, slot: u32) -> Result<&mut Option<Slot>, SlotError> {
        self.groups
            .get_mut(group as usize)
            .ok_or(SlotError::Group(group))?
            .get_mut(slot as usize)
            .ok_or(SlotError::Slot { group, slot: u64::from(slot) })
    }
}

impl Slot {
    /// Whether the slot spans all memory: then its group's addresses are plain
    /// pointers of the host, which may carry tag bits where others have slot and
    /// generation. QEMU passes its own (not the guest's) commands so.
    fn is_whole_host(self) -> bool {
        self.start == 0 && self.end == u64::MAX && self.delta == 0
    }
}

fn host_pointer(address: u64, len: u64) -> Result<u64, SlotError> {
    if address == 0 || address.checked_add(len).is_none() {
        return Err(SlotError::Range { address, len, slot: 0 });
    }
    Ok(address)
}

fn top_bits(value: u64, bits: u32) -> u64 {
    value.checked_shr(u64::BITS - bits).unwrap_or(0)
}

/// QEMU has 2 groups, one for itself and one for the guest.
const MAX_GROUPS: u32 = 16;
/// QEMU has 8 slots in each; the index travels in at most 8 bits there.
const MAX_SLOTS: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GUEST: u32 = 1;

    fn table() -> MemSlots {
        let info = QXLDevInitInfo {
            num_memslots_groups: 2,
            num_memslots: 8,
            memslot_gen_bits: 8,
            memslot_id_bits: 8,
            ..QXLDevInitInfo::default()
        };
        MemSlots::new(&info).expect("QEMU's shape")
    }

    fn guest_slot(slot_id: u32, generation: u32, start: u64, end: u64) -> QXLDevMemSlot {
        QXLDevMemSlot {
            slot_group_id: GUEST,
            slot_id,
            generation,
            virt_start: start,
            virt_end: end,
            addr_delta: start,
            ..QXLDevMemSlot::default()
        }
    }

    fn address(slot: u64, generation: u64, offset: u64) -> u64 {
        slot << 56 | generation << 48 | offset
    }

    #[test]
    fn an_address_is_slot_generation_and_offset() {
        let mut slots = table();
        slots.add(&guest_slot(3, 7, 0x1000, 0x3000)).unwrap();
        assert_eq!(slots.translate(GUEST, address(3, 7, 0x10), 16), Ok(0x1010));
        assert_eq!(slots.translate(GUEST, address(3, 7, 0x1ff0), 16), Ok(0x2ff0));
        assert_eq!(
            slots.translate(GUEST, address(3, 7, 0x1ff1), 16),
            Err(SlotError::Range { address: address(3, 7, 0x1ff1), len: 16, slot: 3 })
        );
        assert!(matches!(
            slots.translate(GUEST, address(3, 6, 0), 1),
            Err(SlotError::Generation { found: 6, expected: 7, .. })
        ));
        assert_eq!(
            slots.translate(GUEST, address(2, 7, 0), 1),
            Err(SlotError::Slot { group: GUEST, slot: 2 })
        );
        assert_eq!(
            slots.translate(GUEST, address(200, 7, 0), 1),
            Err(SlotError::Slot { group: GUEST, slot: 200 })
        );
        assert_eq!(slots.translate(2, 0, 1), Err(SlotError::Group(2)));
    }

    #[test]
    fn a_removed_slot_is_gone_and_may_come_back() {
        let mut slots = table();
        slots.add(&guest_slot(0, 0, 0x1000, 0x2000)).unwrap();
        slots.remove(GUEST, 0).unwrap();
        assert!(slots.translate(GUEST, 0, 1).is_err());
        slots.add(&guest_slot(0, 1, 0x5000, 0x6000)).unwrap();
        assert_eq!(slots.translate(GUEST, address(0, 1, 0), 1), Ok(0x5000));
        slots.clear();
        assert!(slots.translate(GUEST, address(0, 1, 0), 1).is_err());
    }

    #[test]
    fn slots_outside_the_table_are_refused() {
        let mut slots = table();
        assert!(slots.add(&guest_slot(8, 0, 0, 1)).is_err());
        assert!(slots.remove(GUEST, 8).is_err());
        assert_eq!(slots.remove(2, 0), Err(SlotError::Group(2)));
        assert_eq!(slots.add(&guest_slot(0, 0, 2, 1)), Err(SlotError::Backwards));
    }

    #[test]
    fn the_host_group_takes_whole_pointers() {
        let mut slots = table();
        let host = QXLDevMemSlot { virt_end: u64::MAX, ..QXLDevMemSlot::default() };
        slots.add(&host).unwrap();
        // A tagged pointer: its top byte is neither slot nor generation.
        assert_eq!(slots.translate(0, 0xb400_7fff_dead_beef, 191), Ok(0xb400_7fff_dead_beef));
        assert!(slots.translate(0, 0, 1).is_err());
        assert!(slots.translate(0, u64::MAX - 3, 8).is_err());
        assert!(slots.translate(GUEST, 0x7fff_dead_beef, 1).is_err());
    }

    #[test]
    fn absurd_shapes_are_refused() {
        let good = QXLDevInitInfo {
            num_memslots_groups: 2,
            num_memslots: 8,
            memslot_gen_bits: 8,
            memslot_id_bits: 8,
            ..QXLDevInitInfo::default()
        };
        for bad in [
            QXLDevInitInfo { num_memslots_groups: 0, ..good },
            QXLDevInitInfo { num_memslots: 0, ..good },
            QXLDevInitInfo { num_memslots_groups: u32::MAX, ..good },
            QXLDevInitInfo { num_memslots: u32::MAX, ..good },
            QXLDevInitInfo { memslot_id_bits: 60, memslot_gen_bits: 4, ..good },
            QXLDevInitInfo { memslot_id_bits: 255, memslot_gen_bits: 255, ..good },
        ] {
            assert!(MemSlots::new(&bad).is_err(), "{bad:?}");
        }
        let bare = QXLDevInitInfo { memslot_id_bits: 0, memslot_gen_bits: 0, ..good };
        let mut slots = MemSlots::new(&bare).unwrap();
        slots.add(&guest_slot(0, 0, 0x1000, u64::MAX)).unwrap();
        assert_eq!(slots.translate(GUEST, 8, 8), Ok(0x1008));
    }

    proptest! {
        #[test]
        fn whatever_is_translated_lies_in_a_slot(
            windows in proptest::collection::vec((0..8u32, 0..4u32, any::<u64>(), any::<u64>()), 0..8),
            deltas in proptest::collection::vec(any::<u64>(), 8),
            address in any::<u64>(),
            len in prop_oneof![0..4096u64, any::<u64>()],
        ) {
            let mut slots = table();
            let mut mapped = [None; 8];
            for ((slot, generation, start, end), delta) in windows.into_iter().zip(deltas) {
                let entry = QXLDevMemSlot {
                    addr_delta: delta, ..guest_slot(slot, generation, start.min(end), start.max(end))
                };
                slots.add(&entry).unwrap();
                mapped[slot as usize] = Some(entry);
            }
            if let Ok(found) = slots.translate(GUEST, address, len) {
                let whole = mapped[0].is_some_and(|slot| {
                    slot.virt_start == 0 && slot.virt_end == u64::MAX && slot.addr_delta == 0
                });
                prop_assert!(found.checked_add(len).is_some());
                if !whole {
                    let slot = mapped[(address >> 56) as usize].expect("a mapped slot");
                    prop_assert_eq!((address >> 48) as u8, slot.generation as u8);
                    prop_assert!(slot.virt_start <= found && found + len <= slot.virt_end);
                }
            }
        }

        #[test]
        fn every_byte_of_a_slot_is_reachable_and_no_other(
            size in 1..1u64 << 40, offset in 0..1u64 << 41, len in 1..1u64 << 20,
        ) {
            let mut slots = table();
            slots.add(&guest_slot(1, 9, 0x7000_0000, 0x7000_0000 + size)).unwrap();
            let found = slots.translate(GUEST, address(1, 9, offset), len);
            if offset + len <= size {
                prop_assert_eq!(found, Ok(0x7000_0000 + offset));
            } else {
                prop_assert!(found.is_err());
            }
        }
    }
}
