//! Devices of the host, which the script fills, empties, and lets call the library at bad
//! moments. What is written to them and when they are called is checked at once.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::VecDeque;
use std::ffi::CStr;
use std::ptr;
use std::rc::Rc;
use std::sync::LazyLock;

use libc::c_int;
use spice_server::ffi::devices::{
    spice_server_add_interface, spice_server_char_device_wakeup, spice_server_port_event,
    spice_server_remove_interface,
};
use spice_server::ffi::server::{spice_server_vm_start, spice_server_vm_stop};
use spice_server::ffi::settings::spice_server_set_ticket;
use spice_server::host::abi::{
    SPICE_CHAR_DEVICE_NOTIFY_WRITABLE, SPICE_INTERFACE_CHAR_DEVICE, SpiceBaseInstance,
    SpiceBaseInterface, SpiceCharDeviceInstance, SpiceCharDeviceInterface,
};
use spice_server::wire::agent::ChunkHeader;

use super::host::{self, Linked};

/// Clients and devices of a script. Their numbers have three bits of each patterned byte.
pub(super) const MOST: usize = 8;
/// After so many bytes a pattern begins anew. A prime number, so that no lost block hides.
const PERIOD: u64 = 4093;
/// Most bytes that are looked at together: what a client is sent or sends in a message.
const LONGEST: usize = 1_300_000;

/// What a device is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Port,
    Usbredir,
    Webdav,
    Agent,
    Smartcard,
    Stream,
}

/// The device. Callbacks find it by the instance, which is its first member.
#[repr(C)]
pub(super) struct CharDevice {
    instance: UnsafeCell<SpiceCharDeviceInstance>,
    interface: SpiceCharDeviceInterface,
    pub(super) number: u8,
    pub(super) what: Use,
    /// Of its own, for data as they are.
    pub(super) channel: Option<(u8, u8)>,
    /// Bytes that it still takes.
    pub(super) room: Cell<usize>,
    /// Patterned bytes that it has, and has given.
    pub(super) pending: Cell<u64>,
    pub(super) given: Cell<u64>,
    /// Other bytes that it has.
    pub(super) offers: RefCell<VecDeque<u8>>,
    /// What it does inside the next call.
    pub(super) hook: Cell<u8>,
    /// A client has sent it what no pattern describes.
    pub(super) tainted: Cell<bool>,
    leaving: Cell<bool>,
    pub(super) removed: Cell<bool>,
    /// Patterned bytes of each client that were written to it.
    pub(super) written: RefCell<[u64; MOST]>,
    /// The clients that had it, in order; and which of them wrote last.
    linked: RefCell<Vec<u8>>,
    writer: Cell<usize>,
    /// What was given before the last client came.
    base: Cell<u64>,
    chunks: RefCell<Chunks>,
}

/// Where the stream of chunks to the agent stands.
#[derive(Default)]
struct Chunks {
    header: Vec<u8>,
    left: usize,
}

thread_local! {
    static DEVICES: RefCell<Vec<Rc<CharDevice>>> = const { RefCell::new(Vec::new()) };
    /// The client that is being linked.
    pub(super) static NEWCOMER: Cell<u8> = const { Cell::new(0) };
    /// Patterned bytes that each client has sent.
    pub(super) static SENT: RefCell<[u64; MOST]> = const { RefCell::new([0; MOST]) };
}

/// What client or device `who` sends from byte `at` on, `length` bytes: its number in three
/// bits of each, and something that differs from place to place in the others.
pub(super) fn pattern(who: u8, at: u64, length: usize) -> &'static [u8] {
    static PATTERNS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let place = |at: u64| ((at * at) >> 3 ^ at >> 7) as u8 & 31;
        let of = |who: u8| {
            (0..PERIOD + LONGEST as u64).map(|at| who << 5 | place(at % PERIOD)).collect()
        };
        (0..MOST as u8).map(of).collect()
    });
    // Compared and copied as a whole: byte by byte takes most of a script's time.
    let from = (at % PERIOD) as usize;
    &PATTERNS[usize::from(who)][from..from + length]
}

/// The devices of this script, the removed ones too.
pub(super) fn all() -> Vec<Rc<CharDevice>> {
    DEVICES.with_borrow(Clone::clone)
}

/// The one that was added last with this channel, if it is still there.
pub(super) fn on_channel(channel: (u8, u8)) -> Option<Rc<CharDevice>> {
    all().into_iter().find(|device| !device.removed.get() && device.channel == Some(channel))
}

/// Forgets those of the last script.
pub(super) fn clear() {
    DEVICES.take();
    SENT.set([0; MOST]);
}

