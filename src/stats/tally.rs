//! A counter for each kind of something, over the life of a server.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

/// Something of which there are `N` kinds.
pub trait Kind: Copy {
    /// Which of the counters is this kind's: 0 to `N - 1`.
    fn index(self) -> usize;
}

/// The counters of `N` kinds. Added to by any thread, read by whoever wants to.
#[derive(Debug)]
pub struct Tally<K, const N: usize>([AtomicU64; N], PhantomData<fn(K)>);

impl<K, const N: usize> Default for Tally<K, N> {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; N], PhantomData)
    }
}

impl<K: Kind, const N: usize> Tally<K, N> {
    /// One more.
    pub fn count(&self, kind: K) {
        self.0[kind.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// How many there have been.
    pub fn total(&self, kind: K) -> u64 {
        self.0[kind.index()].load(Ordering::Relaxed)
    }
}
