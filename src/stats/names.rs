//! The names of the numbers, their units and what they mean: one list for the JSON
//! document, the metrics and the documentation, which a test compares with it.

use super::counters::Totals;
use super::time::Nanoseconds;

/// A number that connections, channels, clients and servers have.
#[derive(Debug)]
pub struct Metric {
    /// Its name in the document. The metric's begins with whose it is, and ends with
    /// `_total` when it only ever grows.
    pub name: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// Whether it only ever grows.
    pub grows: bool,
    /// What it means.
    pub help: &'static str,
    read: fn(&Totals, Nanoseconds) -> Option<u64>,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Pieces.
    Count,
    /// Seconds; the number is in nanoseconds.
    Seconds,
}

impl Metric {
    /// Its value at `now`; `None`: it has none yet.
    pub fn read(&self, totals: &Totals, now: Nanoseconds) -> Option<Number> {
        (self.read)(totals, now).map(|value| Number { value, unit: self.unit })
    }
}

/// A value as it is written.
#[derive(Clone, Copy, Debug)]
pub struct Number {
    /// In the unit's own parts.
    pub value: u64,
    /// Its unit.
    pub unit: Unit,
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SECOND: u64 = 1_000_000_000;
        match self.unit {
            Unit::Bytes | Unit::Count => write!(f, "{}", self.value),
            Unit::Seconds => {
                write!(f, "{}.{:06}", self.value / SECOND, self.value % SECOND / 1000)
            }
        }
    }
}

const fn grows(
    name: &'static str,
    unit: Unit,
    help: &'static str,
    read: fn(&Totals, Nanoseconds) -> Option<u64>,
) -> Metric {
    Metric { name, unit, grows: true, help, read }
}

const fn stands(
    name: &'static str,
    unit: Unit,
    help: &'static str,
    read: fn(&Totals, Nanoseconds) -> Option<u64>,
) -> Metric {
    Metric { name, unit, grows: false, help, read }
}

/// All of them, in their order.
pub static METRICS: [Metric; 15] = [
    grows(
        "received_bytes",
        Unit::Bytes,
        "Bytes from clients, headers of messages included",
        |totals, _| Some(totals.received_bytes),
    ),
    grows("received_messages", Unit::Count, "Messages from clients", |totals, _| {
        Some(totals.received_messages)
    }),
    grows(
        "sent_bytes",
        Unit::Bytes,
        "Bytes to clients, headers of messages and the link's result included",
        |totals, _| Some(totals.sent_bytes),
    ),
    grows("sent_messages", Unit::Count, "Messages to clients", |totals, _| {
        Some(totals.sent_messages)
    }),
    grows(
        "in_data_bytes",
        Unit::Bytes,
        "Data for a device in messages that were not compressed",
        |totals, _| Some(totals.in_data),
    ),
    grows(
        "in_compressed_bytes",
        Unit::Bytes,
        "Data for a device, compressed, as they came",
        |totals, _| Some(totals.in_compressed),
    ),
    grows(
        "in_decompressed_bytes",
        Unit::Bytes,
        "What the compressed data for a device came to",
        |totals, _| Some(totals.in_decompressed),
    ),
    grows("out_data_bytes", Unit::Bytes, "Data read from a device", |totals, _| {
        Some(totals.out_data)
    }),
    grows(
        "out_compressed_bytes",
        Unit::Bytes,
        "Data from a device, compressed, as they were sent",
        |totals, _| Some(totals.out_compressed),
    ),
    grows(
        "out_uncompressed_bytes",
        Unit::Bytes,
        "What the compressed data from a device had been",
        |totals, _| Some(totals.out_uncompressed),
    ),
    grows(
        "blocked_in_seconds",
        Unit::Seconds,
        "Time that messages of clients waited for a full receiver",
        |totals, _| Some(totals.blocked_in),
    ),
    grows(
        "blocked_out_seconds",
        Unit::Seconds,
        "Time that a device, or another sender, waited for a full queue",
        |totals, _| Some(totals.blocked_out),
    ),
    stands("queued_bytes", Unit::Bytes, "Bytes that wait for clients", |totals, _| {
        Some(totals.queued)
    }),
    stands(
        "queued_bytes_highest",
        Unit::Bytes,
        "The most bytes that have waited for one client on one channel",
        |totals, _| Some(totals.queued_highest),
    ),
    stands("idle_seconds", Unit::Seconds, "Time since bytes last came or went", |totals, now| {
        (totals.last_activity != 0).then(|| now.saturating_sub(totals.last_activity))
    }),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_name_stands_once_and_says_its_unit() {
        let names: HashSet<_> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
        for metric in &METRICS {
            let unit = match metric.unit {
                Unit::Bytes => "_bytes",
                Unit::Seconds => "_seconds",
                Unit::Count => "_messages",
            };
            assert!(metric.name.contains(unit), "{}", metric.name);
        }
    }

    #[test]
    fn seconds_have_six_places() {
        let number = Number { value: 1_002_003_999, unit: Unit::Seconds };
        assert_eq!(number.to_string(), "1.002003");
        assert_eq!(Number { value: 7, unit: Unit::Bytes }.to_string(), "7");
    }

    #[test]
    fn who_never_moved_a_byte_is_not_idle() {
        let idle = METRICS.last().expect("there are some");
        assert!(idle.read(&Totals::default(), 5).is_none());
        let totals = Totals { last_activity: 3, ..Totals::default() };
        assert_eq!(idle.read(&totals, 5).map(|number| number.value), Some(2));
    }
}
