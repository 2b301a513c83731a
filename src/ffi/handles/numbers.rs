//! What stands in `SpiceCharDeviceInstance.st`: numbers of devices, and the table of what
//! they stand for.
//!
//! Hosts wake a device for every few bytes, so looking one up takes no lock: slots never
//! move, and only giving out a number and taking it back are under one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::c_void;
use std::rc::{Rc, Weak};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::ffi::char_device;
use crate::server::char_device::InService;

/// A device that a number stood for.
pub(in crate::ffi) enum AnyDevice {
    /// One that the library serves.
    Served(Rc<dyn InService>),
    /// One of the C caller's making.
    Own(Rc<char_device::Device>),
}

/// What a number stands for.
enum Numbered {
    /// A device that the library serves; its server keeps it.
    Served(Weak<dyn InService>),
    /// A device of the C caller's making, kept here.
    Own(Rc<char_device::Device>),
}

/// Numbers are odd, so that none is ever the address of anything aligned.
const SLOT_BITS: u32 = 20;

/// Slots in the first chunk; each chunk has twice as many as the one before it.
const FIRST_CHUNK: usize = 16;
/// So that all slots together can be told by `SLOT_BITS`.
const CHUNKS: usize = 16;
const SLOTS: usize = FIRST_CHUNK * ((1 << CHUNKS) - 1);

/// So many slots rest before one is used again: a stale number then meets an empty slot
/// rather than another device's.
const RESTING: usize = 64;

static TABLE: Table =
    Table { chunks: [const { OnceLock::new() }; CHUNKS], unused: Mutex::new(Unused::new()) };

struct Table {
    chunks: [OnceLock<Box<[Slot]>>; CHUNKS],
    unused: Mutex<Unused>,
}

struct Unused {
    /// Slots from here on were never used.
    next: usize,
    /// Used before and free again, oldest first.
    free: VecDeque<usize>,
}

#[derive(Default)]
struct Slot {
    /// How often the slot was used: tells a stale number from a fresh one.
    generation: AtomicUsize,
    device: OfOneServer<RefCell<Option<Numbered>>>,
}

#[derive(Default)]
struct OfOneServer<T>(T);

// SAFETY: a slot's device is touched by calls that name this device, and by those that add
// and remove it. All of them are calls on one server, and the C API demands that the host
// serialises those (QEMU does it by its big lock), whatever threads they come from. A call
// with another device's number ends at the slot's generation, which is atomic.
unsafe impl<T> Send for OfOneServer<T> {}
// SAFETY: the same.
unsafe impl<T> Sync for OfOneServer<T> {}

impl Unused {
    const fn new() -> Self {
        Self { next: 0, free: VecDeque::new() }
    }

    fn take(&mut self) -> Option<usize> {
        if self.next < SLOTS && self.free.len() < RESTING {
            self.next += 1;
            return Some(self.next - 1);
        }
        self.free.pop_front()
    }
}

impl Table {
    fn chunk(index: usize) -> (usize, usize) {
        let chunk = (index / FIRST_CHUNK + 1).ilog2() as usize;
        (chunk, index - FIRST_CHUNK * ((1 << chunk) - 1))
    }

    fn slot(&self, index: usize) -> Option<&Slot> {
        let (chunk, at) = Self::chunk(index);
        self.chunks.get(chunk)?.get()?.get(at)
    }

    fn keep(&self, device: Numbered) -> Option<*mut c_void> {
        let mut unused = self.unused.lock();
        let index = unused.take()?;
        let (chunk, at) = Self::chunk(index);
        let slots = self.chunks[chunk]
            .get_or_init(|| (0..FIRST_CHUNK << chunk).map(|_| Slot::default()).collect());
        let slot = &slots[at];
        *slot.device.0.borrow_mut() = Some(device);
        let generation = slot.generation.fetch_add(1, Ordering::Release) + 1;
        Some(number(index, generation))
    }

