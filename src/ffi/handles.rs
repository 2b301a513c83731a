//! From the pointers that C callers hold to what they stand for.
//!
//! A `SpiceServer *` is a strong reference, and only pointers that were given out
//! and not destroyed yet are followed. What stands in `SpiceCharDeviceInstance.st`
//! is no pointer at all but a number in a table (`numbers`), so that a stale or foreign
//! value is refused instead of followed.

mod numbers;

use std::ffi::{CStr, c_char};
use std::rc::Rc;

use parking_lot::Mutex;

pub(super) use numbers::{
    AnyDevice, any_device, device, forget_device, number_device, number_own_device,
};

use crate::guard::guard_for_host;
use crate::server::Server;

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
    fn foreign_pointers_find_nothing() {
        assert!(server("test", std::ptr::dangling_mut()).is_none());
    }
}