/// A connection got its channel: its device is about to be read for it.
pub(super) fn note_linked(linked: Linked) {
    if let Some(device) = on_channel((linked.kind, linked.id)) {
        device.base.set(device.given.get());
        device.linked.borrow_mut().push(NEWCOMER.get());
    }
}

/// Adds a device; the server says whether it takes it.
pub(super) fn add(what: Use, notifies: bool) {
    let number = DEVICES.with_borrow(Vec::len);
    if number == MOST {
        return;
    }
    let (subtype, name, kind): (&CStr, Option<&CStr>, Option<u8>) = match what {
        Use::Port => (c"port", Some(c"org.example.port"), Some(10)),
        Use::Usbredir => (c"usbredir", None, Some(9)),
        Use::Webdav => (c"port", Some(c"org.spice-space.webdav.0"), Some(11)),
        Use::Agent => (c"vdagent", None, None),
        Use::Smartcard => (c"smartcard", None, None),
        Use::Stream => (c"port", Some(c"org.spice-space.stream.0"), None),
    };
    // The server takes the lowest one, too.
    let channel = kind.and_then(|kind| {
        (0..=u8::MAX).find(|id| on_channel((kind, *id)).is_none()).map(|id| (kind, id))
    });
    let device = CharDevice::new(number as u8, what, channel, subtype, name, notifies);
    DEVICES.with_borrow_mut(|devices| devices.push(Rc::clone(&device)));
    // SAFETY: an instance with its interface, kept until the next script.
    let added = unsafe { spice_server_add_interface(host::server(), device.base_instance()) };
    assert!(added == 0 || what == Use::Smartcard, "a device is refused");
    // SAFETY: the library's mark on the device, which nobody else writes.
    let served = unsafe { !(*device.instance.get()).st.is_null() };
    // There is one reader and one agent.
    assert!(served || matches!(what, Use::Smartcard | Use::Agent), "a device is not served");
    device.removed.set(!served);
}

impl CharDevice {
    fn new(
        number: u8,
        what: Use,
        channel: Option<(u8, u8)>,
        subtype: &'static CStr,
        name: Option<&'static CStr>,
        notifies: bool,
    ) -> Rc<Self> {
        let base = SpiceBaseInterface {
            type_: SPICE_INTERFACE_CHAR_DEVICE.name.as_ptr(),
            description: c"fuzz".as_ptr(),
            major_version: SPICE_INTERFACE_CHAR_DEVICE.major,
            minor_version: SPICE_INTERFACE_CHAR_DEVICE.minor,
        };
        let device = Rc::new(Self {
            instance: UnsafeCell::new(SpiceCharDeviceInstance {
                base: SpiceBaseInstance { sif: ptr::null() },
                subtype: subtype.as_ptr(),
                st: ptr::null_mut(),
                portname: name.map_or(ptr::null(), CStr::as_ptr),
            }),
            interface: SpiceCharDeviceInterface {
                base,
                state: Some(state),
                write: Some(write),
                read: Some(read),
                event: Some(event),
                flags: if notifies { SPICE_CHAR_DEVICE_NOTIFY_WRITABLE } else { 0 },
            },
            number,
            what,
            channel,
            room: Cell::new(usize::MAX),
            pending: Cell::default(),
            given: Cell::default(),
            offers: RefCell::default(),
            hook: Cell::default(),
            tainted: Cell::default(),
            leaving: Cell::default(),
            removed: Cell::default(),
            written: RefCell::default(),
            linked: RefCell::default(),
            writer: Cell::default(),
            base: Cell::default(),
            chunks: RefCell::default(),
        });
        // SAFETY: nobody else knows the instance yet.
        unsafe { (*device.instance.get()).base.sif = (&raw const device.interface).cast() };
        device
    }

    fn base_instance(&self) -> *mut SpiceBaseInstance {
        self.instance.get().cast()
    }

    /// What it had given when its last client came.
    pub(super) fn base(&self) -> u64 {
        self.base.get()
    }

    pub(super) fn wakeup(&self) {
        // Hosts wake devices that the library has just let go of, too.
        // SAFETY: an instance that lives until the next script.
        unsafe { spice_server_char_device_wakeup(self.instance.get()) };
    }

    pub(super) fn port_event(&self, event: u8) {
        // SAFETY: as above.
        unsafe { spice_server_port_event(self.instance.get(), event) };
    }

    pub(super) fn remove(&self) {
        if !self.removed.get() && !self.leaving.replace(true) {
            if self.channel.is_none() {
                super::client::excuse_all();
            }
            // Called for the last time from inside.
            // SAFETY: as above.
            let removed = unsafe { spice_server_remove_interface(self.base_instance()) };
            // A server that ends has removed some of its devices by itself.
            assert!(removed == 0 || host::is_ending(), "a device cannot be removed");
            self.removed.set(true);
        }
    }

