//! What the I/O thread waits on: its sockets, and calls from other threads.
//!
//! epoll, level-triggered for sockets. A call costs its caller a system call only while
//! the thread sleeps, and the thread none: the descriptor behind it is edge-triggered and
//! never read.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::reactor::Interest;
use super::sys::{self, WakeFd};

/// The key of no socket: connections' begin with 1 and count up.
const CALL: u64 = u64::MAX;

/// Events that one wait brings at most; more come with the next one.
const EVENTS: usize = 256;

/// One thread waits, any may call.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
    call: WakeFd,
    /// Somebody has called since the thread last looked.
    called: AtomicBool,
    /// The thread sleeps, or is about to.
    asleep: AtomicBool,
}

/// What happened, and room for it.
pub struct Events(Vec<epoll::Event>);

/// One socket's readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// What the socket was added under.
    pub key: u64,
    /// There are bytes to read, or the end.
    pub readable: bool,
    /// There is room to write, or an error to be found by writing.
    pub writable: bool,
}

impl Poller {
    /// Without sockets.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let call = WakeFd::new()?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        sys::epoll_add(&epoll, call.as_raw_fd(), CALL, flags)?;
        Ok(Self { epoll, call, called: AtomicBool::new(false), asleep: AtomicBool::new(false) })
    }

    /// Adds a socket.
    pub fn add(&self, fd: RawFd, key: u64, interest: Interest) -> io::Result<()> {
        sys::epoll_add(&self.epoll, fd, key, flags(interest))
    }

    /// Changes what is waited for on a socket that was added.
    pub fn modify(&self, fd: RawFd, key: u64, interest: Interest) -> io::Result<()> {
        sys::epoll_modify(&self.epoll, fd, key, flags(interest))
    }

    /// Takes a socket out, before it is closed.
    pub fn delete(&self, fd: RawFd) -> io::Result<()> {
        sys::epoll_delete(&self.epoll, fd)
    }

    /// Makes the thread come round, once if several call meanwhile.
    pub fn call(&self) {
        self.called.store(true, Ordering::SeqCst);
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.call.raise();
        }
    }

    /// Waits for events, a call, or until `patience` is over, in whole milliseconds rounded
    /// up; for ever without it. What is there already does not make it wait. Whatever was
    /// done before a call can be seen afterwards.
    pub fn wait(&self, events: &mut Events, patience: Option<Duration>) -> io::Result<()> {
        // In this order: whoever calls after the question sees a sleeper.
        self.asleep.store(true, Ordering::SeqCst);
        let patience =
            if self.called.load(Ordering::SeqCst) { Some(Duration::ZERO) } else { patience };
        let whole = |patience: Duration| {
            let millis = i32::try_from(patience.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
            Timespec { tv_sec: (millis / 1000).into(), tv_nsec: (millis % 1000 * 1_000_000).into() }
        };
        events.0.clear();
        let room = spare_capacity(&mut events.0);
        let waited = epoll::wait(&self.epoll, room, patience.map(whole).as_ref());
        self.asleep.store(false, Ordering::SeqCst);
        self.called.store(false, Ordering::SeqCst);
        match waited {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Default for Events {
    fn default() -> Self {
        Self(Vec::with_capacity(EVENTS))
    }
}

impl Events {
    /// The sockets among them.
    pub fn sockets(&self) -> impl Iterator<Item = Ready> + '_ {
        let ready = |event: &epoll::Event| {
            let (key, flags) = (event.data.u64(), event.flags);
            let broken = epoll::EventFlags::HUP | epoll::EventFlags::ERR;
            Ready {
                key,
                readable: flags.intersects(
                    epoll::EventFlags::IN
                        | epoll::EventFlags::PRI
                        | epoll::EventFlags::RDHUP
                        | broken,
                ),
                writable: flags.intersects(epoll::EventFlags::OUT | broken),
            }
        };
        self.0.iter().map(ready).filter(|ready| ready.key != CALL)
    }
}

fn flags(interest: Interest) -> epoll::EventFlags {
    let mut flags = epoll::EventFlags::empty();
    if interest.read {
        flags |= epoll::EventFlags::IN | epoll::EventFlags::PRI | epoll::EventFlags::RDHUP;
    }
    if interest.write {
        flags |= epoll::EventFlags::OUT;
    }
    flags
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use socket2::{Domain, Socket, Type};

    use super::*;

    const LONG: Option<Duration> = Some(Duration::from_secs(20));
    const SHORT: Duration = Duration::from_millis(30);

    fn wait(poller: &Poller, patience: Option<Duration>) -> (Vec<Ready>, Duration) {
        let mut events = Events::default();
        let begin = Instant::now();
        poller.wait(&mut events, patience).expect("an open epoll");
        (events.sockets().collect(), begin.elapsed())
    }

    #[test]
    fn a_call_is_heard_before_and_during_the_wait_and_once() {
        let poller = Arc::new(Poller::new().expect("epoll"));
        poller.call();
        poller.call();
        assert!(wait(&poller, LONG).1 < Duration::from_secs(10), "called before");
        assert!(wait(&poller, Some(SHORT)).1 >= SHORT, "not heard twice");
        for _ in 0..100 {
            let theirs = Arc::clone(&poller);
            let caller = std::thread::spawn(move || theirs.call());
            assert!(wait(&poller, LONG).1 < Duration::from_secs(10));
            caller.join().expect("it only calls");
            // It may have come between two looks, and be told of twice.
            wait(&poller, Some(Duration::ZERO));
        }
        assert!(wait(&poller, Some(SHORT)).1 >= SHORT);
    }

    #[test]
    fn no_call_is_lost() {
        let poller = Arc::new(Poller::new().expect("epoll"));
        let (send, receive) = crossbeam_channel::unbounded();
        let theirs = Arc::clone(&poller);
        let caller = std::thread::spawn(move || {
            for number in 0..20_000 {
                send.send(number).expect("a receiver");
                theirs.call();
                if number % 7 == 0 {
                    std::thread::yield_now();
                }
            }
        });
        let mut next = 0;
        while next < 20_000 {
            for number in receive.try_iter() {
                assert_eq!(number, next);
                next += 1;
            }
            if next < 20_000 {
                assert!(wait(&poller, LONG).1 < Duration::from_secs(10), "{next}");
            }
        }
        caller.join().expect("it only sends");
    }

    #[test]
    fn sockets_are_told_of_until_they_are_emptied_or_taken_out() {
        let poller = Poller::new().expect("epoll");
        let (ours, theirs) = Socket::pair(Domain::UNIX, Type::STREAM, None).expect("two sockets");
        let fd = ours.as_raw_fd();
        poller.add(fd, 5, Interest::READ).expect("an open socket");
        assert_eq!(wait(&poller, Some(Duration::ZERO)).0, []);
        theirs.send(b"x").expect("room");
        let readable = Ready { key: 5, readable: true, writable: false };
        assert_eq!(wait(&poller, LONG).0, [readable]);
        assert_eq!(wait(&poller, LONG).0, [readable], "level-triggered");
        poller.modify(fd, 5, Interest { read: false, write: true }).expect("it was added");
        assert_eq!(wait(&poller, LONG).0, [Ready { key: 5, readable: false, writable: true }]);
        drop(theirs);
        assert_eq!(wait(&poller, LONG).0, [Ready { key: 5, readable: true, writable: true }]);
        poller.delete(fd).expect("it was added");
        assert_eq!(wait(&poller, Some(Duration::ZERO)).0, []);
    }

    #[test]
    fn patience_is_rounded_up() {
        let poller = Poller::new().expect("epoll");
        let short = Duration::from_micros(1200);
        assert!(wait(&poller, Some(short)).1 >= short);
    }
}
