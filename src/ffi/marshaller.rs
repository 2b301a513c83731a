//! `spice_marshaller_*`: building a message out of parts, for C callers of the
//! migration functions.
//!
//! The parts are `wire::marshaller`. What C holds is no pointer but a number that names
//! a message and a part of it, so that a stale or foreign one is refused instead of
//! followed. The host serialises the calls.

#![allow(clippy::doc_markdown, reason = "the comments go into C headers, as C writes names")]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::rc::Rc;

use parking_lot::Mutex;

use super::handles::Serialised;
use crate::guard::guard;
use crate::wire::marshaller::{Marshaller, PartId, Refusal, Width};

/// A message that is being built, or a part of one. The library's; only ever held by
/// pointer.
#[derive(Debug)]
pub struct SpiceMarshaller {
    _opaque: [u8; 0],
}

/// Makes an empty message.
///
/// @return to be ended by spice_marshaller_destroy(); never NULL
///
/// Main thread, as all functions on marshallers.
///
/// Shown by: c-tests/old-api/test-marshaller.c, c-tests/old-api/test-migration.c
#[unsafe(no_mangle)]
pub extern "C" fn spice_marshaller_new() -> *mut SpiceMarshaller {
    guard("spice_marshaller_new", std::ptr::null_mut(), || {
        let mut messages = MESSAGES.lock();
        messages.made += 1;
        let number = messages.made;
        messages.alive.insert(number, Serialised(Rc::default()));
        handle(number, PartId::ROOT)
    })
}

/// Ends a message with all its parts: their pointers, and every pointer into the
/// message, are no longer good. A part, and what is no marshaller, is refused and
/// logged; so is a second time.
///
/// # Safety
/// None: the pointer is looked up.
///
/// Shown by: c-tests/old-api/test-marshaller.c, c-tests/old-api/test-migration.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_marshaller_destroy(m: *mut SpiceMarshaller) {
    const NAME: &str = "spice_marshaller_destroy";
    guard(NAME, (), || {
        with_root(NAME, m, |_| {
            let (number, _) = split(m);
            let gone = MESSAGES.lock().alive.remove(number);
            drop(gone);
        });
    });
}

/// Empties a message, to be built anew: its parts are gone, as after
/// spice_marshaller_destroy(), but `m` stays. A part is refused and logged.
///
/// # Safety
/// None: the pointer is looked up.
///
/// Shown by: c-tests/old-api/test-marshaller.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_marshaller_reset(m: *mut SpiceMarshaller) {
    const NAME: &str = "spice_marshaller_reset";
    guard(NAME, (), || {
        with_root(NAME, m, Marshaller::reset);
    });
}

/// Appends one byte.
///
/// @return where it lies in the message, until that is reset or destroyed; NULL,
///   logged, for what is no marshaller or when the message would become larger than
///   4 GiB
///
/// # Safety
/// None: the pointer is looked up.
///
/// Shown by: c-tests/old-api/test-marshaller.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_marshaller_add_uint8(m: *mut SpiceMarshaller, v: u8) -> *mut c_void {
    add("spice_marshaller_add_uint8", m, &v.to_le_bytes()).cast()
}

/// Appends two bytes, little endian; otherwise as spice_marshaller_add_uint8().
///
/// # Safety
/// None: the pointer is looked up.
///
/// Shown by: c-tests/old-api/test-marshaller.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_marshaller_add_uint16(
    m: *mut SpiceMarshaller,
    v: u16,
) -> *mut c_void {
    add("spice_marshaller_add_uint16", m, &v.to_le_bytes()).cast()
}

/// Appends four bytes, little endian; otherwise as spice_marshaller_add_uint8().
///
/// # Safety
/// None: the pointer is looked up.
///
/// Shown by: c-tests/old-api/test-marshaller.c, c-tests/old-api/test-migration.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_marshaller_add_uint32(
    m: *mut SpiceMarshaller,
    v: u32,
) -> *mut c_void {
    add("spice_marshaller_add_uint32", m, &v.to_le_bytes()).cast()
}

/// Appends eight bytes, little endian; otherwise as spice_marshaller_add_uint8().
///
/// # Safety
/// None: the pointer is looked up.
///
/// Shown by: c-tests/old-api/test-marshaller.c, c-tests/old-api/test-migration.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_marshaller_add_uint64(
    m: *mut SpiceMarshaller,
    v: u64,
) -> *mut c_void {
    add("spice_marshaller_add_uint64", m, &v.to_le_bytes()).cast()
}

