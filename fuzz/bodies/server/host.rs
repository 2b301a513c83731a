//! The host program around the server: a main loop of one thread, and what it is told of
//! connections. The library's functions are called as C programs call them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ptr::{NonNull, without_provenance_mut};

use libc::{POLLERR, POLLHUP, POLLIN, POLLOUT, c_int, c_void, pollfd};
use spice_server::ffi::server::{spice_server_destroy, spice_server_init, spice_server_new};
use spice_server::ffi::settings::spice_server_set_noauth;
use spice_server::host::abi::{
    SPICE_CHANNEL_EVENT_CONNECTED, SPICE_CHANNEL_EVENT_DISCONNECTED,
    SPICE_CHANNEL_EVENT_INITIALIZED, SPICE_INTERFACE_CORE, SPICE_WATCH_EVENT_READ,
    SPICE_WATCH_EVENT_WRITE, SpiceBaseInterface, SpiceChannelEventInfo, SpiceCoreInterface,
    SpiceTimer, SpiceTimerFunc, SpiceWatch, SpiceWatchFunc,
};
use spice_server::server::Server;

use super::clock::StoppedClock;

/// Turns of the main loop without anything from outside after which it should rest.
const TURNS: usize = 2000;
/// What the I/O thread may take for a link; only a failure takes so long. Milliseconds.
const PATIENCE: c_int = 10_000;

thread_local! {
    static LOOP: Loop = const { Loop::new() };
    /// One for all scripts that this thread plays: making the first key takes longer than
    /// a script. Each script leaves it as it was.
    static SERVER: Cell<Option<NonNull<Server>>> = const { Cell::new(None) };
    static ENDING: Cell<bool> = const { Cell::new(false) };
}

struct Loop {
    watches: RefCell<BTreeMap<usize, Watch>>,
    timers: RefCell<BTreeMap<usize, Timer>>,
    next: Cell<usize>,
    /// What the host knows of each connection, by the address of its information.
    connections: RefCell<BTreeMap<usize, Connection>>,
    newest: Cell<usize>,
}

/// A connection that has not ended.
#[derive(Clone, Copy)]
enum Connection {
    Connected,
    Initialized(Linked),
}

#[derive(Clone, Copy)]
struct Watch {
    fd: c_int,
    mask: c_int,
    func: SpiceWatchFunc,
    opaque: *mut c_void,
}

#[derive(Clone, Copy)]
struct Timer {
    when: Option<u64>,
    func: SpiceTimerFunc,
    opaque: *mut c_void,
}

/// What the host hears of a connection that got its channel.
#[derive(Clone, Copy)]
pub(super) struct Linked {
    pub(super) session: u32,
    pub(super) kind: u8,
    pub(super) id: u8,
}

impl Loop {
    const fn new() -> Self {
        Self {
            watches: RefCell::new(BTreeMap::new()),
            timers: RefCell::new(BTreeMap::new()),
            next: Cell::new(1),
            connections: RefCell::new(BTreeMap::new()),
            newest: Cell::new(0),
        }
    }

    fn number(&self) -> usize {
        self.next.replace(self.next.get() + 1)
    }
}

/// The server of this thread.
pub(in crate::bodies) fn server() -> *mut Server {
    let server = SERVER.get().unwrap_or_else(|| {
        let server = NonNull::new(spice_server_new()).expect("never NULL");
        crate::bodies::end_with_any_panic();
        // SAFETY: a server; the interface lives for ever.
        let initialised = unsafe {
            spice_server_set_noauth(server.as_ptr());
            spice_server_init(server.as_ptr(), (&raw const CORE.0).cast_mut())
        };
        assert_eq!(initialised, 0);
        SERVER.set(Some(server));
        server
    });
    server.as_ptr()
}

/// Ends the server, whatever is going on; the next script gets another one.
pub(super) fn destroy_server() {
    ENDING.set(true);
    // SAFETY: its devices live longer than this call.
    unsafe { spice_server_destroy(server()) };
    ENDING.set(false);
    SERVER.set(None);
    super::client::forget_key();
    LOOP.with(|main| {
        let watched: Vec<_> = main.watches.borrow().values().map(|watch| watch.fd).collect();
        assert!(watched.is_empty(), "still watched: {watched:?}");
        assert!(main.timers.borrow().is_empty(), "a timer is left");
    });
}

