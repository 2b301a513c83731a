//! When to look into the rings, and when to ask for a wakeup.
//!
//! A ring that just had something is looked into again; found empty, it is left for
//! a moment; still empty, its wakeup is armed and it is left alone until the wakeup
//! comes. Pure; used by one worker thread.

#![forbid(unsafe_code)]

use super::command::Ring;
use super::limits::RING_LINGER;
use std::time::Instant;

/// Both rings of a device.
#[derive(Debug, Default)]
pub(super) struct Rings {
    display: State,
    cursor: State,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Something may be there.
    #[default]
    Awake,
    /// It was empty; look again then, before arming the wakeup.
    Lingering(Instant),
    /// The wakeup is armed.
    Asleep,
}

/// What the worker waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// A request only.
    ForRequest,
    /// A request, but not longer than this.
    Until(Instant),
}

impl Rings {
    /// Something may be in either ring.
    pub(super) fn wake(&mut self) {
        *self = Self::default();
    }

    /// Whether there is no point in looking.
    pub(super) fn is_asleep(&self, ring: Ring) -> bool {
        self.state(ring) == State::Asleep
    }

    /// A command was there.
    pub(super) fn found(&mut self, ring: Ring) {
        *self.state_mut(ring) = State::Awake;
    }

    /// Nothing was there: when to look again, or none if the wakeup is to be armed.
    pub(super) fn empty(&mut self, ring: Ring, now: Instant) -> Option<Instant> {
        let state = self.state_mut(ring);
        match *state {
            State::Lingering(until) if now >= until => None,
            State::Lingering(until) => Some(until),
            State::Awake | State::Asleep => {
                let until = now + RING_LINGER;
                *state = State::Lingering(until);
                Some(until)
            }
        }
    }

    /// The host will send a wakeup.
    pub(super) fn armed(&mut self, ring: Ring) {
        *self.state_mut(ring) = State::Asleep;
    }

    fn state(&self, ring: Ring) -> State {
        match ring {
            Ring::Display => self.display,
            Ring::Cursor => self.cursor,
        }
    }

    fn state_mut(&mut self, ring: Ring) -> &mut State {
        match ring {
            Ring::Display => &mut self.display,
            Ring::Cursor => &mut self.cursor,
        }
    }
}

impl Wait {
    /// The shorter of two waits.
    pub(super) fn sooner(self, other: Self) -> Self {
        match (self, other) {
            (Self::Until(a), Self::Until(b)) => Self::Until(a.min(b)),
            (Self::ForRequest, wait) | (wait, Self::ForRequest) => wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_ring_lingers_once_and_then_sleeps() {
        let start = Instant::now();
        let mut rings = Rings::default();
        let until = start + RING_LINGER;
        assert_eq!(rings.empty(Ring::Display, start), Some(until));
        assert_eq!(rings.empty(Ring::Display, start), Some(until));
        assert_eq!(rings.empty(Ring::Display, until), None);
        rings.armed(Ring::Display);
        assert!(rings.is_asleep(Ring::Display));
        assert!(!rings.is_asleep(Ring::Cursor));
        rings.wake();
        assert!(!rings.is_asleep(Ring::Display));
    }

    #[test]
    fn a_command_starts_the_lingering_anew() {
        let start = Instant::now();
        let mut rings = Rings::default();
        rings.empty(Ring::Cursor, start);
        rings.found(Ring::Cursor);
        let later = start + RING_LINGER;
        assert_eq!(rings.empty(Ring::Cursor, later), Some(later + RING_LINGER));
    }

    #[test]
    fn the_sooner_wait_wins() {
        let (now, later) = (Instant::now(), Instant::now() + RING_LINGER);
        assert_eq!(Wait::Until(later).sooner(Wait::Until(now)), Wait::Until(now));
        assert_eq!(Wait::ForRequest.sooner(Wait::Until(now)), Wait::Until(now));
        assert_eq!(Wait::ForRequest.sooner(Wait::ForRequest), Wait::ForRequest);
    }
}
