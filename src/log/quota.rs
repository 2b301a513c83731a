//! So many lines in a time about one kind of thing, and then one that says how many more
//! there were.
//!
//! No clock and no output: time is a parameter, and the caller writes the lines.

use std::time::{Duration, Instant};

/// The count of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    most: u32,
    window: Duration,
    since: Option<Instant>,
    lines: u32,
    dropped: u64,
}

impl Quota {
    /// So many lines in each window of time; nothing is written yet.
    pub const fn new(most: u32, window: Duration) -> Self {
        Self { most, window, since: None, lines: 0, dropped: 0 }
    }

    /// Whether a line may be written now. What [`Self::take_dropped`] has to say comes
    /// before it.
    pub fn admit(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now >= since + self.window) {
            self.since = Some(now);
            self.lines = 0;
        }
        let admitted = self.lines < self.most;
        if admitted {
            self.lines += 1;
        } else {
            self.dropped += 1;
        }
        admitted
    }

    /// When it is to be said how many lines were left out, if any were.
    pub fn due(&self) -> Option<Instant> {
        self.since.filter(|_| self.dropped > 0).map(|since| since + self.window)
    }

    /// How many lines were left out, when it is time to say so.
    pub fn take_dropped(&mut self, now: Instant) -> Option<u64> {
        self.due().filter(|due| *due <= now).map(|_| std::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_a_few_lines_and_one_number() {
        let start = Instant::now();
        let window = Duration::from_secs(60);
        let mut quota = Quota::new(20, window);
        let admitted = (0..1000).filter(|_| quota.admit(start)).count();
        assert_eq!(admitted, 20);
        let end = quota.due().expect("lines were left out");
        let almost = window.saturating_sub(Duration::from_millis(1));
        assert_eq!(quota.take_dropped(start + almost), None);
        assert_eq!(quota.take_dropped(end), Some(980));
        assert_eq!((quota.due(), quota.take_dropped(end)), (None, None));
        assert!(quota.admit(end));
    }
}
