//! Threads of the library: named, with signals blocked, with the panic boundary.
//!
//! Signals belong to the host; a handler of the host's must never run on a thread
//! it does not know. So the mask is set before the thread exists, which leaves no
//! moment in which a signal could be delivered there.

use crate::guard::guard;
use std::io;
use std::mem::MaybeUninit;
use std::thread::{Builder, JoinHandle};

/// Starts a thread. A name of more than 15 bytes is cut by the kernel.
pub fn spawn(
    name: &'static str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let before = block_signals();
    let thread = Builder::new().name(name.to_owned()).spawn(move || guard(name, (), body));
    restore_signals(&before);
    thread
}

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
