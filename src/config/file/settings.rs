//! The settings of one section: those for all machines, or those of a `[[vm]]`.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeValue;

use super::limits;
use super::problem::{Problem, Problems};
use super::table::{Table, text, truth, whole};
use crate::config::agent::AgentChange;
use crate::config::home::HomeKind;
use crate::config::link::LinkChange;
use crate::config::log::{Form, LogChange};
use crate::config::registry::{Busy, PolicyChange, Registry, Rule, RuleError, Selector};
use crate::config::statistics::{SocketPath, StatisticsChange};
use crate::config::tls::TlsVersion;
use crate::config::websocket::{Origin, Origins, WebSocketChange};
use crate::log::{Categories, Category, Level};

/// The keys that [`Settings::read`] knows.
pub(super) const SETTINGS: [&str; 11] = [
    "io",
    "link",
    "log",
    "tls",
    "websocket",
    "channels",
    "channel",
    "clipboard",
    "file-transfer",
    "audit",
    "statistics",
];
const IO: [&str; 1] = ["home"];
const LINK: [&str; 5] =
    ["deadline", "pending", "pending-per-address", "free-failures", "longest-delay"];
const LOG: [&str; 3] = ["level", "categories", "form"];
const TLS: [&str; 1] = ["min-version"];
const WEBSOCKET: [&str; 2] = ["enabled", "origins"];
const TRANSFER: [&str; 2] = ["direction", "max-size"];
const AUDIT: [&str; 1] = ["log"];
const STATISTICS: [&str; 2] = ["socket", "shared-memory"];
const POLICY: [&str; 3] = ["compression", "busy", "idle-timeout"];
const RULE: [&str; 7] = ["port", "subtype", "type", "name", POLICY[0], POLICY[1], POLICY[2]];

/// What a section says; what it does not say is left to others.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) home: Option<Home>,
    pub(super) policy: PolicyChange,
    pub(super) oldest_tls: Option<TlsVersion>,
    pub(super) websocket: WebSocketChange,
    pub(super) link: LinkChange,
    pub(super) log: LogChange,
    pub(super) agent: AgentChange,
    pub(super) statistics: StatisticsChange,
    /// Each of them may stand in a registry, and beside the others.
    pub(super) rules: Vec<RuleAt>,
}

/// Where connections live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// The library chooses.
    Auto,
    /// The file chooses.
    Is(HomeKind),
}

/// A rule and where it stands.
#[derive(Clone, Debug)]
pub(super) struct RuleAt {
    pub(super) rule: Rule,
    key: String,
    lines: Lines,
}

#[derive(Clone, Copy, Debug)]
struct Lines {
    rule: usize,
    selector: usize,
    kind: usize,
    name: usize,
}

impl Settings {
    pub(super) fn read(table: &Table<'_>, problems: &mut Problems) -> Self {
        let mut settings = Self::default();
        if let Some(io) = table.table("io", problems) {
            io.only(&IO, problems);
            let expected = "\"main\", \"thread\" or \"auto\"";
            settings.home = io.value("home", expected, problems, home).ok().flatten();
        }
        if let Some(link) = table.table("link", problems) {
            link.only(&LINK, problems);
            settings.link = links(&link, problems);
        }
        if let Some(log) = table.table("log", problems) {
            log.only(&LOG, problems);
            settings.log = lines(&log, problems);
        }
        if let Some(tls) = table.table("tls", problems) {
            tls.only(&TLS, problems);
            let expected = "\"1.0\", \"1.1\", \"1.2\" or \"1.3\"";
            let version = |value: &DeValue<'_>| TlsVersion::from_text(value.as_str()?);
            settings.oldest_tls =
                tls.value("min-version", expected, problems, version).ok().flatten();
        }
        if let Some(websocket) = table.table("websocket", problems) {
            websocket.only(&WEBSOCKET, problems);
            let enabled = websocket.value("enabled", "true or false", problems, truth);
            let expected = "origins as browsers write them, such as [\"https://example.org\"], \
                or [\"*\"]";
            let origins = websocket.value("origins", expected, problems, origins);
            settings.websocket = WebSocketChange {
                enabled: enabled.ok().flatten(),
                // A slip must not open the door to everybody.
                origins: origins.unwrap_or(Some(Origins::Only(Arc::default()))),
            };
        }
        if let Some(channels) = table.table("channels", problems) {
            channels.only(&POLICY, problems);
            settings.policy = policy(&channels, problems).0;
        }
        settings.agent = agent(table, problems);
        if let Some(own) = table.table("statistics", problems) {
            own.only(&STATISTICS, problems);
            settings.statistics = statistics(&own, problems);
        }
        let mut registry = Registry::default();
        for table in table.tables("channel", problems) {
            if table.is_emptied() {
                continue;
            }
            let Some(rule) = RuleAt::read(&table, problems) else { continue };
            match registry.add(rule.rule.clone()) {
                Ok(()) => settings.rules.push(rule),
                Err(error) => {
                    let (line, key) = rule.place_of(&error);
                    problems.add_on_line(line, key, error);
                }
            }
        }
        settings
    }