    fn find(&self, number: *mut c_void) -> Option<(usize, &Slot)> {
        let (index, generation) = split(number)?;
        let slot = self.slot(index)?;
        (slot.generation.load(Ordering::Acquire) == generation).then_some((index, slot))
    }
}

/// Gives a device that the library serves its number.
pub(in crate::ffi) fn number_device(device: &Rc<dyn InService>) -> *mut c_void {
    keep(Numbered::Served(Rc::downgrade(device)))
}

/// Gives a device of the C caller's its number, and keeps it until that is forgotten.
pub(in crate::ffi) fn number_own_device(device: &Rc<char_device::Device>) -> *mut c_void {
    keep(Numbered::Own(Rc::clone(device)))
}

/// A device for which no number is left, after a million others, cannot be named.
fn keep(device: Numbered) -> *mut c_void {
    TABLE.keep(device).unwrap_or(std::ptr::null_mut())
}

/// The served device that a number stands for, if it is still there.
pub(in crate::ffi) fn device(number: *mut c_void) -> Option<Rc<dyn InService>> {
    match any_device(number)? {
        AnyDevice::Served(device) => Some(device),
        AnyDevice::Own(_) => None,
    }
}

/// The device of a number, if it is still there.
pub(in crate::ffi) fn any_device(number: *mut c_void) -> Option<AnyDevice> {
    match TABLE.find(number)?.1.device.0.borrow().as_ref()? {
        Numbered::Served(device) => device.upgrade().map(AnyDevice::Served),
        Numbered::Own(device) => Some(AnyDevice::Own(Rc::clone(device))),
    }
}

/// Makes a number worthless.
pub(in crate::ffi) fn forget_device(number: *mut c_void) {
    let Some((index, slot)) = TABLE.find(number) else {
        return;
    };
    let device = slot.device.0.take();
    if device.is_some() {
        TABLE.unused.lock().free.push_back(index);
    }
    // Its end may come back here.
    drop(device);
}

fn number(index: usize, generation: usize) -> *mut c_void {
    let value = (generation << SLOT_BITS | index) << 1 | 1;
    std::ptr::without_provenance_mut(value)
}

fn split(number: *mut c_void) -> Option<(usize, usize)> {
    let value = number.addr();
    (value & 1 == 1).then_some(((value >> 1) & ((1 << SLOT_BITS) - 1), value >> 1 >> SLOT_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_odd_and_come_back() {
        let value = number(5, 9);
        assert_eq!(value.addr() & 1, 1);
        assert_eq!(split(value), Some((5, 9)));
        assert_eq!(split(std::ptr::null_mut()), None);
    }

    #[test]
    fn chunks_follow_each_other() {
        assert_eq!(Table::chunk(0), (0, 0));
        assert_eq!(Table::chunk(FIRST_CHUNK - 1), (0, FIRST_CHUNK - 1));
        assert_eq!(Table::chunk(FIRST_CHUNK), (1, 0));
        assert_eq!(Table::chunk(3 * FIRST_CHUNK), (2, 0));
        assert_eq!(Table::chunk(SLOTS - 1), (CHUNKS - 1, (FIRST_CHUNK << (CHUNKS - 1)) - 1));
        const { assert!(SLOTS <= 1 << SLOT_BITS) };
    }

    #[test]
    fn foreign_values_find_nothing() {
        assert!(device(std::ptr::without_provenance_mut(0xffff_ffff)).is_none());
        assert!(device(std::ptr::without_provenance_mut(usize::MAX)).is_none());
        assert!(device(std::ptr::without_provenance_mut(1)).is_none());
        assert!(device(std::ptr::dangling_mut()).is_none());
    }

    #[test]
    fn slots_rest_before_they_are_used_again() {
        let mut unused = Unused::new();
        assert_eq!((unused.take(), unused.take()), (Some(0), Some(1)));
        unused.free.extend(0..RESTING - 1);
        assert_eq!(unused.take(), Some(2));
        unused.free.push_back(7);
        assert_eq!(unused.take(), Some(0));
        unused.next = SLOTS;
        unused.free.clear();
        assert_eq!(unused.take(), None);
    }
}
