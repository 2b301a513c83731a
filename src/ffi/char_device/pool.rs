//! Write buffers: who has one, and the pool that they come from and go back to.
//!
//! C holds pointers to buffers. Each is looked up before it is followed, so that one
//! that is foreign, stale or in the library's hands already is refused.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::ffi::c_int;
use std::ptr::NonNull;
use std::rc::{Rc, Weak};

use parking_lot::Mutex;

use super::layout::{RedClient, SpiceCharDeviceLink, SpiceCharDeviceWriteBuffer};
use crate::chardev::{ClientKey, Origin};
use crate::config::limits;
use crate::ffi::handles::Serialised;
use crate::server::driver::Buffer;

/// Every buffer there is, by the address that C knows.
static BUFFERS: Mutex<Option<HashMap<usize, Serialised<NonNull<Block>>>>> = Mutex::new(None);

/// A buffer: what C sees of it, and behind that what C must not change. C may write to
/// the first part at any time, so no reference to it is ever made.
#[repr(C)]
struct Block {
    header: SpiceCharDeviceWriteBuffer,
    memory: Vec<u8>,
    origin: Origin,
    stage: Stage,
    /// Handles of the library's, while it is queued.
    handles: u32,
    pool: Weak<Pool>,
}

/// Who has a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The C program: it is to be added or released.
    Taken,
    /// The library: it is queued or being written.
    Queued,
    /// The C program, with references of its own; the library is done with it.
    Kept,
    /// The pool.
    Idle,
}

/// What a buffer that C brings back is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Brought {
    block: NonNull<Block>,
    /// Where it comes from; nobody when its token was given back already, or its client
    /// has left.
    pub(super) origin: Origin,
    /// The library was done with it already; C had references of its own.
    pub(super) kept: bool,
    /// How many bytes are in it; `None` when C claims what cannot be.
    pub(super) used: Option<usize>,
}

/// The idle buffers of one device.
#[derive(Default)]
pub(super) struct Pool {
    /// Oldest first.
    idle: RefCell<VecDeque<NonNull<Block>>>,
    /// Bytes in them.
    bytes: Cell<usize>,
}

/// A handle of a buffer that is queued or being written.
pub(super) struct QueuedBuffer(NonNull<Block>);

impl Pool {
    /// Takes a buffer with room for `size` bytes: the oldest idle one, or a new one.
    /// `None` when memory is short.
    pub(super) fn take(
        self: &Rc<Self>,
        size: usize,
        origin: Origin,
        client: *mut RedClient,
    ) -> Option<NonNull<SpiceCharDeviceWriteBuffer>> {
        let block = match self.pop() {
            Some(block) => block,
            None => self.make(),
        };
        // SAFETY: a block of ours that nobody else has; `memory` is not C's to touch.
        let memory = unsafe { &mut (*block.as_ptr()).memory };
        if memory.len() < size {
            // What is in it is of no use, so it is not copied either.
            memory.clear();
            if memory.try_reserve_exact(size).is_err() {
                free(block);
                return None;
            }
            memory.resize(size, 0);
        }
        let header = SpiceCharDeviceWriteBuffer {
            link: unlinked(),
            origin: number_of(origin),
            client,
            buf: memory.as_mut_ptr(),
            buf_size: memory.len() as u32,
            buf_used: 0,
            token_price: PRICE,
            refs: 1,
        };
        // SAFETY: as above.
        unsafe {
            (*block.as_ptr()).header = header;
            (*block.as_ptr()).origin = origin;
            (*block.as_ptr()).stage = Stage::Taken;
        }
        Some(block.cast())
    }

    /// A buffer that C brings back, if C has it and it is of this pool.
    pub(super) fn brought(
        self: &Rc<Self>,
        entry: &str,
        buffer: *mut SpiceCharDeviceWriteBuffer,
    ) -> Option<Brought> {
        let block = find(entry, buffer)?;
        // SAFETY: known, so a block of ours.
        if !std::ptr::eq(unsafe { (*block.as_ptr()).pool.as_ptr() }, Rc::as_ptr(self)) {
            crate::warning!("{entry}: the buffer belongs to another device");
            return None;
        }
        Some(look(block))
    }