    /// Whether one of the rules gives a channel this name.
    pub(super) fn names_channel(&self, name: &[u8]) -> bool {
        self.rules.iter().map(|at| &at.rule).any(|rule| match (&rule.name, rule.kind) {
            (Some(own), _) => own.as_bytes() == name,
            (None, Some(kind)) => format!("channel-{kind}").as_bytes() == name,
            (None, None) => false,
        })
    }
}

impl RuleAt {
    fn read(table: &Table<'_>, problems: &mut Problems) -> Option<Self> {
        table.only(&RULE, problems);
        let port = table.value("port", "the name of a port", problems, text);
        let subtype = table.value("subtype", "the name of a subtype", problems, text);
        let channel_type = |value: &DeValue<'_>| whole(value, 0..=255).map(|kind| kind as u8);
        let expected = "a channel type, 10 to 255";
        let kind = table.value("type", expected, problems, channel_type);
        let name = table.value("name", "the name of a channel", problems, text);
        let (policy, sound) = policy(table, problems);
        let (port, subtype, kind, name) = (port.ok()?, subtype.ok()?, kind.ok()?, name.ok()?);
        let (selector, selector_key) = match (port, subtype) {
            (Some(port), None) => (Selector::Port(port), "port"),
            (None, Some(subtype)) => (Selector::Subtype(subtype), "subtype"),
            (port, _) => {
                let what = if port.is_some() { "there are both" } else { "there is neither" };
                let what = format!("a rule has either port or subtype, {what}");
                problems.add(table.at(), table.path().to_owned(), what);
                return None;
            }
        };
        let line = |key| problems.line(table.at_key(key));
        let lines = Lines {
            rule: problems.line(table.at()),
            selector: line(selector_key),
            kind: line("type"),
            name: line("name"),
        };
        let rule = Rule { selector, kind, name, policy };
        sound.then(|| Self { rule, key: table.path().to_owned(), lines })
    }

    /// The complaint of a registry that holds other sections' rules too.
    pub(super) fn problem(&self, path: &Arc<Path>, error: &RuleError) -> Problem {
        let (line, key) = self.place_of(error);
        Problem::new(path, line, Some(key), error)
    }

    /// The line and the key that an error is about.
    fn place_of(&self, error: &RuleError) -> (usize, String) {
        let (line, key) = match error {
            RuleError::NoType(_) | RuleError::TooMany => {
                return (self.lines.rule, self.key.clone());
            }
            RuleError::ReservedType(_) => (self.lines.kind, "type"),
            RuleError::BadName(_) | RuleError::NameTaken { .. } | RuleError::TypeNamed { .. } => {
                (self.lines.name, "name")
            }
            RuleError::ReservedDevice(_) | RuleError::BadSelector(_) | RuleError::Duplicate(_) => {
                match self.rule.selector {
                    Selector::Port(_) => (self.lines.selector, "port"),
                    Selector::Subtype(_) => (self.lines.selector, "subtype"),
                }
            }
        };
        (line, format!("{}.{key}", self.key))
    }
}

/// How channels are served, and whether nothing of it was wrong.
fn policy(table: &Table<'_>, problems: &mut Problems) -> (PolicyChange, bool) {
    let compression = table.value("compression", "true or false", problems, truth);
    let busy = table.value("busy", "\"refuse\" or \"take-over\"", problems, busy);
    let expected = format!("whole seconds from 0 to {}", limits::IDLE_TIMEOUT.as_secs());
    let idle = table.value("idle-timeout", &expected, problems, idle);
    let sound = compression.is_ok() && busy.is_ok() && idle.is_ok();
    let change = PolicyChange {
        compression: compression.unwrap_or_default(),
        busy: busy.unwrap_or_default(),
        idle: idle.unwrap_or_default(),
    };
    (change, sound)
}

/// What links may cost.
fn links(table: &Table<'_>, problems: &mut Problems) -> LinkChange {
    let mut number = |key, unit: &str, range: RangeInclusive<u64>| {
        let expected = format!("{unit} from {} to {}", range.start(), range.end());
        let read = |value: &DeValue<'_>| whole(value, range.clone());
        table.value(key, &expected, problems, read).ok().flatten()
    };
    let deadline = number("deadline", "whole seconds", 1..=limits::LINK_DEADLINE_MOST.as_secs());
    let pending = 1..=limits::PENDING_LINKS_MOST as u64;
    let per_address = number("pending-per-address", "a number", pending.clone());
    let failures = number("free-failures", "a number", 0..=limits::FREE_FAILURES_MOST.into());
    let delay = number("longest-delay", "whole seconds", 0..=limits::LONGEST_DELAY_MOST.as_secs());
    LinkChange {
        deadline: deadline.map(Duration::from_secs),
        pending: number("pending", "a number", pending).map(|links| links as usize),
        pending_per_address: per_address.map(|links| links as usize),
        free_failures: failures.map(|failures| failures as u32),
        longest_delay: delay.map(Duration::from_secs),
    }
}

