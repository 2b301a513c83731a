//! The machine's monotonic clock as a number, for peers that compare it.

use std::mem::MaybeUninit;

/// Milliseconds of the monotonic clock, wrapped to 32 bits.
pub fn monotonic_ms() -> u32 {
    (monotonic_ns() / 1_000_000) as u32
}

/// Nanoseconds of the monotonic clock.
pub fn monotonic_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// The same as of the kernel's last tick, a few milliseconds ago at most: a read of memory.
pub fn coarse_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC_COARSE)
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut now = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the call writes the structure; it cannot fail for these clocks, and zero
    // is a value of every member.
    let now = unsafe {
        libc::clock_gettime(clock, now.as_mut_ptr());
        now.assume_init()
    };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
