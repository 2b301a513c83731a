//! From the pointers that C callers hold to what they stand for.
//!
//! A `SpiceServer *` is a strong reference, and only pointers that were given out
//! and not destroyed yet are followed. What stands in `SpiceCharDeviceInstance.st`
//! is no pointer at all but a number in a table, so that a stale or foreign value
//! is refused instead of followed.

use std::ffi::{CStr, c_char, c_void};
use std::rc::{Rc, Weak};

use parking_lot::Mutex;

use super::char_device;
use crate::guard::guard_for_host;
use crate::server::Server;
use crate::server::char_device::InService;

/// What the host serialises. QEMU calls from several threads, but never from two
/// at a time: it holds its big lock.
pub(super) struct Serialised<T>(pub(super) T);

// SAFETY: the C API demands that calls are serialised by the host (the library's
// callers hold one lock, or there is one thread), so reference counts and cells
// behind this are never touched by two threads at once.
unsafe impl<T> Send for Serialised<T> {}

/// Servers given out and not destroyed yet; those that were initialised stand in that
/// order.
static SERVERS: Mutex<Vec<Serialised<Rc<Server>>>> = Mutex::new(Vec::new());

/// Devices by the number in `st`; slot 0 is number 1.
static DEVICES: Mutex<Vec<Slot>> = Mutex::new(Vec::new());

struct Slot {
    device: Option<Serialised<Numbered>>,
    /// How often the slot was used: tells a stale number from a fresh one.
    generation: usize,
}

/// What a number stands for.
#[derive(Clone)]
enum Numbered {
    /// A device that the library serves; its server keeps it.
    Served(Weak<dyn InService>),
    /// A device of the C caller's making, kept here.
    Own(Rc<char_device::Device>),
}

/// A device that a number stood for.
pub(super) enum AnyDevice {
    /// One that the library serves.
    Served(Rc<dyn InService>),
    /// One of the C caller's making.
    Own(Rc<char_device::Device>),
}

/// Numbers are odd, so that none is ever the address of anything aligned.
const SLOT_BITS: u32 = 20;

/// Keeps a new server and gives out its pointer.
pub(super) fn give_out(server: Rc<Server>) -> *mut Server {
    let pointer = Rc::as_ptr(&server).cast_mut();
    SERVERS.lock().push(Serialised(server));
    pointer
}

/// The server behind a pointer. A wrong one is logged with the caller's name.
pub(super) fn server(entry: &str, pointer: *mut Server) -> Option<Rc<Server>> {
    let found = SERVERS
        .lock()
        .iter()
        .find(|known| Rc::as_ptr(&known.0) == pointer.cast_const())
        .map(|known| Rc::clone(&known.0));
    if found.is_none() {
        crate::warning!("{entry}: {pointer:p} is not a server");
    }
    found
}

/// Guard, check and conversion of the calls on a server: runs `body` with the server
/// behind `pointer`; `fallback` for a wrong one, and when `body` panics.
pub(super) fn with_server<T: Copy>(
    entry: &str,
    pointer: *mut Server,
    fallback: T,
    body: impl FnOnce(&Rc<Server>) -> T,
) -> T {
    guard_for_host(entry, fallback, || {
        server(entry, pointer).map_or(fallback, |server| body(&server))
    })
}

/// Takes a server back: its pointer is no longer good.
pub(super) fn take_back(entry: &str, pointer: *mut Server) -> Option<Rc<Server>> {
    let server = server(entry, pointer)?;
    SERVERS.lock().retain(|known| !Rc::ptr_eq(&known.0, &server));
    Some(server)
}

/// The servers that live: the calls that remove an interface name none.
pub(super) fn all_servers() -> Vec<Rc<Server>> {
    SERVERS.lock().iter().map(|known| Rc::clone(&known.0)).collect()
}

/// Notes that a server was initialised.
pub(super) fn note_initialised(server: &Rc<Server>) {
    let mut servers = SERVERS.lock();
    if let Some(at) = servers.iter().position(|known| Rc::ptr_eq(&known.0, server)) {
        let known = servers.remove(at);
        servers.push(known);
    }
}

/// The server initialised last, or else the one made last; `None` when there is none.
pub(super) fn newest_server() -> Option<Rc<Server>> {
    let servers = SERVERS.lock();
    let initialised = servers.iter().rev().find(|known| known.0.is_initialised());
    initialised.or(servers.last()).map(|known| Rc::clone(&known.0))
}

/// The server initialised last, for functions that name none. Its lack is logged.
pub(super) fn latest_server(entry: &str) -> Option<Rc<Server>> {
    let latest = SERVERS
        .lock()
        .iter()
        .rev()
        .find(|known| known.0.is_initialised())
        .map(|known| Rc::clone(&known.0));
    if latest.is_none() {
        crate::warning!("{entry}: no server is initialised");
    }
    latest
}

/// The server behind a pointer, if it was initialised. A wrong one is logged.
pub(super) fn initialised_server(entry: &str, pointer: *mut Server) -> Option<Rc<Server>> {
    let server = server(entry, pointer)?;
    if !server.is_initialised() {
        crate::warning!("{entry}: the server is not initialised");
        return None;
    }
    Some(server)
}

/// Gives a device that the library serves its number.
pub(super) fn number_device(device: &Rc<dyn InService>) -> *mut c_void {
    keep(Numbered::Served(Rc::downgrade(device)))
}

/// Gives a device of the C caller's its number, and keeps it until that is forgotten.
pub(super) fn number_own_device(device: &Rc<char_device::Device>) -> *mut c_void {
    keep(Numbered::Own(Rc::clone(device)))
}

fn keep(device: Numbered) -> *mut c_void {
    let mut slots = DEVICES.lock();
    let free = slots.iter().position(|slot| slot.device.is_none());
    let index = free.unwrap_or_else(|| {
        slots.push(Slot { device: None, generation: 0 });
        slots.len() - 1
    });
    let slot = &mut slots[index];
    slot.generation += 1;
    slot.device = Some(Serialised(device));
    number(index, slot.generation)
}

/// The served device that a number stands for, if it is still there.
pub(super) fn device(number: *mut c_void) -> Option<Rc<dyn InService>> {
    match any_device(number)? {
        AnyDevice::Served(device) => Some(device),
        AnyDevice::Own(_) => None,
    }
}

/// The device of a number, if it is still there.
pub(super) fn any_device(number: *mut c_void) -> Option<AnyDevice> {
    let (index, generation) = split(number)?;
    let slots = DEVICES.lock();
    let slot = slots.get(index).filter(|slot| slot.generation == generation)?;
    match &slot.device.as_ref()?.0 {
        Numbered::Served(device) => device.upgrade().map(AnyDevice::Served),
        Numbered::Own(device) => Some(AnyDevice::Own(Rc::clone(device))),
    }
}

/// Makes a number worthless.
pub(super) fn forget_device(number: *mut c_void) {
    let mut slots = DEVICES.lock();
    let device = split(number)
        .and_then(|(index, generation)| {
            slots.get_mut(index).filter(|slot| slot.generation == generation)
        })
        .and_then(|slot| slot.device.take());
    // Its end may come back here.
    drop(slots);
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

/// The bytes of a C string; `None` for NULL.
///
/// # Safety
/// `text` is NULL or a C string that outlives the result.
pub(super) unsafe fn text<'a>(text: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes())
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
    fn foreign_values_find_nothing() {
        assert!(device(std::ptr::without_provenance_mut(0xffff_ffff)).is_none());
        assert!(device(std::ptr::dangling_mut()).is_none());
        assert!(server("test", std::ptr::dangling_mut()).is_none());
    }
}