/// What is logged.
fn lines(table: &Table<'_>, problems: &mut Problems) -> LogChange {
    let level = |value: &DeValue<'_>| Level::from_text(value.as_str()?);
    let expected = "\"warning\", \"message\", \"info\" or \"debug\"";
    let level = table.value("level", expected, problems, level).ok().flatten();
    let names = Category::ALL.map(|(_, name)| format!("\"{name}\"")).join(", ");
    let expected = format!("a list of categories ({names}), or [\"*\"]");
    let categories = table.value("categories", &expected, problems, categories).ok().flatten();
    let form = |value: &DeValue<'_>| Form::from_text(value.as_str()?);
    let form = table.value("form", "\"text\" or \"json\"", problems, form).ok().flatten();
    LogChange { level, categories, form }
}

fn categories(value: &DeValue<'_>) -> Option<Categories> {
    let names: Vec<_> =
        value.as_array()?.iter().map(|item| item.get_ref().as_str()).collect::<Option<_>>()?;
    if names == ["*"] {
        return Some(Categories::ALL);
    }
    let named: Vec<_> = names.into_iter().map(Category::from_text).collect::<Option<_>>()?;
    Some(Categories::only(named))
}

/// Where statistics can be read.
fn statistics(table: &Table<'_>, problems: &mut Problems) -> StatisticsChange {
    let expected = "an absolute path, in which {name}, {uuid} and {pid} stand for the \
        machine's, or \"\"";
    let socket = table.value("socket", expected, problems, |value| match value.as_str()? {
        "" => Some(None),
        text => SocketPath::from_text(text).map(Some),
    });
    let shared_memory = table.value("shared-memory", "true or false", problems, truth);
    StatisticsChange { socket: socket.ok().flatten(), shared_memory: shared_memory.ok().flatten() }
}

/// What may pass to and from the guest's agent.
fn agent(table: &Table<'_>, problems: &mut Problems) -> AgentChange {
    let size = format!("whole bytes, 0 to {}", limits::TRANSFER_SIZE);
    let bytes = |value: &DeValue<'_>| whole(value, 0..=limits::TRANSFER_SIZE);
    let mut change = AgentChange::default();
    if let Some(clipboard) = table.table("clipboard", problems) {
        clipboard.only(&TRANSFER, problems);
        let expected = "\"both\", \"to-guest\", \"to-client\" or \"off\"";
        change.clipboard =
            clipboard.value("direction", expected, problems, directions).ok().flatten();
        change.clipboard_size = clipboard.value("max-size", &size, problems, bytes).ok().flatten();
    }
    if let Some(files) = table.table("file-transfer", problems) {
        files.only(&TRANSFER, problems);
        let expected = "\"to-guest\" or \"off\"";
        change.files = files.value("direction", expected, problems, files_to_guest).ok().flatten();
        change.file_size = files.value("max-size", &size, problems, bytes).ok().flatten();
    }
    if let Some(audit) = table.table("audit", problems) {
        audit.only(&AUDIT, problems);
        change.audit = audit.value("log", "true or false", problems, truth).ok().flatten();
    }
    change
}

/// To the guest, to the client.
fn directions(value: &DeValue<'_>) -> Option<(bool, bool)> {
    match value.as_str()? {
        "both" => Some((true, true)),
        "to-guest" => Some((true, false)),
        "to-client" => Some((false, true)),
        "off" => Some((false, false)),
        _ => None,
    }
}

fn files_to_guest(value: &DeValue<'_>) -> Option<bool> {
    match value.as_str()? {
        "to-guest" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

fn home(value: &DeValue<'_>) -> Option<Home> {
    match value.as_str()? {
        "main" => Some(Home::Is(HomeKind::Main)),
        "thread" => Some(Home::Is(HomeKind::Thread)),
        "auto" => Some(Home::Auto),
        _ => None,
    }
}

fn origins(value: &DeValue<'_>) -> Option<Origins> {
    let texts: Vec<_> =
        value.as_array()?.iter().map(|item| item.get_ref().as_str()).collect::<Option<_>>()?;
    if texts == [Origin::ANY] {
        return Some(Origins::Any);
    }
    let origins: Vec<_> = texts.into_iter().map(Origin::from_text).collect::<Option<_>>()?;
    (origins.len() <= limits::ORIGINS).then(|| Origins::Only(origins.into()))
}

fn busy(value: &DeValue<'_>) -> Option<Busy> {
    match value.as_str()? {
        "refuse" => Some(Busy::Refuse),
        "take-over" => Some(Busy::TakeOver),
        _ => None,
    }
}

fn idle(value: &DeValue<'_>) -> Option<Duration> {
    whole(value, 0..=limits::IDLE_TIMEOUT.as_secs()).map(Duration::from_secs)
}