    /// Makes a handle of the library's, for the queue.
    pub(super) fn queue(brought: Brought) -> QueuedBuffer {
        // SAFETY: `brought` says that it is known and in the hands of C, which now
        // gives it up.
        unsafe {
            (*brought.block.as_ptr()).stage = Stage::Queued;
            (*brought.block.as_ptr()).handles = 1;
        }
        QueuedBuffer(brought.block)
    }

    /// Copies bytes into a buffer for the queue. `None` when memory is short.
    pub(super) fn copy(self: &Rc<Self>, bytes: &[u8], origin: Origin) -> Option<QueuedBuffer> {
        let buffer = self.take(bytes.len(), origin, std::ptr::null_mut())?;
        let block: NonNull<Block> = buffer.cast();
        // SAFETY: nobody else has it yet.
        unsafe { (&mut (*block.as_ptr()).memory)[..bytes.len()].copy_from_slice(bytes) };
        Some(Self::queue(look(block)))
    }

    /// A client has left: the buffers that C took for it are nobody's now, also if a
    /// client of the same name comes later.
    pub(super) fn forget_client(self: &Rc<Self>, client: ClientKey) {
        let all = BUFFERS.lock();
        for block in all.iter().flat_map(HashMap::values).map(|block| block.0) {
            // SAFETY: known, so a block of ours.
            unsafe {
                let ours = std::ptr::eq((*block.as_ptr()).pool.as_ptr(), Rc::as_ptr(self));
                if ours && (*block.as_ptr()).origin == Origin::Client(client) {
                    (*block.as_ptr()).origin = Origin::Nobody;
                    (*block.as_ptr()).header.origin = number_of(Origin::Nobody);
                    (*block.as_ptr()).header.client = std::ptr::null_mut();
                }
            }
        }
    }

    /// Frees what is idle.
    pub(super) fn empty(&self) {
        self.bytes.set(0);
        for block in std::mem::take(&mut *self.idle.borrow_mut()) {
            free(block);
        }
    }

    fn pop(&self) -> Option<NonNull<Block>> {
        let block = self.idle.borrow_mut().pop_front()?;
        // SAFETY: idle blocks are the pool's.
        let size = unsafe { &(*block.as_ptr()).memory }.len();
        self.bytes.set(self.bytes.get() - size);
        Some(block)
    }

    fn make(self: &Rc<Self>) -> NonNull<Block> {
        let block = NonNull::from(Box::leak(Box::new(Block {
            header: SpiceCharDeviceWriteBuffer {
                link: unlinked(),
                origin: number_of(Origin::Nobody),
                client: std::ptr::null_mut(),
                buf: std::ptr::null_mut(),
                buf_size: 0,
                buf_used: 0,
                token_price: PRICE,
                refs: 1,
            },
            memory: Vec::new(),
            origin: Origin::Nobody,
            stage: Stage::Taken,
            handles: 0,
            pool: Rc::downgrade(self),
        })));
        BUFFERS.lock().get_or_insert_default().insert(block.addr().get(), Serialised(block));
        block
    }

    /// Takes a buffer back. Whether it is kept is decided by what is there already, so
    /// the limit can be passed by one buffer.
    fn put(&self, block: NonNull<Block>) {
        if self.bytes.get() >= limits::WRITE_BUFFER_POOL {
            return free(block);
        }
        // SAFETY: the block is ours; its header is C's no longer.
        let size = unsafe {
            (*block.as_ptr()).stage = Stage::Idle;
            (*block.as_ptr()).header.buf_used = 0;
            (*block.as_ptr()).header.origin = number_of(Origin::Nobody);
            (*block.as_ptr()).header.client = std::ptr::null_mut();
            (*block.as_ptr()).memory.len()
        };
        self.bytes.set(self.bytes.get() + size);
        self.idle.borrow_mut().push_back(block);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.empty();
    }
}

impl Brought {
    /// Takes the buffer back from C; its token has been seen to.
    pub(super) fn give_back(self) {
        finish(self.block);
    }
}