/// Appends a copy of `size` bytes.
///
/// @return as spice_marshaller_add_uint8(); also NULL, logged, for NULL data of a size
///   above 0, and for more than 64 MiB at once
///
/// # Safety
/// `data` is NULL or points to `size` bytes.
///
/// Shown by: c-tests/old-api/test-marshaller.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_marshaller_add(
    m: *mut SpiceMarshaller,
    data: *const u8,
    size: usize,
) -> *mut u8 {
    const NAME: &str = "spice_marshaller_add";
    if size > Marshaller::MAX_RUN || (data.is_null() && size > 0) {
        crate::warning!("{NAME}: {size} bytes at {data:p} cannot be added");
        return std::ptr::null_mut();
    }
    // SAFETY: the caller's promise; the length was just looked at.
    let bytes = if size == 0 { &[] } else { unsafe { std::slice::from_raw_parts(data, size) } };
    add(NAME, m, bytes)
}

/// Appends `size` bytes of 0, for the caller to write to.
///
/// @return where they lie in the message, in one piece, until that is reset or
///   destroyed; NULL, logged, as from spice_marshaller_add()
///
/// # Safety
/// None: the pointer is looked up.
///
/// Shown by: c-tests/old-api/test-marshaller.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_marshaller_reserve_space(
    m: *mut SpiceMarshaller,
    size: usize,
) -> *mut u8 {
    const NAME: &str = "spice_marshaller_reserve_space";
    guard(NAME, std::ptr::null_mut(), || {
        with_part(NAME, m, |message, part| message.reserve(part, size).map(address))
            .unwrap_or(std::ptr::null_mut())
    })
}

/// The size of the whole message in bytes, whichever part of it `m` is; 0, logged, for
/// what is no marshaller.
///
/// # Safety
/// None: the pointer is looked up.
///
/// Shown by: c-tests/old-api/test-marshaller.c, c-tests/old-api/test-migration.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_marshaller_get_total_size(m: *mut SpiceMarshaller) -> usize {
    const NAME: &str = "spice_marshaller_get_total_size";
    guard(NAME, 0, || {
        with_part(NAME, m, |message, part| {
            if message.has(part) { Ok(message.total_size()) } else { Err(Refusal::NoPart) }
        })
        .unwrap_or(0)
    })
}

/// The message in one piece, from byte `skip` on, with the pointers to its parts filled
/// in.
///
/// @param m the message; a part is refused and logged
/// @param len receives how many bytes that are
/// @param free_res receives 1 when the caller has to free() the result, 0 when the
///   result lies in the message and is good until that is changed, reset or destroyed
/// @return NULL when there is nothing to return: no byte after `skip`, or, logged, a
///   wrong argument or no memory; `len` and `free_res` are then 0
///
/// # Safety
/// `len` and `free_res` are NULL, which is refused, or may be written to.
///
/// Shown by: c-tests/old-api/test-marshaller.c, c-tests/old-api/test-migration.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_marshaller_linearize(
    m: *mut SpiceMarshaller,
    skip: usize,
    len: *mut usize,
    free_res: *mut c_int,
) -> *mut u8 {
    const NAME: &str = "spice_marshaller_linearize";
    guard(NAME, std::ptr::null_mut(), || {
        if len.is_null() || free_res.is_null() {
            crate::warning!("{NAME}: nowhere to put the length or who frees the result");
            return std::ptr::null_mut();
        }
        let result = with_root(NAME, m, |message| linearize(message, skip)).unwrap_or_default();
        // SAFETY: not NULL, so writable by the caller's promise.
        unsafe {
            len.write(result.length);
            free_res.write(c_int::from(result.copied));
        }
        result.bytes
    })
}

/// Appends a pointer to a part of the message that is still to be filled.
///
/// @param is_64bit not 0: the pointer takes eight bytes; 0: four
/// @return the part, good until the message is reset or destroyed. It comes after all
///   of `m`'s own bytes and after the parts that were made before it. The pointer
///   becomes the part's offset from the beginning of the message, or 0 if the part
///   stays empty. NULL, logged, for what is no marshaller, when the message would
///   become too large, and after a million parts.
///
/// # Safety
/// None: the pointer is looked up.
///
/// Shown by: c-tests/old-api/test-marshaller.c
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_marshaller_get_ptr_submarshaller(
    m: *mut SpiceMarshaller,
    is_64bit: c_int,
) -> *mut SpiceMarshaller {
    const NAME: &str = "spice_marshaller_get_ptr_submarshaller";
    guard(NAME, std::ptr::null_mut(), || {
        let width = if is_64bit == 0 { Width::Four } else { Width::Eight };
        let (number, _) = split(m);
        with_part(NAME, m, |message, part| message.add_part(part, width))
            .map_or(std::ptr::null_mut(), |part| handle(number, part))
    })
}

