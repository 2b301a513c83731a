//! A second thread for compression, beside the I/O thread.
//!
//! Compressing takes longer than anything else that the I/O thread does. While it
//! compresses one chunk of a connection's messages, this one does the next; the two are
//! joined before either is sent. It has nothing to do with sockets, and one chunk at a time.

use std::io;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use super::sys::spawn;
use crate::channel::outbox::Outbox;
use crate::guard::guard;

/// The thread, for the one that shares its work. Dropping it ends it.
#[derive(Debug)]
pub(super) struct PressThread {
    jobs: Option<Sender<Beside>>,
    done: Receiver<Option<(Beside, usize)>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What one connection lends to the thread: its second packer and its next messages.
#[derive(Debug)]
pub(super) struct Beside {
    /// Rewrites as the connection's own queue does.
    pub(super) wire: Outbox,
    /// What is to be rewritten: a chunk.
    pub(super) raw: Outbox,
}

impl Beside {
    /// For a connection with this queue, if two may rewrite its messages.
    pub(super) fn of(outbox: &Outbox) -> Option<Self> {
        Some(Self { wire: outbox.beside()?, raw: outbox.like() })
    }
}

impl PressThread {
    /// Starts it.
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, theirs) = bounded::<Beside>(1);
        let (tell, done) = bounded(1);
        let thread = spawn("spice-press", move || {
            for mut beside in theirs {
                let pressed = guard("compression beside", None, move || {
                    let saved = beside.wire.press(&mut beside.raw);
                    Some((beside, saved))
                });
                if tell.send(pressed).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { jobs: Some(jobs), done, thread: Mutex::new(Some(thread)) })
    }

    /// Has the thread press `beside` while `work` is done here. Returns both results; `None`
    /// for the first if the thread could not.
    pub(super) fn press<T>(
        &self,
        beside: Beside,
        work: impl FnOnce() -> T,
    ) -> (Option<(Beside, usize)>, T) {
        let begun = self.jobs.as_ref().is_some_and(|jobs| jobs.send(beside).is_ok());
        // What panics here must not leave a result for the next one.
        let waiting = Waiting(begun.then_some(&self.done));
        let worked = work();
        (waiting.result(), worked)
    }
}

impl Drop for PressThread {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

/// Takes the thread's answer in any case.
struct Waiting<'a>(Option<&'a Receiver<Option<(Beside, usize)>>>);

impl Waiting<'_> {
    fn result(mut self) -> Option<(Beside, usize)> {
        self.0.take().and_then(|done| done.recv().ok()).flatten()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            let _ = done.recv();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::channel::compressor::Compressor;
    use crate::channel::outbox::SLICES;
    use crate::channel::packer::Packer;
    use crate::wire::header::HeaderForm;
    use crate::wire::spicevmc::{COMPRESSED_DATA, DATA};

    fn wire() -> Outbox {
        Outbox::new(HeaderForm::Mini, 4096).with_compressor(Compressor::new(Arc::default()))
    }

    #[test]
    fn a_chunk_is_pressed_there_while_something_is_done_here() {
        let thread = PressThread::start().expect("a thread");
        for _ in 0..3 {
            let mut beside = Beside::of(&wire()).expect("compression can be shared");
            beside.raw.push(DATA, &[7; 2000]);
            let (pressed, here) = thread.press(beside, || 5);
            let (beside, saved) = pressed.expect("nothing goes wrong");
            assert!(here == 5 && saved > 1900 && beside.raw.is_empty());
            let mut slices = [std::io::IoSlice::new(&[]); SLICES];
            assert_eq!(beside.wire.slices(&mut slices, false), 1);
            assert_eq!(slices[0][..2], COMPRESSED_DATA.to_le_bytes());
        }
    }

    #[derive(Debug)]
    struct Bad;

    impl Packer for Bad {
        fn would_try(&self, _kind: u16, _length: usize) -> bool {
            panic!("made on purpose");
        }

        fn pack(&mut self, _kind: u16, _body: &[u8]) -> Option<(u16, &[u8])> {
            None
        }

        fn pass(&mut self, _kind: u16, _length: usize) {}

        fn another(&self) -> Option<Box<dyn Packer>> {
            Some(Box::new(Bad))
        }
    }

    #[test]
    fn a_panic_on_either_side_leaves_the_thread_usable() {
        let thread = PressThread::start().expect("a thread");
        let good = || {
            let mut beside = Beside::of(&wire()).expect("compression can be shared");
            beside.raw.push(DATA, &[7; 2000]);
            beside
        };
        let bad = Outbox::new(HeaderForm::Mini, 4096).with_packer(Box::new(Bad));
        let mut beside = Beside::of(&bad).expect("it says so");
        beside.raw.push(DATA, &[7; 2000]);
        assert!(thread.press(beside, || ()).0.is_none());
        assert!(!guard("test", false, || thread.press(good(), || panic!("made on purpose")).1));
        let (pressed, ()) = thread.press(good(), || ());
        assert!(pressed.is_some_and(|(_, saved)| saved > 1900));
    }
}
