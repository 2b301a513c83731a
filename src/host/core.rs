//! The host's main loop: watches, timers and channel events.
//!
//! Everything here is used on the host's main thread, or, in QEMU, under the
//! big lock, which serialises all of it. Callbacks from the host are panic
//! boundaries and may drop the very watch or timer they were called for.

use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::rc::Rc;
use std::time::Duration;

use libc::{c_int, c_void, sockaddr_storage, socklen_t};

use super::abi::{
    self, SpiceChannelEventInfo, SpiceCoreInterface, SpiceTimer, SpiceTimerFunc, SpiceWatch,
    SpiceWatchFunc,
};
use crate::guard::guard_for_host;

/// The functions of a core interface, all present.
#[derive(Clone, Copy)]
pub struct Core {
    timer_add: unsafe extern "C" fn(SpiceTimerFunc, *mut c_void) -> *mut SpiceTimer,
    timer_start: unsafe extern "C" fn(*mut SpiceTimer, u32),
    timer_cancel: unsafe extern "C" fn(*mut SpiceTimer),
    timer_remove: unsafe extern "C" fn(*mut SpiceTimer),
    watch_add: unsafe extern "C" fn(c_int, c_int, SpiceWatchFunc, *mut c_void) -> *mut SpiceWatch,
    watch_update_mask: unsafe extern "C" fn(*mut SpiceWatch, c_int),
    watch_remove: unsafe extern "C" fn(*mut SpiceWatch),
    channel_event: Option<unsafe extern "C" fn(c_int, *mut SpiceChannelEventInfo)>,
}

/// Why a core interface cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCore {
    /// Another major version than 1.
    #[error("core interface has major version {0}, expected 1")]
    Version(u32),
    /// A function is missing.
    #[error("core interface lacks the function {0}")]
    Missing(&'static str),
    /// Not a core interface.
    #[error("the interface is not of type \"core\"")]
    Kind,
}

type WatchCallback = Rc<dyn Fn(bool, bool)>;
type TimerCallback = Rc<dyn Fn()>;

/// A watched descriptor; dropping it ends the watch.
pub struct Watch {
    core: Core,
    handle: NonNull<SpiceWatch>,
    /// What the host holds as `opaque`; freed after the host let go of it.
    callback: NonNull<WatchCallback>,
}

/// A timer; dropping it removes it.
pub struct Timer {
    core: Core,
    handle: NonNull<SpiceTimer>,
    callback: NonNull<TimerCallback>,
}

impl Core {
    /// Takes the functions out of the host's structure.
    ///
    /// # Safety
    /// `interface` points to a core interface of the version it claims.
    pub unsafe fn from_host(interface: NonNull<SpiceCoreInterface>) -> Result<Self, BadCore> {
        let interface = interface.as_ptr();
        // SAFETY: the caller's promise; only members of minor version 0 are read here.
        let base = unsafe { (*interface).base };
        // Xspice leaves the name out.
        if !base.type_.is_null() && !super::is_kind(&base, &abi::SPICE_INTERFACE_CORE) {
            return Err(BadCore::Kind);
        }
        if base.major_version != abi::SPICE_INTERFACE_CORE.major {
            return Err(BadCore::Version(base.major_version));
        }
        let channel_event = if base.minor_version >= abi::CORE_MINOR_CHANNEL_EVENT {
            // SAFETY: the member exists from this minor version on.
            unsafe { (*interface).channel_event }
        } else {
            None
        };
        // SAFETY: as above; all of these exist in every version.
        unsafe {
            Ok(Self {
                timer_add: (*interface).timer_add.ok_or(BadCore::Missing("timer_add"))?,
                timer_start: (*interface).timer_start.ok_or(BadCore::Missing("timer_start"))?,
                timer_cancel: (*interface).timer_cancel.ok_or(BadCore::Missing("timer_cancel"))?,
                timer_remove: (*interface).timer_remove.ok_or(BadCore::Missing("timer_remove"))?,
                watch_add: (*interface).watch_add.ok_or(BadCore::Missing("watch_add"))?,
                watch_update_mask: (*interface)
                    .watch_update_mask
                    .ok_or(BadCore::Missing("watch_update_mask"))?,
                watch_remove: (*interface).watch_remove.ok_or(BadCore::Missing("watch_remove"))?,
                channel_event,
            })
        }
    }