/// Whether the server is about to be destroyed.
pub(super) fn is_ending() -> bool {
    ENDING.get()
}

/// Lets the main loop turn until nothing is left to do.
pub(in crate::bodies) fn settle() {
    for _ in 0..TURNS {
        if !turn(0) {
            return;
        }
    }
    panic!("the main loop finds no rest");
}

/// Lets the main loop turn until `done`.
pub(super) fn settle_until(what: &str, mut done: impl FnMut() -> bool) {
    settle();
    while !done() {
        // Nothing may be ready any more because it has just been served.
        assert!(turn(PATIENCE) || done(), "{what}: nothing happens");
        settle();
    }
}

/// Other threads may be about to say something.
pub(super) fn wait_a_little() {
    turn(1);
}

/// Waits for something and serves it; false when nothing came in time.
fn turn(patience: c_int) -> bool {
    let watches: Vec<(usize, Watch)> =
        LOOP.with(|main| main.watches.borrow().iter().map(|(id, watch)| (*id, *watch)).collect());
    let due = expire();
    let mut fds: Vec<pollfd> = Vec::new();
    let mut ids = Vec::new();
    for (id, watch) in watches {
        let read = if watch.mask & SPICE_WATCH_EVENT_READ != 0 { POLLIN } else { 0 };
        let write = if watch.mask & SPICE_WATCH_EVENT_WRITE != 0 { POLLOUT } else { 0 };
        if read | write != 0 {
            ids.push(id);
            fds.push(pollfd { fd: watch.fd, events: read | write, revents: 0 });
        }
    }
    let patience = if due { 0 } else { patience };
    // libFuzzer's alarm interrupts it.
    // SAFETY: so many structures of ours.
    while unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as u64, patience) } < 0 {}
    let mut any = due;
    for (id, fd) in ids.into_iter().zip(fds) {
        if fd.revents == 0 {
            continue;
        }
        // Those before it may have removed or changed it.
        let watch = LOOP.with(|main| main.watches.borrow().get(&id).copied());
        let Some(Watch { func: Some(func), mask, opaque, .. }) = watch else {
            continue;
        };
        let broken = fd.revents & (POLLHUP | POLLERR) != 0;
        let read = if fd.revents & POLLIN != 0 || broken { SPICE_WATCH_EVENT_READ } else { 0 };
        let write = if fd.revents & POLLOUT != 0 || broken { SPICE_WATCH_EVENT_WRITE } else { 0 };
        if (read | write) & mask != 0 {
            any = true;
            // SAFETY: what the library gave for this watch, which is not removed.
            unsafe { func(fd.fd, (read | write) & mask, opaque) };
        }
    }
    any
}

/// Calls what is due; whether something was.
fn expire() -> bool {
    let now = StoppedClock::now();
    let due = LOOP.with(|main| {
        let mut timers = main.timers.borrow_mut();
        let timer = timers.values_mut().find(|timer| timer.when.is_some_and(|when| when <= now))?;
        timer.when = None;
        Some(*timer)
    });
    let Some(Timer { func: Some(func), opaque, .. }) = due else {
        return false;
    };
    // SAFETY: what the library gave for this timer, which is not removed.
    unsafe { func(opaque) };
    true
}

/// Fires the armed timers, whatever their time: one that fires early finds nothing to do.
pub(super) fn fire_early() {
    LOOP.with(|main| {
        for timer in main.timers.borrow_mut().values_mut() {
            timer.when = timer.when.map(|_| 0);
        }
    });
}

/// Whether nothing of the scripts so far is left.
pub(in crate::bodies) fn is_at_rest() -> bool {
    LOOP.with(|main| {
        // The descriptor that rouses the main loop.
        main.connections.borrow().is_empty()
            && main.watches.borrow().len() <= 1
            && main.timers.borrow().values().all(|timer| timer.when.is_none())
    })
}

/// How many connections the host knows of.
pub(super) fn connections() -> usize {
    LOOP.with(|main| main.connections.borrow().len())
}

