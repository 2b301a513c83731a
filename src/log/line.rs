//! What a line looks like: one line, whatever a peer has put into it.
//!
//! No output and no clock.

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime};

use super::{Category, Level, Subject};
use crate::config::limits;

/// A message of at most [`limits::LOG_LINE`] bytes.
pub(super) fn cut(message: &str) -> &str {
    let mut end = message.len().min(limits::LOG_LINE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

/// Text in which nothing moves the cursor, ends the line, or turns the reading direction.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\n' | '\r' | '\t' => write!(f, "{}", c.escape_default())?,
                c if is_odd(c) => write!(f, "{}", c.escape_unicode())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// What a line in JSON has.
pub(super) struct Parts<'a> {
    pub(super) level: Level,
    pub(super) category: Category,
    /// File and line of our source.
    pub(super) place: &'a str,
    pub(super) subject: &'a Subject,
    pub(super) message: &'a str,
}

impl Parts<'_> {
    /// One object, without a line end.
    pub(super) fn json(&self, now: SystemTime, process: u32) -> String {
        let Subject { peer, channel, device } = self.subject;
        let mut subject = String::new();
        for (key, value) in [("peer", peer), ("channel", channel), ("device", device)] {
            if let Some(value) = value {
                let _ = write!(subject, "\"{key}\":\"{}\",", Json(cut(value)));
            }
        }
        format!(
            "{{\"time\":\"{}\",\"process\":{process},\"level\":\"{}\",\"category\":\"{}\",\
             \"place\":\"{}\",{subject}\"message\":\"{}\"}}",
            Time(now),
            self.level.text(),
            self.category.text(),
            Json(self.place),
            Json(self.message)
        )
    }
}

/// The inside of a JSON string.
struct Json<'a>(&'a str);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                c if is_odd(c) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        write!(f, "\\u{unit:04x}")?;
                    }
                }
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Whether a character does something to what shows it other than being seen.
fn is_odd(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// A moment as RFC 3339 writes it, in UTC.
struct Time(SystemTime);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let (days, second) = (since.as_secs() / DAY, since.as_secs() % DAY);
        let (year, month, day) = date(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        write!(f, ".{:06}Z", since.subsec_micros())
    }
}

const DAY: u64 = 24 * 3600;

/// The date so many days after 1970-01-01. Years are counted from March on, so that the
/// odd day of a leap year is the last one.
fn date(days: u64) -> (u64, u64, u64) {
    /// From 0000-03-01 to 1970-01-01.
    const BEFORE: u64 = 719_468;
    /// Four hundred years.
    const ERA: u64 = 146_097;
    let days = days + BEFORE;
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_peer_cannot_begin_a_line_or_turn_it_round() {
        let text = "user \"a\nWARNING\r\u{1b}[2J\u{9b}\u{202e}\u{2028}\u{feff}\" \\ ä";
        let expected = "user \"a\\nWARNING\\r\\u{1b}[2J\\u{9b}\\u{202e}\\u{2028}\\u{feff}\" \\ ä";
        assert_eq!(Escaped(text).to_string(), expected);
    }

    #[test]
    fn a_line_in_json() {
        let parts = Parts {
            level: Level::Warning,
            category: Category::Connection,
            place: "net/a.rs:7",
            subject: &Subject::default(),
            message: "\"a\\\n\u{1b}\u{202e}\u{e0001} ä",
        };
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(951_782_400_000_042);
        assert_eq!(
            parts.json(time, 99),
            "{\"time\":\"2000-02-29T00:00:00.000042Z\",\"process\":99,\"level\":\"warning\",\
             \"category\":\"connection\",\"place\":\"net/a.rs:7\",\
             \"message\":\"\\\"a\\\\\\n\\u001b\\u202e\\udb40\\udc01 ä\"}"
        );
    }

    #[test]
    fn whom_a_line_is_about_has_keys_of_its_own() {
        let subject = Subject { device: Some("a\"\n".to_owned()), ..Subject::peer("192.0.2.1:5") }
            .on("channel port:0");
        let parts = Parts {
            level: Level::Info,
            category: Category::Channel,
            place: "a.rs:7",
            subject: &subject,
            message: "m",
        };
        let text = parts.json(SystemTime::UNIX_EPOCH, 9);
        let expected = "\"place\":\"a.rs:7\",\"peer\":\"192.0.2.1:5\",\"channel\":\"port:0\",\
                        \"device\":\"a\\\"\\n\",\"message\":\"m\"}";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        // `date -u -d @SECONDS +%F`
        for (seconds, expected) in [
            (0, (1970, 1, 1)),
            (68_169_599, (1972, 2, 28)),
            (68_169_600, (1972, 2, 29)),
            (951_868_800, (2000, 3, 1)),
            (1_798_761_599, (2026, 12, 31)),
            (4_107_542_400, (2100, 3, 1)),
        ] {
            assert_eq!(date(seconds / DAY), expected, "{seconds}");
        }
    }

    #[test]
    fn a_long_line_ends_between_characters() {
        let long = "ä".repeat(limits::LOG_LINE);
        assert_eq!(cut(&long).len(), limits::LOG_LINE / 2 * 2);
        assert_eq!(cut("short"), "short");
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_one_line(text in ".*") {
            let parts = Parts {
                level: Level::Info,
                category: Category::Audit,
                place: "",
                subject: &Subject::peer(&text),
                message: &text,
            };
            for line in [Escaped(&text).to_string(), parts.json(SystemTime::UNIX_EPOCH, 1)] {
                prop_assert!(!line.chars().any(char::is_control), "{line:?}");
            }
        }
    }
}
