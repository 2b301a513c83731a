//! Sound devices of the host, and the frames that it fills.
//!
//! A device is known by the address of the host's instance, which is never followed: the
//! host may free it right after removing it. A frame is memory of ours that the host keeps
//! from `get_buffer` to `put_samples`, whoever has gone meanwhile: client, device or server.
//! What it hands back is looked up among the frames that were lent, and only then used.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::config::limits;
use crate::wire::audio::FRAME_SAMPLES;

/// Samples in a frame, as the host is told.
pub const FRAME_SIZE: u32 = FRAME_SAMPLES as u32;

/// A sound device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoundDevice {
    address: usize,
}

impl SoundDevice {
    /// The device whose instance is at this address.
    pub fn at<T>(instance: *const T) -> Self {
        Self { address: instance.addr() }
    }
}

/// For whom a frame was lent: a device and its client, by names that are not used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Borrower {
    /// The device.
    pub device: u64,
    /// The client.
    pub client: u64,
}

/// A name for another device.
pub fn new_name() -> u64 {
    static NAMES: AtomicU64 = AtomicU64::new(0);
    NAMES.fetch_add(1, Ordering::Relaxed)
}

/// Frames that the host has.
static LENT: Mutex<Vec<Lent>> = Mutex::new(Vec::new());

struct Lent {
    frame: NonNull<[u32; FRAME_SAMPLES]>,
    borrower: Borrower,
}

// SAFETY: the frame belongs to the table from `lend` to `take_back`; nothing here reads or
// writes it meanwhile, and its memory may be freed on any thread.
unsafe impl Send for Lent {}

/// Lends a silent frame. `None` when the device has as many frames as it may have.
pub fn lend(borrower: Borrower) -> Option<NonNull<u32>> {
    let mut lent = LENT.lock();
    let of_device = lent.iter().filter(|frame| frame.borrower.device == borrower.device);
    if of_device.count() >= limits::FRAMES_LENT {
        return None;
    }
    let frame = NonNull::from(Box::leak(Box::new([0; FRAME_SAMPLES])));
    lent.push(Lent { frame, borrower });
    Some(frame.cast())
}

/// How many frames are lent to this borrower.
pub fn count_lent(borrower: Borrower) -> usize {
    LENT.lock().iter().filter(|frame| frame.borrower == borrower).count()
}

/// Takes a frame back, as the host filled it. `None`: it was not lent.
pub fn take_back(samples: *const u32) -> Option<(Borrower, Box<[u32; FRAME_SAMPLES]>)> {
    let mut lent = LENT.lock();
    let at =
        lent.iter().position(|lent| lent.frame.cast::<u32>().as_ptr().cast_const() == samples)?;
    let Lent { frame, borrower } = lent.swap_remove(at);
    // SAFETY: `lend` made it from a box, and it has just left the table, so it is taken
    // back once. The host gives up its use by handing it in.
    Some((borrower, unsafe { Box::from_raw(frame.as_ptr()) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_once_and_as_they_were_filled() {
        let borrower = Borrower { device: 1 << 60, client: 1 };
        let frame = lend(borrower).expect("the first one");
        // SAFETY: it was lent to us.
        unsafe { frame.as_ptr().add(479).write(7) };
        assert_eq!(count_lent(borrower), 1);
        assert_eq!(count_lent(Borrower { client: 2, ..borrower }), 0);
        let (whose, samples) = take_back(frame.as_ptr()).expect("it was lent");
        assert_eq!((whose, samples[0], samples[479]), (borrower, 0, 7));
        assert!(take_back(frame.as_ptr()).is_none());
        assert!(take_back(std::ptr::null()).is_none());
        assert!(take_back(std::ptr::dangling()).is_none());
    }

    #[test]
    fn a_host_that_gives_nothing_back_gets_no_more() {
        let borrower = |client| Borrower { device: 2 << 60, client };
        let frames: Vec<_> = (0..).map_while(|client| lend(borrower(client))).collect();
        assert_eq!(frames.len(), limits::FRAMES_LENT);
        for frame in frames {
            assert!(take_back(frame.as_ptr()).is_some());
        }
        assert_eq!(count_lent(borrower(0)), 0);
    }
}
