//! The system calls that no safe crate wraps the way we need them.
//!
//! The only file of this room with `unsafe`, together with `sys/sasl.rs` and `sys/opus.rs`:
//! reading into a growing buffer, the I/O thread's poller, wake-up descriptors, and starting
//! threads that leave signals alone.

#[cfg(feature = "sasl")]
pub mod sasl;
#[cfg(not(feature = "sasl"))]
#[path = "sys/no_sasl.rs"]
pub mod sasl;

#[cfg(feature = "opus")]
pub mod opus;
#[cfg(not(feature = "opus"))]
#[path = "sys/no_opus.rs"]
pub mod opus;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::thread::JoinHandle;

use bytes::BytesMut;
use openssl::ssl::SslStream;
use parking_lot::Mutex;
use rustix::event::epoll;
use socket2::Socket;

use crate::guard::guard;

/// Reads once from `socket` to the end of `buffer`, as much as it has room for and `most`
/// bytes at most. 0 means that the peer closed.
pub(super) fn recv_append(
    socket: &Socket,
    buffer: &mut BytesMut,
    most: usize,
) -> io::Result<usize> {
    let room: &mut [MaybeUninit<u8>] = buffer.spare_capacity_mut();
    let most = most.min(room.len());
    let count = socket.recv(&mut room[..most])?;
    let length = buffer.len() + count;
    // SAFETY: `recv` filled `count` bytes of the spare capacity, which begins at `len`.
    unsafe { buffer.set_len(length) };
    Ok(count)
}

/// The next byte that a socket has, without taking it; `None`: the peer closed.
pub(super) fn peek(socket: &Socket) -> io::Result<Option<u8>> {
    let mut byte = [MaybeUninit::uninit()];
    let count = socket.recv_with_flags(&mut byte, libc::MSG_PEEK | libc::MSG_DONTWAIT)?;
    // SAFETY: a count above 0 says that `recv` wrote the only byte.
    Ok((count > 0).then(|| unsafe { byte[0].assume_init() }))
}

/// Reads once from a TLS connection to the end of `buffer`, as much as it has room for.
pub(super) fn tls_read_append<S: io::Read + io::Write>(
    tls: &mut SslStream<S>,
    buffer: &mut BytesMut,
) -> Result<usize, openssl::ssl::Error> {
    let count = tls.ssl_read_uninit(buffer.spare_capacity_mut())?;
    let length = buffer.len() + count;
    // SAFETY: OpenSSL filled `count` bytes of the spare capacity, which begins at `len`.
    unsafe { buffer.set_len(length) };
    Ok(count)
}

/// Has `epoll` tell of a descriptor.
pub(super) fn epoll_add(
    epoll: &OwnedFd,
    fd: RawFd,
    key: u64,
    flags: epoll::EventFlags,
) -> io::Result<()> {
    // SAFETY: whoever has it watched has it open: `IoRegistration` is dropped before its
    // socket is closed, and says so when it is.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(epoll::add(epoll, fd, epoll::EventData::new_u64(key), flags)?)
}

/// Changes what it tells.
pub(super) fn epoll_modify(
    epoll: &OwnedFd,
    fd: RawFd,
    key: u64,
    flags: epoll::EventFlags,
) -> io::Result<()> {
    // SAFETY: as above.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(epoll::modify(epoll, fd, epoll::EventData::new_u64(key), flags)?)
}

/// Ends it.
pub(super) fn epoll_delete(epoll: &OwnedFd, fd: RawFd) -> io::Result<()> {
    // SAFETY: as above.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(epoll::delete(epoll, fd)?)
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

/// Starts a thread. A name of more than 15 bytes is cut by the kernel.
pub fn spawn(
    name: &'static str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let before = block_signals();
    let thread =
        std::thread::Builder::new().name(name.to_owned()).spawn(move || guard(name, (), body));
    restore_signals(&before);
    thread
}

/// Signals belong to the host; a handler of the host's must never run on a thread
/// it does not know. So the mask is set before the thread exists, which leaves no
/// moment in which a signal could be delivered there.
///
/// Blocks everything but the signals that a fault in the thread itself raises:
/// blocking those would turn a crash report into a silent kill.
fn block_signals() -> libc::sigset_t {
    let mut wanted = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises `wanted`, pthread_sigmask initialises `before`;
    // both only fail for arguments that are constants here.
    unsafe {
        libc::sigfillset(wanted.as_mut_ptr());
        for fault in [libc::SIGILL, libc::SIGFPE, libc::SIGSEGV, libc::SIGBUS] {
            libc::sigdelset(wanted.as_mut_ptr(), fault);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, wanted.as_ptr(), before.as_mut_ptr());
        before.assume_init()
    }
}

fn restore_signals(before: &libc::sigset_t) {
    // SAFETY: `before` is a mask that pthread_sigmask wrote.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, std::ptr::null_mut()) };
}

/// Has `hook` called when the process ends in an orderly way, or the library is unloaded.
/// Once for each hook.
pub(super) fn at_exit(hook: fn()) {
    static HOOKS: Mutex<Vec<fn()>> = Mutex::new(Vec::new());
    extern "C" fn run() {
        // Taken out first: the lock is not held while they run.
        let hooks = HOOKS.try_lock().map(|mut hooks| std::mem::take(&mut *hooks));
        for hook in hooks.unwrap_or_default() {
            guard("end of the process", (), hook);
        }
    }
    let mut hooks = HOOKS.lock();
    if hooks.iter().any(|other| std::ptr::fn_addr_eq(*other, hook)) {
        return;
    }
    if hooks.is_empty() {
        // SAFETY: a function that does not unwind and lives as long as this library, with
        // which the C library forgets it.
        unsafe { libc::atexit(run) };
    }
    hooks.push(hook);
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

/// A socket that the host brought by number and goes on owning: who gets it must
/// never close it.
pub(super) fn host_socket(fd: RawFd) -> io::Result<Socket> {
    if !is_open(fd) {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the descriptor is open, and `Listener` lets go of it without closing.
    Ok(unsafe { Socket::from_raw_fd(fd) })
}

/// The bytes of a socket address as the kernel gave it.
pub(super) fn address_bytes(address: &socket2::SockAddr) -> Vec<u8> {
    // SAFETY: a `SockAddr` holds `len` initialised bytes at `as_ptr`.
    unsafe { std::slice::from_raw_parts(address.as_ptr().cast::<u8>(), address.len() as usize) }
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked(signal: libc::c_int) -> bool {
        let mut mask = MaybeUninit::uninit();
        // SAFETY: with a NULL new mask the call only writes the present one.
        unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), mask.as_mut_ptr());
            libc::sigismember(mask.as_ptr(), signal) == 1
        }
    }

    #[test]
    fn the_new_thread_has_signals_blocked_and_the_caller_as_before() {
        let here = blocked(libc::SIGUSR2);
        let (tell, told) = std::sync::mpsc::channel();
        let signals = [libc::SIGUSR2, libc::SIGCHLD, libc::SIGSEGV, libc::SIGBUS];
        let thread = spawn("a test", move || {
            let name = std::thread::current().name().map(str::to_owned);
            tell.send((signals.map(blocked), name)).expect("a listener");
        });
        assert!(thread.expect("a thread").join().is_ok());
        assert_eq!(told.recv(), Ok(([true, true, false, false], Some("a test".to_owned()))));
        assert_eq!(blocked(libc::SIGUSR2), here);
    }
}
