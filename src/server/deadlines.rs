//! The main thread's deadlines, for the host's one timer.
//!
//! Pure: the caller arms the timer for [`Deadlines::next`] and asks for what is
//! due when it fires.

use std::time::Instant;

use crate::net::io_thread::ConnectionId;

/// What a deadline is for; each exists at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Something of this device's.
    Device(DeviceId),
    /// Look after this main channel's client.
    Liveness(ConnectionId),
    /// Tell clients the keyboard's locks.
    Locks,
    /// Clients have answered or left by now.
    Migration,
}

/// Names a device within a server.
pub(super) type DeviceId = u64;

/// The deadlines not reached yet.
#[derive(Debug, Default)]
pub(super) struct Deadlines(Vec<(Instant, Due)>);

impl Deadlines {
    /// Sets or moves a deadline.
    pub(super) fn set(&mut self, due: Due, when: Instant) {
        self.cancel(due);
        self.0.push((when, due));
    }

    /// Forgets a deadline.
    pub(super) fn cancel(&mut self, due: Due) {
        self.0.retain(|(_, other)| *other != due);
    }

    /// The first moment at which something is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.iter().map(|(when, _)| *when).min()
    }

    /// Takes out what is due.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<Due> {
        let (due, later) = self.0.drain(..).partition(|(when, _)| *when <= now);
        self.0 = later;
        let due: Vec<(Instant, Due)> = due;
        due.into_iter().map(|(_, due)| due).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_deadline_is_moved_not_doubled() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut deadlines = Deadlines::default();
        deadlines.set(Due::Liveness(1), now);
        deadlines.set(Due::Liveness(1), later);
        deadlines.set(Due::Device(1), later);
        assert_eq!(deadlines.next(), Some(later));
        assert_eq!(deadlines.expired(now), []);
        deadlines.cancel(Due::Liveness(1));
        assert_eq!(deadlines.expired(later), [Due::Device(1)]);
        assert_eq!(deadlines.next(), None);
    }
}
