//! So many lines a minute about one kind of thing, and then one that says how many more
//! there were.
//!
//! No clock and no output: time is a parameter, and the caller writes the lines.

use std::time::Instant;

use crate::config::limits;

/// The count of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quota {
    since: Option<Instant>,
    lines: u32,
    dropped: u64,
}

impl Quota {
    /// Whether a line may be written now. What [`Self::take_dropped`] has to say comes
    /// before it.
    pub fn admit(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now >= since + limits::LINK_LINES_WINDOW) {
            self.since = Some(now);
            self.lines = 0;
        }
        let admitted = self.lines < limits::LINK_LINES;
        if admitted {
            self.lines += 1;
        } else {
            self.dropped += 1;
        }
        admitted
    }

    /// When it is to be said how many lines were left out, if any were.
    pub fn due(&self) -> Option<Instant> {
        self.since.filter(|_| self.dropped > 0).map(|since| since + limits::LINK_LINES_WINDOW)
    }

    /// How many lines were left out, when it is time to say so.
    pub fn take_dropped(&mut self, now: Instant) -> Option<u64> {
        self.due().filter(|due| *due <= now).map(|_| std::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_becomes_a_few_lines_and_one_number() {
        let start = Instant::now();
        let mut quota = Quota::default();
        let admitted = (0..1000).filter(|_| quota.admit(start)).count();
        assert_eq!(admitted, limits::LINK_LINES as usize);
        let end = quota.due().expect("lines were left out");
        let almost = limits::LINK_LINES_WINDOW.saturating_sub(Duration::from_millis(1));
        assert_eq!(quota.take_dropped(start + almost), None);
        assert_eq!(quota.take_dropped(end), Some(1000 - u64::from(limits::LINK_LINES)));
        assert_eq!((quota.due(), quota.take_dropped(end)), (None, None));
        assert!(quota.admit(end));
    }
}
