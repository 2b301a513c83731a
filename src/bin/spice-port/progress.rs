//! A line on the terminal that tells how far a transfer is.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// What has passed, and the line if there is one.
pub(crate) struct Progress {
    shown: bool,
    visible: bool,
    begun: Instant,
    last: Instant,
    sent: u64,
    received: u64,
    /// Bytes of standard input, where that is known.
    size: Option<u64>,
}

const PERIOD: Duration = Duration::from_millis(250);

impl Progress {
    /// Shown only if standard error is a terminal, and standard output is none.
    pub(crate) fn new(size: Option<u64>, quiet: bool) -> Self {
        let shown = !quiet && io::stderr().is_terminal() && !io::stdout().is_terminal();
        let now = Instant::now();
        Self { shown, visible: false, begun: now, last: now, sent: 0, received: 0, size }
    }

    /// So many bytes went to the port.
    pub(crate) fn sent(&mut self, count: usize) {
        self.sent += count as u64;
    }

    /// So many bytes came from the port.
    pub(crate) fn received(&mut self, count: usize) {
        self.received += count as u64;
    }

    /// When the line is to be written next.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.shown.then(|| self.last + PERIOD)
    }

    /// Writes the line, if it is time.
    pub(crate) fn show(&mut self) {
        if self.shown && self.last.elapsed() >= PERIOD {
            self.last = Instant::now();
            self.visible = true;
            // Nobody to show it to is no reason to stop.
            let _ = write!(io::stderr(), "\r\x1b[K{}", self.line());
        }
    }

    /// Takes the line away, so that others can write.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.visible) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    /// Leaves the last figures on the terminal.
    pub(crate) fn end(&mut self) {
        if self.shown {
            let _ = writeln!(io::stderr(), "\r\x1b[K{}", self.line());
        }
    }

    fn line(&self) -> String {
        line(self.sent, self.size, self.received, self.begun.elapsed())
    }
}

fn line(sent: u64, size: Option<u64>, received: u64, time: Duration) -> String {
    let milliseconds = (time.as_millis() as u64).max(1);
    let rate = |bytes: u64| mib(bytes.saturating_mul(1000) / milliseconds);
    let of = size.filter(|size| *size > 0).map(|size| format!(" ({} %)", sent * 100 / size));
    format!(
        "sent {}{} {}/s, received {} {}/s",
        mib(sent),
        of.unwrap_or_default(),
        rate(sent),
        mib(received),
        rate(received),
    )
}

/// A number of bytes in MiB, rounded down.
fn mib(bytes: u64) -> String {
    let tenths = (u128::from(bytes) * 10) >> 20;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_amounts_and_rates() {
        assert_eq!(
            line(3 << 20, Some(6 << 20), 1 << 19, Duration::from_secs(2)),
            "sent 3.0 MiB (50 %) 1.5 MiB/s, received 0.5 MiB 0.2 MiB/s"
        );
        assert!(line(0, Some(0), 0, Duration::ZERO).starts_with("sent 0.0 MiB 0.0 MiB/s"));
    }
}