    /// Watches `fd`; `callback` gets (readable, writable). `None` when the host refuses.
    pub fn watch(
        &self,
        fd: RawFd,
        read: bool,
        write: bool,
        callback: impl Fn(bool, bool) + 'static,
    ) -> Option<Watch> {
        let callback: Box<WatchCallback> = Box::new(Rc::new(callback));
        let callback = NonNull::from(Box::leak(callback));
        // SAFETY: the host's own function, called as its interface demands; the
        // opaque pointer stays good until `Watch` is dropped.
        let handle = unsafe {
            (self.watch_add)(fd, mask(read, write), Some(watch_ready), callback.as_ptr().cast())
        };
        let Some(handle) = NonNull::new(handle) else {
            // SAFETY: made by Box::leak above, and the host did not keep it.
            drop(unsafe { Box::from_raw(callback.as_ptr()) });
            return None;
        };
        Some(Watch { core: *self, handle, callback })
    }

    /// Makes a timer that is not armed yet. `None` when the host refuses.
    pub fn timer(&self, callback: impl Fn() + 'static) -> Option<Timer> {
        let callback: Box<TimerCallback> = Box::new(Rc::new(callback));
        let callback = NonNull::from(Box::leak(callback));
        // SAFETY: as in `watch`.
        let handle = unsafe { (self.timer_add)(Some(timer_expired), callback.as_ptr().cast()) };
        let Some(handle) = NonNull::new(handle) else {
            // SAFETY: made by Box::leak above, and the host did not keep it.
            drop(unsafe { Box::from_raw(callback.as_ptr()) });
            return None;
        };
        Some(Timer { core: *self, handle, callback })
    }

    fn tell(&self, event: c_int, info: NonNull<SpiceChannelEventInfo>) {
        if let Some(channel_event) = self.channel_event {
            // SAFETY: the host's own function; `info` is good until after the
            // DISCONNECTED event, which `EventInfo::disconnected` sends last.
            unsafe { channel_event(event, info.as_ptr()) };
        }
    }
}

impl Watch {
    /// Changes what is waited for; both false silences the watch.
    pub fn set_interest(&self, read: bool, write: bool) {
        // SAFETY: the handle came from this core's `watch_add` and is not removed yet.
        unsafe { (self.core.watch_update_mask)(self.handle.as_ptr(), mask(read, write)) };
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // SAFETY: removed once, here; afterwards the host does not call back, so
        // the callback may be freed (a call under way holds its own `Rc`).
        unsafe {
            (self.core.watch_remove)(self.handle.as_ptr());
            drop(Box::from_raw(self.callback.as_ptr()));
        }
    }
}

impl Timer {
    /// Arms the timer, replacing an earlier arming.
    pub fn start(&self, after: Duration) {
        // Rounded up: a timer that fires early would find nothing to do and spin.
        let ms = u32::try_from(after.as_micros().div_ceil(1000)).unwrap_or(u32::MAX);
        // SAFETY: the handle came from this core's `timer_add` and is not removed yet.
        unsafe { (self.core.timer_start)(self.handle.as_ptr(), ms) };
    }

    /// Disarms the timer.
    pub fn cancel(&self) {
        // SAFETY: as in `start`.
        unsafe { (self.core.timer_cancel)(self.handle.as_ptr()) };
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: as for `Watch`.
        unsafe {
            (self.core.timer_remove)(self.handle.as_ptr());
            drop(Box::from_raw(self.callback.as_ptr()));
        }
    }
}

extern "C" fn watch_ready(_fd: c_int, event: c_int, opaque: *mut c_void) {
    guard_for_host("watch callback", (), || {
        // SAFETY: `opaque` is the pointer given to `watch_add`, alive until the
        // watch is removed, after which the host does not call.
        let callback = unsafe { WatchCallback::clone(&*opaque.cast::<WatchCallback>()) };
        callback(
            event & abi::SPICE_WATCH_EVENT_READ != 0,
            event & abi::SPICE_WATCH_EVENT_WRITE != 0,
        );
    });
}

extern "C" fn timer_expired(opaque: *mut c_void) {
    guard_for_host("timer callback", (), || {
        // SAFETY: as in `watch_ready`.
        let callback = unsafe { TimerCallback::clone(&*opaque.cast::<TimerCallback>()) };
        callback();
    });
}

fn mask(read: bool, write: bool) -> c_int {
    (if read { abi::SPICE_WATCH_EVENT_READ } else { 0 })
        | (if write { abi::SPICE_WATCH_EVENT_WRITE } else { 0 })
}

