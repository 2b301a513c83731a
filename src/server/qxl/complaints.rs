//! Log lines about a guest's mistakes, so many a minute and no more.
//!
//! A guest can make mistakes a million times a second; the operator's disk must
//! not suffer. What was left out is counted in the first line of the next minute.
//! Used by one worker thread.

#![forbid(unsafe_code)]

use super::limits::{COMPLAINT_WINDOW, COMPLAINTS};
use std::fmt::Display;
use std::time::Instant;

/// The count of one device.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    since: Option<Instant>,
    lines: u32,
    dropped: u64,
}

impl Complaints {
    /// Logs a line, or only counts it.
    pub(super) fn log(&mut self, device: u32, what: &dyn Display) {
        if let Some(dropped) = self.admit(Instant::now()) {
            match dropped {
                0 => crate::warning!("QXL device {device}: {what}"),
                _ => crate::warning!("QXL device {device}: {what} ({dropped} more before)"),
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
        let mut complaints = Complaints::default();
        let admitted = (0..1000).filter(|_| complaints.admit(start).is_some()).count();
        assert_eq!(admitted, COMPLAINTS as usize);
        let next = start + COMPLAINT_WINDOW;
        assert_eq!(complaints.admit(next), Some(1000 - u64::from(COMPLAINTS)));
        assert_eq!(complaints.admit(next), Some(0));
    }
}