    fn called(&self) {
        assert!(!self.removed.get(), "a device is called after its removal");
        let server = host::server();
        match self.hook.take() % 10 {
            1 => self.wakeup(),
            2 => self.remove(),
            3 => self.port_event(0),
            4 => self.port_event(1),
            // SAFETY: the server of this thread.
            5 => unsafe { spice_server_vm_stop(server) },
            // SAFETY: as above.
            6 => unsafe { spice_server_vm_start(server) },
            7 => all().iter().filter(|other| !other.removed.get()).for_each(|other| other.wakeup()),
            8 => all().iter().rev().for_each(|other| other.remove()),
            9 => {
                super::client::excuse_all();
                // SAFETY: as above; no password.
                unsafe { spice_server_set_ticket(server, ptr::null(), 0, 0, 1) };
                super::passwords_are_on();
            }
            _ => {}
        }
    }

    fn take(&self, bytes: &[u8]) {
        if self.what == Use::Agent {
            return self.chunks.borrow_mut().take(bytes);
        }
        if self.channel.is_none() || self.tainted.get() {
            return;
        }
        // One call has bytes of one message, and so of one client.
        let Some(who) = bytes.first().map(|first| first >> 5) else {
            return;
        };
        let at = &mut self.written.borrow_mut()[usize::from(who)];
        let expected = pattern(who, *at, bytes.len());
        assert!(bytes == expected, "bytes of client {who} behind {at} are lost or changed");
        *at += bytes.len() as u64;
        let sent = SENT.with_borrow(|sent| sent[usize::from(who)]);
        assert!(*at <= sent, "client {who} never sent so much");
        let linked = self.linked.borrow();
        let place = linked.iter().position(|other| *other == who).expect("it has been here");
        assert!(place >= self.writer.get(), "client {who} after its successor");
        self.writer.set(place);
    }
}

impl Chunks {
    /// What goes to the agent is framed, whatever clients send.
    fn take(&mut self, mut bytes: &[u8]) {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let count = self.left.min(bytes.len());
                self.left -= count;
                bytes = &bytes[count..];
                continue;
            }
            self.header.push(first);
            bytes = rest;
            if let Ok(header) = <[u8; ChunkHeader::BYTES]>::try_from(&self.header[..]) {
                let ChunkHeader { port, size } = ChunkHeader::parse(header);
                assert!((1..=2).contains(&port) && size <= 2048, "a chunk of {size} for {port}");
                self.left = size as usize;
                self.header.clear();
            }
        }
    }
}

fn device<'a>(instance: *mut SpiceCharDeviceInstance) -> &'a CharDevice {
    // SAFETY: the library passes the instance that it was given, which is the first member
    // of a device that lives until the next script.
    unsafe { &*instance.cast::<CharDevice>() }
}

unsafe extern "C" fn state(instance: *mut SpiceCharDeviceInstance, _connected: c_int) {
    device(instance).called();
}

unsafe extern "C" fn event(instance: *mut SpiceCharDeviceInstance, _event: u8) {
    device(instance).called();
}

unsafe extern "C" fn write(
    instance: *mut SpiceCharDeviceInstance,
    bytes: *const u8,
    length: c_int,
) -> c_int {
    let device = device(instance);
    let length = usize::try_from(length).expect("a length");
    let count = length.min(device.room.get());
    if device.room.get() != usize::MAX {
        device.room.set(device.room.get() - count);
    }
    // SAFETY: the library passes so many bytes.
    device.take(unsafe { std::slice::from_raw_parts(bytes, count) });
    device.called();
    count as c_int
}

unsafe extern "C" fn read(
    instance: *mut SpiceCharDeviceInstance,
    buffer: *mut u8,
    length: c_int,
) -> c_int {
    let device = device(instance);
    let length = usize::try_from(length).expect("a length");
    // SAFETY: the library passes a buffer of this length.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer, length) };
    let count = if device.channel.is_some() {
        let count = (buffer.len() as u64).min(device.pending.get());
        let given = device.given.get();
        let bytes = pattern(device.number, given, count as usize);
        buffer[..bytes.len()].copy_from_slice(bytes);
        device.given.set(given + count);
        device.pending.set(device.pending.get() - count);
        count as usize
    } else {
        let mut offers = device.offers.borrow_mut();
        let count = buffer.len().min(offers.len());
        for (byte, offer) in buffer.iter_mut().zip(offers.drain(..count)) {
            *byte = offer;
        }
        count
    };
    device.called();
    count as c_int
}