/// What the host is told about one connection. The host sees the same pointer in
/// all three events and may compare it, so the structure stays where it is until
/// DISCONNECTED has been delivered.
pub struct EventInfo {
    info: NonNull<SpiceChannelEventInfo>,
    core: Core,
}

/// Who is linked to what.
#[derive(Clone, Copy, Debug)]
pub struct Initialized {
    /// The session.
    pub connection_id: u32,
    /// Channel type.
    pub kind: u8,
    /// Channel id.
    pub id: u8,
    /// Whether the connection is encrypted.
    pub secured: bool,
}

impl EventInfo {
    /// For a connection with these addresses (raw `sockaddr` bytes).
    pub fn new(core: Core, local: &[u8], peer: &[u8]) -> Self {
        // SAFETY: the structure consists of integers and byte arrays, for all of
        // which zero is a value.
        let mut info: SpiceChannelEventInfo = unsafe { std::mem::zeroed() };
        info.flags = abi::SPICE_CHANNEL_EVENT_FLAG_ADDR_EXT;
        info.llen_ext = copy_address(&mut info.laddr_ext, local);
        info.plen_ext = copy_address(&mut info.paddr_ext, peer);
        info.llen = copy_address(&mut info.laddr, local);
        info.plen = copy_address(&mut info.paddr, peer);
        Self { info: NonNull::from(Box::leak(Box::new(info))), core }
    }

    /// Tells the host that the connection was accepted.
    pub fn connected(&self) {
        self.core.tell(abi::SPICE_CHANNEL_EVENT_CONNECTED, self.info);
    }

    /// Tells the host that the channel is linked.
    pub fn initialized(&self, channel: Initialized) {
        // SAFETY: we own the structure; the host only reads it, inside its callback.
        let info = unsafe { &mut *self.info.as_ptr() };
        info.connection_id = channel.connection_id as c_int;
        info.type_ = c_int::from(channel.kind);
        info.id = c_int::from(channel.id);
        if channel.secured {
            info.flags |= abi::SPICE_CHANNEL_EVENT_FLAG_TLS;
        }
        self.core.tell(abi::SPICE_CHANNEL_EVENT_INITIALIZED, self.info);
    }

    /// Tells the host that the connection is gone. It forgets the structure with that.
    pub fn disconnected(&self) {
        self.core.tell(abi::SPICE_CHANNEL_EVENT_DISCONNECTED, self.info);
    }
}

impl Drop for EventInfo {
    fn drop(&mut self) {
        // SAFETY: made by Box::leak in `new`; the host forgets it with DISCONNECTED.
        drop(unsafe { Box::from_raw(self.info.as_ptr()) });
    }
}

/// Copies as much of an address as fits; returns how much that is.
fn copy_address<T: AddressSpace>(to: &mut T, from: &[u8]) -> socklen_t {
    let length = from.len().min(std::mem::size_of::<T>());
    // SAFETY: `T` is a plain C address structure of at least `length` bytes, for
    // which any bytes are a value, and the two places do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), std::ptr::from_mut(to).cast(), length) };
    length as socklen_t
}

/// C structures that hold any socket address.
trait AddressSpace {}
impl AddressSpace for libc::sockaddr {}
impl AddressSpace for sockaddr_storage {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zeroed_core_is_refused() {
        // SAFETY: all members are pointers, integers or optional functions.
        let mut zeroed: SpiceCoreInterface = unsafe { std::mem::zeroed() };
        // SAFETY: a core interface as far as it claims to be one.
        let core = unsafe { Core::from_host(NonNull::from(&mut zeroed)) };
        assert_eq!(core.err(), Some(BadCore::Version(0)));
        zeroed.base = abi::SpiceBaseInterface { type_: c"qxl".as_ptr(), ..zeroed.base };
        // SAFETY: as above.
        let core = unsafe { Core::from_host(NonNull::from(&mut zeroed)) };
        assert_eq!(core.err(), Some(BadCore::Kind));
    }

    #[test]
    fn a_long_address_is_cut_to_its_place() {
        // SAFETY: a plain C structure.
        let mut place: libc::sockaddr = unsafe { std::mem::zeroed() };
        assert_eq!(copy_address(&mut place, &[1; 110]), 16);
        assert_eq!(copy_address(&mut place, &[1; 2]), 2);
    }
}
