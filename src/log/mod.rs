//! Log lines: levels, categories, the text and the JSON form, and the sink.
//!
//! What lives here: the decision whether a line is wanted, how it looks, and how many
//! there may be. The text form's sink (GLib's `g_log`, or stderr) is installed by
//! `host::log_sink`, because finding it needs `dlsym`; JSON goes to stderr by itself.
//! What lines may say is in docs/logs.md. Any thread may log.

mod category;
mod line;
pub mod quota;
mod site;
mod subject;

use std::fmt;
use std::io::Write;
use std::sync::OnceLock;
use std::time::SystemTime;

use parking_lot::RwLock;

use crate::config::log::{Form, LogPolicy};

pub use category::{Categories, Category};
pub use site::Site;
pub use subject::{About, Subject};

/// How serious a line is. The names are GLib's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something an operator should see: a refusal, a failure, misuse of the API.
    Warning,
    /// What an operator has asked to see, and nothing is wrong.
    #[default]
    Message,
    /// A remarkable but ordinary event.
    Info,
    /// For developers.
    Debug,
}

/// Where finished lines of text go.
pub type Sink = fn(Level, &str);

static SINK: OnceLock<Sink> = OnceLock::new();

/// One process has one log: the server that was set up last decides.
static POLICY: RwLock<LogPolicy> = RwLock::new(LogPolicy::DEFAULT);

/// Installs the sink for this process; the first caller wins.
pub fn install(sink: Sink) {
    let _ = SINK.set(sink);
}

/// Takes what the configuration says of the log.
pub fn configure(policy: LogPolicy) {
    *POLICY.write() = policy;
}

impl Level {
    const ALL: [(Self, &str); 4] = [
        (Self::Warning, "warning"),
        (Self::Message, "message"),
        (Self::Info, "info"),
        (Self::Debug, "debug"),
    ];

    /// The level that is written so.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, own)| *own == text).map(|(level, _)| *level)
    }

    /// As it is written.
    pub fn text(self) -> &'static str {
        Self::ALL.iter().find(|(level, _)| *level == self).map_or("", |(_, text)| text)
    }
}

/// Writes one line that its caller counts; all others go through a [`Site`].
pub fn write_counted(
    level: Level,
    category: Category,
    (file, line): (&'static str, u32),
    about: &dyn About,
    message: fmt::Arguments<'_>,
) {
    if let Some(form) = wanted(level, category) {
        put(form, (level, category), (file, line), Some(about), &message.to_string());
    }
}

/// The form in which a line is wanted, if it is.
fn wanted(level: Level, category: Category) -> Option<Form> {
    let policy = *POLICY.read();
    (glib_shows_all() || policy.admits(level, category)).then_some(policy.form)
}

/// Whether `G_MESSAGES_DEBUG` asks for all of our lines. GLib hides information and what
/// is for developers from its default output unless this is so.
fn glib_shows_all() -> bool {
    static ASKED: OnceLock<bool> = OnceLock::new();
    *ASKED.get_or_init(|| {
        std::env::var("G_MESSAGES_DEBUG").is_ok_and(|domains| names_our_domain(&domains))
    })
}

fn names_our_domain(domains: &str) -> bool {
    let mut domains = domains.split([' ', ',', ';', '\t']);
    domains.any(|domain| domain == "all" || domain == "Spice")
}

/// Hands over one line.
fn put(
    form: Form,
    (level, category): (Level, Category),
    place: (&str, u32),
    about: Option<&dyn About>,
    message: &str,
) {
    let (file, line) = place;
    let place = format_args!("{}:{line}", file.strip_prefix("src/").unwrap_or(file)).to_string();
    let message = line::cut(message);
    match form {
        Form::Json => {
            let subject = about.map(About::subject).unwrap_or_default();
            let parts = line::Parts { level, category, place: &place, subject: &subject, message };
            to_stderr(&parts.json(SystemTime::now(), std::process::id()));
        }
        Form::Text => {
            let text = format!("{place}: {}", line::Escaped(message));
            // The configuration asked for a line that GLib would hide.
            let level = if glib_shows_all() { level } else { level.min(Level::Message) };
            SINK.get().map_or_else(|| text_to_stderr(level, &text), |sink| sink(level, &text));
        }
    }
}

/// The form GLib's default handler prints, for processes without GLib.
pub fn text_to_stderr(level: Level, text: &str) {
    let tag = match level {
        Level::Warning => "WARNING **",
        Level::Message => "MESSAGE",
        Level::Info => "INFO",
        Level::Debug => "DEBUG",
    };
    to_stderr(&format!("(process:{}): Spice-{tag}: {text}", std::process::id()));
}

fn to_stderr(line: &str) {
    // Not `eprintln!`, which panics when the host's stderr is a pipe that nobody reads any
    // more: also while a panic is being told of, and that would end the host. In one piece,
    // so that lines of several threads do not mix.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Logs a line of the level, from this place. `Category;` in front of it says what it is
/// about where the module does not, and `about` with an [`log::About`](About) whom it is
/// about.
#[doc(hidden)]
#[macro_export]
macro_rules! log_line {
    ($level:ident, about $about:expr; $($arg:tt)*) => {
        $crate::log_line!(@ $level, None, Some($about), $($arg)*)
    };
    ($level:ident, $category:ident about $about:expr; $($arg:tt)*) => {
        $crate::log_line!(@ $level, Some($crate::log::Category::$category), Some($about), $($arg)*)
    };
    ($level:ident, $category:ident; $($arg:tt)*) => {
        $crate::log_line!(@ $level, Some($crate::log::Category::$category), None, $($arg)*)
    };
    (@ $level:ident, $category:expr, $about:expr, $($arg:tt)*) => {{
        static SITE: $crate::log::Site = $crate::log::Site::new(
            $crate::log::Level::$level,
            $category,
            (module_path!(), file!(), line!()),
        );
        SITE.write($about, format_args!($($arg)*));
    }};
    ($level:ident, $($arg:tt)*) => {
        $crate::log_line!(@ $level, None, None, $($arg)*)
    };
}

/// Logs a line that an operator should see.
#[macro_export]
macro_rules! warning {
    ($($arg:tt)*) => { $crate::log_line!(Warning, $($arg)*) };
}

/// Logs a line that an operator has asked for.
#[macro_export]
macro_rules! message {
    ($($arg:tt)*) => { $crate::log_line!(Message, $($arg)*) };
}

/// Logs an ordinary event.
#[macro_export]
macro_rules! info {
    ($($arg:tt)*) => { $crate::log_line!(Info, $($arg)*) };
}

/// Logs a line for developers.
#[macro_export]
macro_rules! debug {
    ($($arg:tt)*) => { $crate::log_line!(Debug, $($arg)*) };
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
        assert!(names_our_domain("qemu,Spice"));
        assert!(names_our_domain("all"));
        assert!(!names_our_domain("SpiceClient GSpice"));
    }

    #[test]
    fn a_level_reads_as_it_is_written() {
        for (level, text) in Level::ALL {
            assert_eq!((Level::from_text(text), level.text()), (Some(level), text));
        }
        assert_eq!(Level::from_text("Info"), None);
    }
}
