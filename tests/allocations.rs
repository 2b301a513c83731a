//! How often the char-device core asks for memory: counted by the allocator itself.
//!
//! One test only, because the counter is that of its thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use spice_server::chardev::{Action, Device, FlowControl, Origin, Parameters, Pending, ReadStep};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is the system's allocator; counting asks for no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of `work`.
fn count(work: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

const CLIENT: usize = 1;
const MESSAGES: u64 = 10_000;

fn device() -> Device<Bytes, Bytes> {
    let mut device = Device::new(Parameters { token_interval: 5, self_tokens: 1 });
    let flow = FlowControl { max_send_queue: 5, client_tokens: 10, send_tokens: 10 };
    device.start();
    device.client_add(CLIENT, Some(flow), false).expect("the first client");
    device
}

/// One message of a client, which the device takes in two pieces.
fn to_device(device: &mut Device<Bytes, Bytes>, buffer: Bytes) {
    device.take_client_token(CLIENT).expect("tokens come back");
    let pending =
        Pending { length: buffer.len(), buffer, origin: Origin::Client(CLIENT), price: 1 };
    device.add(pending).expect("a client");
    assert!(device.begin_write());
    while let Some(write) = device.poll_write() {
        device.handle_written(((write.to - write.from) as i32 + 1) / 2);
        while device.poll_action().is_some() {}
    }
    device.end_write();
}

/// One message of the device's for the client, which grants the next.
fn from_device(device: &mut Device<Bytes, Bytes>, message: &Bytes, now: Instant) {
    assert!(device.begin_read());
    device.handle_message(message, now);
    while let Some(action) = device.poll_action() {
        if let Action::Send(client, _) = action {
            device.grant_send_tokens(client, 1, false, now).expect("a client");
        }
    }
    assert_eq!(device.handle_no_message(), ReadStep::Done);
    device.end_read();
}

#[test]
fn the_core_asks_for_no_memory_once_it_is_warm() {
    let now = Instant::now();
    let mut device = device();
    let shared = Bytes::from(vec![7; 1024]);
    to_device(&mut device, shared.clone());
    from_device(&mut device, &shared, now);

    let to = count(|| (0..MESSAGES).for_each(|_| to_device(&mut device, shared.clone())));
    assert_eq!(to, 0, "to the device");
    let from = count(|| (0..MESSAGES).for_each(|_| from_device(&mut device, &shared, now)));
    assert_eq!(from, 0, "from the device");
    // Messages cut from one growing block, as a socket's are: at most one allocation
    // each, although every one has its own memory.
    let mut memory = BytesMut::with_capacity(4096);
    let cut = count(|| {
        for _ in 0..MESSAGES {
            memory.extend_from_slice(&[7; 1024]);
            to_device(&mut device, memory.split().freeze());
        }
    });
    println!("{cut} allocations for {MESSAGES} messages cut from one block");
    assert!(cut <= MESSAGES, "{cut}");
    let owned = count(|| {
        (0..MESSAGES).for_each(|_| drop(Bytes::copy_from_slice(&[7; 1024])));
    });
    assert_eq!(owned, MESSAGES, "the counter counts");
}
