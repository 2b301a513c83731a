//! What the configuration says of statistics: where they can be read.
//!
//! Pure values. Counting itself has no switch: it costs too little to have one.

use std::path::PathBuf;

/// Where statistics can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatisticsPolicy {
    /// The path of the unix socket, in which words in braces stand for what tells machines
    /// apart; `None`: there is none.
    pub socket: Option<SocketPath>,
    /// Whether there is upstream's file in shared memory.
    pub shared_memory: bool,
}

/// What a section says differently.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatisticsChange {
    /// See [`StatisticsPolicy::socket`].
    pub socket: Option<Option<SocketPath>>,
    /// See [`StatisticsPolicy::shared_memory`].
    pub shared_memory: Option<bool>,
}

/// The path of a socket, in which `{name}`, `{uuid}` and `{pid}` stand for the machine's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketPath(String);

/// What may stand in braces.
const WORDS: [&str; 3] = ["name", "uuid", "pid"];

impl StatisticsChange {
    /// The settings with this change.
    #[must_use]
    pub fn on(&self, below: StatisticsPolicy) -> StatisticsPolicy {
        StatisticsPolicy {
            socket: self.socket.clone().unwrap_or(below.socket),
            shared_memory: self.shared_memory.unwrap_or(below.shared_memory),
        }
    }
}

impl SocketPath {
    /// An absolute path without odd characters, in which braces stand around words that are
    /// known.
    pub fn from_text(text: &str) -> Option<Self> {
        if !text.starts_with('/') || text.chars().any(char::is_control) {
            return None;
        }
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let word = rest[open..].strip_prefix('{')?;
            let (word, behind) = word.split_once('}')?;
            if !WORDS.contains(&word) {
                return None;
            }
            rest = behind;
        }
        Some(Self(text.to_owned()))
    }

    /// The text it is made of.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The path for a machine. One without a name or UUID has its process's number there.
    pub fn of(&self, name: Option<&[u8]>, uuid: Option<&str>, pid: u32) -> PathBuf {
        let pid = pid.to_string();
        let name = name.filter(|name| !name.is_empty()).map_or_else(|| pid.clone(), file_name);
        let path = self.0.replace("{pid}", &pid).replace("{uuid}", uuid.unwrap_or(&pid));
        // Last: what is in a name is not looked at again.
        path.replace("{name}", &name).into()
    }
}

/// A machine's name as part of a path: it must not lead elsewhere.
fn file_name(name: &[u8]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_.+@,:= ".contains(c);
    let text: String =
        String::from_utf8_lossy(name).chars().map(|c| if plain(c) { c } else { '_' }).collect();
    match text.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> SocketPath {
        SocketPath::from_text(text).expect("a good path")
    }

    #[test]
    fn a_path_is_absolute_and_its_words_are_known() {
        for text in ["", "a", "./a", "{name}", "/{vm}", "/{name", "/name}", "/{{name}}", "/a\n"] {
            assert_eq!(SocketPath::from_text(text), None, "{text}");
        }
        assert_eq!(path("/run/{name}-{pid}").text(), "/run/{name}-{pid}");
    }

    #[test]
    fn words_are_the_machine_s() {
        let of = |text, name: Option<&[u8]>, uuid| path(text).of(name, uuid, 7);
        assert_eq!(of("/r/{name}.s", Some(b"win 10"), None), PathBuf::from("/r/win 10.s"));
        assert_eq!(of("/r/{name}{name}", None, None), PathBuf::from("/r/77"));
        assert_eq!(of("/r/{uuid}.{pid}", None, Some("u")), PathBuf::from("/r/u.7"));
        assert_eq!(of("/r/{uuid}", Some(b"x"), None), PathBuf::from("/r/7"));
        assert_eq!(of("/r/{name}", Some(b"{pid}"), None), PathBuf::from("/r/_pid_"));
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        for (name, file) in [
            (&b"../../etc/x"[..], "_._.._etc_x"),
            (b"..", "_."),
            (b".hidden", "_hidden"),
            (b"a/b\0c", "a_b_c"),
            (b"\xff", "_"),
        ] {
            assert_eq!(file_name(name), file);
        }
    }
}