/// Messages that were made and not destroyed yet, by number.
static MESSAGES: Mutex<Messages> = Mutex::new(Messages { made: 0, alive: Alive(None) });

struct Messages {
    made: usize,
    alive: Alive,
}

type Shared = Serialised<Rc<RefCell<Marshaller>>>;

/// A map that is made when it is first needed, because a static needs a constant.
struct Alive(Option<HashMap<usize, Shared>>);

impl Alive {
    fn insert(&mut self, number: usize, message: Shared) {
        self.0.get_or_insert_default().insert(number, message);
    }

    fn remove(&mut self, number: usize) -> Option<Shared> {
        self.0.as_mut()?.remove(&number)
    }

    fn get(&self, number: usize) -> Option<Rc<RefCell<Marshaller>>> {
        self.0.as_ref()?.get(&number).map(|message| Rc::clone(&message.0))
    }
}

/// Runs `work` on the message and part that a handle names; what is wrong is logged.
pub(super) fn with_part<T>(
    entry: &str,
    m: *mut SpiceMarshaller,
    work: impl FnOnce(&mut Marshaller, PartId) -> Result<T, Refusal>,
) -> Option<T> {
    let (number, part) = split(m);
    let message = MESSAGES.lock().alive.get(number).filter(|_| m.addr() & 1 == 1);
    let Some(message) = message else {
        crate::warning!("{entry}: {m:p} is not a marshaller");
        return None;
    };
    let result = work(&mut message.borrow_mut(), part);
    result.inspect_err(|refusal| crate::warning!("{entry}: {refusal}")).ok()
}

/// The same for functions that take whole messages only.
fn with_root<T>(
    entry: &str,
    m: *mut SpiceMarshaller,
    work: impl FnOnce(&mut Marshaller) -> T,
) -> Option<T> {
    let whole =
        with_part(entry, m, |message, part| Ok((part == PartId::ROOT).then(|| work(message))))?;
    if whole.is_none() {
        crate::warning!("{entry}: {m:p} is a part of a message");
    }
    whole
}

fn add(entry: &str, m: *mut SpiceMarshaller, bytes: &[u8]) -> *mut u8 {
    guard(entry, std::ptr::null_mut(), || {
        with_part(entry, m, |message, part| message.add(part, bytes).map(address))
            .unwrap_or(std::ptr::null_mut())
    })
}

/// What linearize gives out.
struct Linear {
    bytes: *mut u8,
    length: usize,
    copied: bool,
}

impl Default for Linear {
    fn default() -> Self {
        Self { bytes: std::ptr::null_mut(), length: 0, copied: false }
    }
}

fn linearize(message: &Marshaller, skip: usize) -> Linear {
    let length = message.total_size().saturating_sub(skip);
    if length == 0 {
        return Linear::default();
    }
    let mut pieces = Vec::new();
    let mut to_skip = skip;
    message.for_each_piece(|piece| {
        let kept = &piece[to_skip.min(piece.len())..];
        to_skip -= piece.len() - kept.len();
        if !kept.is_empty() {
            pieces.push(kept);
        }
    });
    if let [piece] = pieces[..] {
        return Linear { bytes: address(piece), length, copied: false };
    }
    // SAFETY: a size above 0; free() is promised to take it.
    let bytes: *mut u8 = unsafe { libc::malloc(length) }.cast();
    if bytes.is_null() {
        crate::warning!("spice_marshaller_linearize: no memory for {length} bytes");
        return Linear::default();
    }
    let mut at = 0;
    for piece in pieces {
        // SAFETY: the pieces are `length` bytes together, in memory of their own.
        unsafe { std::ptr::copy_nonoverlapping(address(piece), bytes.add(at), piece.len()) };
        at += piece.len();
    }
    Linear { bytes, length, copied: true }
}

/// A cell may be written to through a shared reference, so C may, too.
fn address(place: &[Cell<u8>]) -> *mut u8 {
    place.as_ptr().cast::<u8>().cast_mut()
}

/// Handles are odd, so that none is ever the address of anything aligned.
const PART_BITS: u32 = 20;

fn handle(number: usize, part: PartId) -> *mut SpiceMarshaller {
    std::ptr::without_provenance_mut((number << PART_BITS | part.0 as usize) << 1 | 1)
}

fn split(m: *mut SpiceMarshaller) -> (usize, PartId) {
    let value = m.addr() >> 1;
    (value >> PART_BITS, PartId((value & ((1 << PART_BITS) - 1)) as u32))
}

#[cfg(test)]
mod tests;