/// Waits until the link that began last has come to something: its channel, or none.
pub(super) fn settle_newest() -> Option<Linked> {
    let id = LOOP.with(|main| main.newest.get());
    let connection = || LOOP.with(|main| main.connections.borrow().get(&id).copied());
    settle_until("link", || !matches!(connection(), Some(Connection::Connected)));
    match connection() {
        Some(Connection::Initialized(linked)) => Some(linked),
        _ => None,
    }
}

/// Read by the library only.
struct Core(SpiceCoreInterface);
// SAFETY: it is never changed, and what it points to is static.
unsafe impl Sync for Core {}

static CORE: Core = Core(SpiceCoreInterface {
    base: SpiceBaseInterface {
        type_: SPICE_INTERFACE_CORE.name.as_ptr(),
        description: c"fuzz".as_ptr(),
        major_version: SPICE_INTERFACE_CORE.major,
        minor_version: SPICE_INTERFACE_CORE.minor,
    },
    timer_add: Some(timer_add),
    timer_start: Some(timer_start),
    timer_cancel: Some(timer_cancel),
    timer_remove: Some(timer_remove),
    watch_add: Some(watch_add),
    watch_update_mask: Some(watch_update_mask),
    watch_remove: Some(watch_remove),
    channel_event: Some(channel_event),
});

unsafe extern "C" fn timer_add(func: SpiceTimerFunc, opaque: *mut c_void) -> *mut SpiceTimer {
    LOOP.with(|main| {
        let id = main.number();
        main.timers.borrow_mut().insert(id, Timer { when: None, func, opaque });
        without_provenance_mut(id)
    })
}

fn with_timer(timer: *mut SpiceTimer, act: impl FnOnce(&mut Timer)) {
    LOOP.with(|main| act(main.timers.borrow_mut().get_mut(&timer.addr()).expect("a timer")));
}

unsafe extern "C" fn timer_start(timer: *mut SpiceTimer, milliseconds: u32) {
    let when = StoppedClock::now() + u64::from(milliseconds) * 1_000_000;
    with_timer(timer, |timer| timer.when = Some(when));
}

unsafe extern "C" fn timer_cancel(timer: *mut SpiceTimer) {
    with_timer(timer, |timer| timer.when = None);
}

unsafe extern "C" fn timer_remove(timer: *mut SpiceTimer) {
    LOOP.with(|main| main.timers.borrow_mut().remove(&timer.addr()).expect("a timer"));
}

unsafe extern "C" fn watch_add(
    fd: c_int,
    mask: c_int,
    func: SpiceWatchFunc,
    opaque: *mut c_void,
) -> *mut SpiceWatch {
    LOOP.with(|main| {
        let id = main.number();
        main.watches.borrow_mut().insert(id, Watch { fd, mask, func, opaque });
        without_provenance_mut(id)
    })
}

unsafe extern "C" fn watch_update_mask(watch: *mut SpiceWatch, mask: c_int) {
    LOOP.with(|main| {
        main.watches.borrow_mut().get_mut(&watch.addr()).expect("a watch").mask = mask;
    });
}

unsafe extern "C" fn watch_remove(watch: *mut SpiceWatch) {
    LOOP.with(|main| main.watches.borrow_mut().remove(&watch.addr()).expect("a watch"));
}

unsafe extern "C" fn channel_event(event: c_int, info: *mut SpiceChannelEventInfo) {
    let id = info.addr();
    let last = LOOP.with(|main| main.connections.borrow_mut().remove(&id));
    let connection = match (event, last) {
        (SPICE_CHANNEL_EVENT_CONNECTED, None) => {
            LOOP.with(|main| main.newest.set(id));
            Connection::Connected
        }
        (SPICE_CHANNEL_EVENT_INITIALIZED, Some(Connection::Connected)) => {
            // SAFETY: good during the call.
            let SpiceChannelEventInfo { connection_id, type_, id, .. } = unsafe { info.read() };
            let linked = Linked { session: connection_id as u32, kind: type_ as u8, id: id as u8 };
            super::devices::note_linked(linked);
            Connection::Initialized(linked)
        }
        (SPICE_CHANNEL_EVENT_DISCONNECTED, Some(_)) => return,
        (event, last) => panic!("event {event} of a connection that was {}", last.is_some()),
    };
    LOOP.with(|main| main.connections.borrow_mut().insert(id, connection));
}
