//! The system calls that no safe crate wraps the way we need them.
//!
//! The only file of this room with `unsafe`: reading into a growing buffer, the
//! I/O thread's poller, wake-up descriptors, and starting threads that leave signals alone.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use bytes::BytesMut;
use polling::{Event, PollMode, Poller};
use socket2::Socket;

/// Reads once from `socket` to the end of `buffer`, as much as it has room for.
/// 0 means that the peer closed.
pub(super) fn recv_append(socket: &Socket, buffer: &mut BytesMut) -> io::Result<usize> {
    let room: &mut [MaybeUninit<u8>] = buffer.spare_capacity_mut();
    let count = socket.recv(room)?;
    let length = buffer.len() + count;
    // SAFETY: `recv` filled `count` bytes of the spare capacity, which begins at `len`.
    unsafe { buffer.set_len(length) };
    Ok(count)
}

/// Adds a descriptor to a poller in level-triggered mode.
pub(super) fn poller_add(poller: &Poller, fd: RawFd, event: Event) -> io::Result<()> {
    // SAFETY: every registration is deleted before its descriptor is closed:
    // `IoRegistration` does so when it is dropped, and owners drop it first.
    unsafe { poller.add_with_mode(fd, event, PollMode::Level) }
}

/// Removes what [`poller_add`] added.
pub(super) fn poller_delete(poller: &Poller, fd: RawFd) -> io::Result<()> {
    // SAFETY: the registration's owner calls this while the descriptor is open.
    poller.delete(unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) })
}

/// Changes what is waited for.
pub(super) fn poller_modify(poller: &Poller, fd: RawFd, event: Event) -> io::Result<()> {
    // SAFETY: as above.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    poller.modify_with_mode(fd, event, PollMode::Level)
}

/// A descriptor that becomes readable when another thread asks for attention.
#[derive(Debug)]
pub struct WakeFd(OwnedFd);

impl WakeFd {
    /// A new one, not raised.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers are involved; the result is checked.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a fresh descriptor that nobody else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Raises it. It cannot fail: the counter would have to reach 2^64−1.
    pub fn raise(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight readable bytes, an open descriptor.
        let _ = unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Lowers it.
    pub fn lower(&self) {
        let mut count = [0u8; 8];
        // SAFETY: eight writable bytes, an open descriptor.
        let _ = unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

impl AsRawFd for WakeFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Runs `spawn` with all signals blocked, so that the thread it starts inherits
/// that: signals belong to the host's own threads.
pub fn without_signals<T>(spawn: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets are written by the calls before they are read.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let result = spawn();
    // SAFETY: `before` was written by the first call.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    result
}

/// Takes ownership of a descriptor that came through the C API.
///
/// # Safety
/// `fd` is an open descriptor that nobody else will close.
pub unsafe fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: the caller's promise.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Whether `fd` is an open descriptor.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: asks for flags only.
    fd >= 0 && unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1
}

/// The bytes of a socket address as the kernel gave it.
pub(super) fn address_bytes(address: &socket2::SockAddr) -> Vec<u8> {
    // SAFETY: a `SockAddr` holds `len` initialised bytes at `as_ptr`.
    unsafe { std::slice::from_raw_parts(address.as_ptr().cast::<u8>(), address.len() as usize) }
        .to_vec()
}
