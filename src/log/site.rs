//! A place in the source that logs, with its share of the log.
//!
//! A peer that makes a place log again and again gets that place's lines and no more; other
//! places are not held up by it. Any thread.

use std::fmt;
use std::time::Instant;

use parking_lot::Mutex;

use super::quota::Quota;
use super::{About, Category, Level, put, wanted};
use crate::config::limits;

/// One place. The macros make them.
#[derive(Debug)]
pub struct Site {
    level: Level,
    category: Option<Category>,
    module: &'static str,
    place: (&'static str, u32),
    quota: Mutex<Quota>,
}

impl Site {
    /// A place in a module, a file and a line of it.
    pub const fn new(
        level: Level,
        category: Option<Category>,
        (module, file, line): (&'static str, &'static str, u32),
    ) -> Self {
        let most = match category {
            Some(Category::Audit) => limits::AUDIT_LINES,
            _ => limits::LOG_LINES,
        };
        let quota = Mutex::new(Quota::new(most, limits::LOG_LINES_WINDOW));
        Self { level, category, module, place: (file, line), quota }
    }

    /// Writes a line, if it is wanted and there have not been too many; `about` says whom
    /// it is about.
    pub fn write(&self, about: Option<&dyn About>, message: fmt::Arguments<'_>) {
        let category = self.category.unwrap_or_else(|| Category::of(self.module));
        let Some(form) = wanted(self.level, category) else { return };
        // Let go before the sink is called: it may be the host's, and come back.
        let (dropped, admitted) = self.admit(Instant::now());
        let line = |about, text: &str| {
            put(form, (self.level, category), self.place, about, text);
        };
        if let Some(count) = dropped {
            line(None, &format!("... and {count} more lines from here were left out"));
        }
        if admitted {
            line(about, &message.to_string());
        }
    }

    fn admit(&self, now: Instant) -> (Option<u64>, bool) {
        let mut quota = self.quota.lock();
        (quota.take_dropped(now), quota.admit(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_its_share_of_the_log() {
        let place = ("spice_server::net", "src/net/mod.rs", 1);
        let (one, other) =
            (Site::new(Level::Debug, None, place), Site::new(Level::Debug, None, place));
        let start = Instant::now();
        for site in [&one, &other] {
            let admitted = (0..1000).filter(|_| site.admit(start).1).count();
            assert_eq!(admitted, limits::LOG_LINES as usize);
        }
        let later = start + limits::LOG_LINES_WINDOW;
        assert_eq!(one.admit(later), (Some(1000 - u64::from(limits::LOG_LINES)), true));
        assert_eq!(one.admit(later), (None, true));
    }

    #[test]
    fn an_account_is_longer() {
        let audit = Site::new(Level::Message, Some(Category::Audit), ("", "", 0));
        let start = Instant::now();
        let admitted = (0..100_000).filter(|_| audit.admit(start).1).count();
        assert_eq!(admitted, limits::AUDIT_LINES as usize);
    }
}
