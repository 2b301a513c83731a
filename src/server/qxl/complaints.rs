//! Log lines about mistakes of a guest or the host, so many a minute and no more.
//!
//! A guest can make mistakes a million times a second; the operator's disk must
//! not suffer. What was left out is counted in the first line of the next minute.
//! Each worker thread has one, and one behind a lock serves misdirected requests.

#![forbid(unsafe_code)]

use super::limits::{COMPLAINT_WINDOW, COMPLAINTS};
use std::fmt::Display;
use std::time::Instant;

/// The count of one source of mistakes.
#[derive(Debug)]
pub(super) struct Complaints {
    since: Option<Instant>,
    lines: u32,
    dropped: u64,
}

impl Complaints {
    /// Nothing logged yet.
    pub(super) const fn new() -> Self {
        Self { since: None, lines: 0, dropped: 0 }
    }

    /// Logs a line, or only counts it.
    pub(super) fn log(&mut self, what: &dyn Display) {
        if let Some(dropped) = self.admit(Instant::now()) {
            match dropped {
                0 => crate::warning!("{what}"),
                _ => crate::warning!("{what} ({dropped} more such lines were left out)"),
            }
        }
    }

    /// Whether a line may be written now, and how many were left out before it.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.duration_since(since) >= COMPLAINT_WINDOW) {
            self.since = Some(now);
            self.lines = 0;
        }
        if self.lines == COMPLAINTS {
            self.dropped += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_a_few_lines_and_a_count() {
        let start = Instant::now();
        let mut complaints = Complaints::new();
        let admitted = (0..1000).filter(|_| complaints.admit(start).is_some()).count();
        assert_eq!(admitted, COMPLAINTS as usize);
        let next = start + COMPLAINT_WINDOW;
        assert_eq!(complaints.admit(next), Some(1000 - u64::from(COMPLAINTS)));
        assert_eq!(complaints.admit(next), Some(0));
    }
}
