//! Log lines: levels, the text form `file:line: message`, and the sink.
//!
//! What lives here: formatting and the decision whether a line is wanted. The
//! sink itself (GLib's `g_log`, or stderr) is installed by `host::log_sink`,
//! because finding it needs `dlsym`. Any thread may log.

pub mod quota;

use std::fmt;
use std::io::Write;
use std::sync::OnceLock;

/// How serious a line is. The names are GLib's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something an operator should see: a refusal, a failure, misuse of the API.
    Warning,
    /// What an operator has asked to see, and nothing is wrong.
    Message,
    /// A remarkable but ordinary event.
    Info,
    /// For developers; shown when `G_MESSAGES_DEBUG` names `Spice` or `all`.
    Debug,
}

/// Where finished lines go.
pub type Sink = fn(Level, &str);

static SINK: OnceLock<Sink> = OnceLock::new();

/// Installs the sink for this process; the first caller wins.
pub fn install(sink: Sink) {
    let _ = SINK.set(sink);
}

/// Whether lines of `level` are printed at all, so that callers can skip work.
pub fn wanted(level: Level) -> bool {
    static VERBOSE: OnceLock<bool> = OnceLock::new();
    level <= Level::Message
        || *VERBOSE.get_or_init(|| {
            std::env::var("G_MESSAGES_DEBUG").is_ok_and(|domains| names_our_domain(&domains))
        })
}

/// Formats and hands over one line. Used through the macros below.
pub fn write(level: Level, file: &str, line: u32, message: fmt::Arguments<'_>) {
    if !wanted(level) {
        return;
    }
    let text = format!("{}:{line}: {message}", file.strip_prefix("src/").unwrap_or(file));
    SINK.get().map_or_else(|| to_stderr(level, &text), |sink| sink(level, &text));
}

/// The form GLib's default handler prints, for processes without GLib.
pub fn to_stderr(level: Level, text: &str) {
    let tag = match level {
        Level::Warning => "WARNING **",
        Level::Message => "MESSAGE",
        Level::Info => "INFO",
        Level::Debug => "DEBUG",
    };
    // Not `eprintln!`, which panics when the host's stderr is a pipe that nobody reads any
    // more: also while a panic is being told of, and that would end the host.
    let _ = writeln!(std::io::stderr(), "(process:{}): Spice-{tag}: {text}", std::process::id());
}

fn names_our_domain(domains: &str) -> bool {
    domains.split_whitespace().any(|domain| domain == "all" || domain == "Spice")
}

/// Logs a line that an operator should see.
#[macro_export]
macro_rules! warning {
    ($($arg:tt)*) => {
        $crate::log::write($crate::log::Level::Warning, file!(), line!(), format_args!($($arg)*))
    };
}

/// Logs a line that an operator has asked for.
#[macro_export]
macro_rules! message {
    ($($arg:tt)*) => {
        $crate::log::write($crate::log::Level::Message, file!(), line!(), format_args!($($arg)*))
    };
}

/// Logs an ordinary event.
#[macro_export]
macro_rules! info {
    ($($arg:tt)*) => {
        $crate::log::write($crate::log::Level::Info, file!(), line!(), format_args!($($arg)*))
    };
}

/// Logs a line for developers.
#[macro_export]
macro_rules! debug {
    ($($arg:tt)*) => {
        $crate::log::write($crate::log::Level::Debug, file!(), line!(), format_args!($($arg)*))
    };
}

/// Logs a warning the first time this place is reached in the process.
#[macro_export]
macro_rules! warning_once {
    ($($arg:tt)*) => {{
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| $crate::warning!($($arg)*));
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_is_found_among_others() {
        assert!(names_our_domain("qemu Spice"));
        assert!(names_our_domain("all"));
        assert!(!names_our_domain("SpiceClient GSpice"));
    }
}
