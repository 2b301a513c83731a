//! Mistakes of a guest or the host: each is counted, and so many a minute get a log line.
//!
//! A guest can make mistakes a million times a second; the operator's disk must
//! not suffer. What was left out is counted in the first line of the next minute.
//! Each worker thread has one, and one behind a lock serves misdirected requests.

#![forbid(unsafe_code)]

use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use super::limits::{COMPLAINT_WINDOW, COMPLAINTS};
use crate::log::quota::Quota;
use crate::log::{self, Category, Level, Subject};
use crate::stats::{Refusal, RefusalCounters};

/// The count of one source of mistakes.
#[derive(Debug)]
pub(super) struct Complaints {
    quota: Quota,
    /// Of the server, if it is known.
    refusals: Option<Arc<RefusalCounters>>,
}

impl Complaints {
    /// Nothing logged yet.
    pub(super) const fn new() -> Self {
        Self { quota: Quota::new(COMPLAINTS, COMPLAINT_WINDOW), refusals: None }
    }

    /// The same, for a device of this server.
    pub(super) fn counted(refusals: Arc<RefusalCounters>) -> Self {
        Self { refusals: Some(refusals), ..Self::new() }
    }

    /// Counts, and logs a line if there is room for it; `device` has made the mistake.
    pub(super) fn log(&mut self, device: Option<u32>, what: &dyn Display) {
        if let Some(refusals) = &self.refusals {
            refusals.count(Refusal::Graphics);
        }
        let now = Instant::now();
        let left_out = self
            .quota
            .take_dropped(now)
            .map_or(String::new(), |dropped| format!(" ({dropped} more such lines were left out)"));
        if self.quota.admit(now) {
            let subject = device.map_or_else(Subject::default, Subject::graphics_device);
            log::write_counted(
                Level::Warning,
                Category::Display,
                (file!(), line!()),
                &subject,
                format_args!("{what}{left_out}"),
            );
        }
    }
}