/// Frees a buffer whose device is gone, or is not to hear of it.
pub(super) fn free_without_device(entry: &str, buffer: *mut SpiceCharDeviceWriteBuffer) {
    if let Some(block) = find(entry, buffer) {
        crate::warning!("{entry}: no device is named, the buffer is freed without a token");
        free(block);
    }
}

impl Buffer for QueuedBuffer {
    fn with_bytes<T>(&self, from: usize, to: usize, work: impl FnOnce(&[u8]) -> T) -> T {
        // SAFETY: a queued block is ours until the last handle is gone, and `memory`
        // is not C's to touch.
        let memory = unsafe { &(*self.0.as_ptr()).memory };
        work(&memory[from..to])
    }
}

impl Clone for QueuedBuffer {
    fn clone(&self) -> Self {
        // SAFETY: as in `with_bytes`.
        unsafe { (*self.0.as_ptr()).handles += 1 };
        Self(self.0)
    }
}

impl Drop for QueuedBuffer {
    fn drop(&mut self) {
        // SAFETY: as in `with_bytes`.
        let left = unsafe {
            (*self.0.as_ptr()).handles -= 1;
            (*self.0.as_ptr()).handles
        };
        if left == 0 {
            finish(self.0);
        }
    }
}

/// A buffer that is in the hands of C. Another one is logged.
fn find(entry: &str, buffer: *mut SpiceCharDeviceWriteBuffer) -> Option<NonNull<Block>> {
    let known = BUFFERS.lock().as_ref().and_then(|all| all.get(&buffer.addr()).map(|b| b.0));
    let Some(block) = known else {
        crate::warning!("{entry}: {buffer:p} is not a write buffer");
        return None;
    };
    // SAFETY: known, so a block of ours.
    let stage = unsafe { (*block.as_ptr()).stage };
    if matches!(stage, Stage::Taken | Stage::Kept) {
        return Some(block);
    }
    crate::warning!("{entry}: the buffer was added or released already");
    None
}

/// What C says about a buffer that it has.
fn look(block: NonNull<Block>) -> Brought {
    // SAFETY: the callers found the block among the known ones.
    unsafe {
        let (used, buf) = ((*block.as_ptr()).header.buf_used, (*block.as_ptr()).header.buf);
        let memory = &(*block.as_ptr()).memory;
        let used = used as usize;
        let sound = used <= memory.len() && std::ptr::eq(buf, memory.as_ptr());
        let kept = (*block.as_ptr()).stage == Stage::Kept;
        Brought { block, origin: (*block.as_ptr()).origin, kept, used: sound.then_some(used) }
    }
}

/// The library is done with a buffer: it goes back to its pool, unless C holds
/// references of its own.
fn finish(block: NonNull<Block>) {
    // SAFETY: the callers have the block.
    unsafe {
        // The token has been given back, and is not to be a second time.
        (*block.as_ptr()).origin = Origin::Nobody;
        let refs = (*block.as_ptr()).header.refs;
        if refs > 1 {
            (*block.as_ptr()).header.refs = refs - 1;
            (*block.as_ptr()).stage = Stage::Kept;
            return;
        }
    }
    // SAFETY: as above.
    match unsafe { &(*block.as_ptr()).pool }.upgrade() {
        Some(pool) => pool.put(block),
        None => free(block),
    }
}

fn free(block: NonNull<Block>) {
    if let Some(all) = &mut *BUFFERS.lock() {
        all.remove(&block.addr().get());
    }
    // SAFETY: made by Box::leak in `Pool::make`, and no longer known to anybody.
    drop(unsafe { Box::from_raw(block.as_ptr()) });
}

fn number_of(origin: Origin) -> c_int {
    match origin {
        Origin::Nobody => 0,
        Origin::Client(_) => 1,
        Origin::Server => 2,
        Origin::ServerNoToken => 3,
    }
}

fn unlinked() -> SpiceCharDeviceLink {
    SpiceCharDeviceLink { prev: std::ptr::null_mut(), next: std::ptr::null_mut() }
}

/// What every buffer costs.
pub(super) const PRICE: u32 = 1;
