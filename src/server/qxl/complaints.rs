//! Log lines about mistakes of a guest or the host, so many a minute and no more.
//!
//! A guest can make mistakes a million times a second; the operator's disk must
//! not suffer. What was left out is counted in the first line of the next minute.
//! Each worker thread has one, and one behind a lock serves misdirected requests.

#![forbid(unsafe_code)]

use std::fmt::Display;
use std::time::Instant;

use super::limits::{COMPLAINT_WINDOW, COMPLAINTS};
use crate::log::quota::Quota;
use crate::log::{self, Category, Level};

/// The count of one source of mistakes.
#[derive(Debug)]
pub(super) struct Complaints {
    quota: Quota,
}

impl Complaints {
    /// Nothing logged yet.
    pub(super) const fn new() -> Self {
        Self { quota: Quota::new(COMPLAINTS, COMPLAINT_WINDOW) }
    }

    /// Logs a line, or only counts it.
    pub(super) fn log(&mut self, what: &dyn Display) {
        let now = Instant::now();
        let left_out = self
            .quota
            .take_dropped(now)
            .map_or(String::new(), |dropped| format!(" ({dropped} more such lines were left out)"));
        if self.quota.admit(now) {
            log::write_counted(
                Level::Warning,
                Category::Display,
                (file!(), line!()),
                format_args!("{what}{left_out}"),
            );
        }
    }
}
