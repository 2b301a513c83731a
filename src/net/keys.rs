//! RSA keys for tickets, made before a client waits for one.
//!
//! A key takes about ten milliseconds, so threads of their own keep a small stock: two,
//! where there are two processors, because they decide how many clients a second get in.
//! With a password each link gets a fresh key: a reused one would let a recorded
//! ticket be played back. Without a password nothing secret is sent and one key
//! serves everybody. A link comes for its key only after its link message and after
//! what its address has to wait, and addresses take turns when there are too few. A key
//! that was sent is never given to another link, even if its client left without a ticket:
//! the ticket may have been on its way, and recorded. The threads keep the host's priority on purpose: changing it
//! is a forbidden system call under QEMU's sandbox.

use std::collections::VecDeque;
use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::sys;
use crate::config::limits;
use crate::fault;
use crate::guard::completes;
use crate::link::ticket::TicketKey;

/// The stock and the threads that refill it; dropping it ends them.
#[derive(Debug)]
pub struct KeyStock {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Arc<TicketKey>>,
    /// The key of links that need no secret.
    open: Option<Arc<TicketKey>>,
    /// Keys being made.
    under_way: usize,
    /// Fresh keys have been asked for: keep the stock full from now on.
    stocking: bool,
    stop: bool,
}

impl KeyStock {
    /// Starts the threads; `ready` is called on them after each new key.
    pub fn start(ready: impl Fn() + Clone + Send + 'static) -> io::Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        // From here on an error ends those that have started.
        let stock = Self { shared, threads: Mutex::default() };
        for _ in 0..processors.min(limits::KEY_THREADS) {
            let (shared, ready) = (Arc::clone(&stock.shared), ready.clone());
            let thread = sys::spawn("spice-keys", move || {
                // Without keys nobody could link any more.
                while !completes("key thread", || refill(&shared, &ready)) {
                    std::thread::sleep(PAUSE);
                }
            })?;
            stock.threads.lock().push(thread);
        }
        Ok(stock)
    }

    /// A key for one link: fresh, or the shared one when nothing secret will be
    /// sent. `None` while it is being made; `ready` tells when to ask again.
    pub fn take(&self, fresh: bool) -> Option<Arc<TicketKey>> {
        let mut state = self.shared.state.lock();
        if !fresh {
            return state.open.clone();
        }
        state.stocking = true;
        let key = state.ready.pop_front();
        self.shared.changed.notify_one();
        key
    }

    /// Ends the threads, after the keys that they are making.
    pub fn stop(&self) {
        self.shared.state.lock().stop = true;
        self.shared.changed.notify_all();
        for thread in self.threads.lock().drain(..) {
            let _ = thread.join();
        }
    }

    /// Begins to fill the stock: tickets with a password are to be expected.
    pub fn expect_fresh(&self) {
        self.shared.state.lock().stocking = true;
        self.shared.changed.notify_all();
    }
}

impl Drop for KeyStock {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Before another attempt when a key could not be made.
const PAUSE: Duration = Duration::from_secs(1);

fn refill(shared: &Shared, ready: &impl Fn()) {
    let mut state = shared.state.lock();
    while !state.stop {
        let open = usize::from(state.open.is_none());
        let wanted = open + if state.stocking { limits::KEYS_READY } else { 0 };
        if state.ready.len() + state.under_way >= wanted {
            shared.changed.wait(&mut state);
            continue;
        }
        state.under_way += 1;
        drop(state);
        let making = UnderWay(shared);
        fault::point("making a key");
        let made = TicketKey::generate();
        drop(making);
        state = shared.state.lock();
        match made {
            Ok(key) => {
                let key = Arc::new(key);
                if state.open.is_none() {
                    state.open = Some(key);
                } else {
                    state.ready.push_back(key);
                }
                drop(state);
                ready();
                state = shared.state.lock();
            }
            Err(error) => {
                crate::warning!("cannot make an RSA key for tickets: {error}");
                shared.changed.wait_for(&mut state, PAUSE);
            }
        }
    }
}

/// A key that is being made, even if that panics.
struct UnderWay<'a>(&'a Shared);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.state.lock().under_way -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn fresh_keys_differ_and_the_open_one_stays() {
        let (sender, made) = mpsc::channel();
        let stock = KeyStock::start(move || {
            let _ = sender.send(());
        })
        .expect("a thread");
        let wait_for = |fresh| loop {
            if let Some(key) = stock.take(fresh) {
                return key;
            }
            made.recv().expect("the thread lives");
        };
        assert!(Arc::ptr_eq(&wait_for(false), &wait_for(false)));
        let (one, other) = (wait_for(true), wait_for(true));
        assert_ne!(one.public_der(), other.public_der());
    }
}
