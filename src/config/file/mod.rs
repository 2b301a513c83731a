//! The configuration file (docs/configuration.md): found, read, and turned into the
//! settings of one virtual machine.
//!
//! What is wrong in it is left out and becomes a [`Problem`]; the rest applies. Reading
//! blocks as long as the disk takes, never on a pipe. Any thread may do it.

mod problem;
mod settings;
mod syntax;
mod table;
#[cfg(test)]
mod tests;
mod vm;
mod watch;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeTable;

use self::problem::Problems;
use self::settings::{Home, RuleAt, SETTINGS, Settings};
use self::table::Table;
use self::vm::Vm;
use super::agent::AgentPolicy;
use super::link::LinkPolicy;
use super::log::LogPolicy;
use super::registry::{Policy, Registry, Selector};
use super::statistics::StatisticsPolicy;
use super::websocket::WebSocketPolicy;
use super::{Config, limits};

pub use self::problem::Problem;
pub use self::vm::uuid;
pub use self::watch::Watch;

/// Where the file is if nobody says otherwise.
pub const PATH: &str = "/etc/spice-server/config.toml";

/// A file with every setting commented out.
pub const EXAMPLE: &str = include_str!("../../../share/config.toml.example");

/// The variable that says otherwise.
const VARIABLE: &str = "SPICE_SERVER_CONFIG";

/// A configuration file, for whichever virtual machine.
#[derive(Clone, Debug)]
pub struct File {
    path: Arc<Path>,
    problems: Vec<Problem>,
    common: Settings,
    vms: Vec<Vm>,
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system says why.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A directory, a pipe, a device.
    #[error("not a regular file")]
    NotAFile,
    /// Nobody writes so much.
    #[error("larger than {} bytes", limits::CONFIG_FILE)]
    TooLarge,
}

impl File {
    /// The file that is to be read: `SPICE_SERVER_CONFIG` or [`PATH`].
    pub fn path() -> PathBuf {
        path_from(std::env::var_os(VARIABLE))
    }

    /// Reads the file, if there is one. Without it, or without permission to read it, the
    /// defaults are meant and nobody is told.
    pub fn find() -> Option<Self> {
        let path = Self::path();
        match Self::read(&path) {
            Ok(file) => Some(file),
            Err(error) if error.is_ordinary() => {
                crate::debug!("{}: {error}; defaults apply", path.display());
                None
            }
            Err(error) => {
                crate::warning!("{}: {error}; defaults apply", path.display());
                None
            }
        }
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        // Without O_NONBLOCK a pipe would have to be opened at its other end first.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(ReadError::NotAFile);
        }
        let mut bytes = Vec::new();
        file.take(limits::CONFIG_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limits::CONFIG_FILE {
            return Err(ReadError::TooLarge);
        }
        Ok(Self::parse_bytes(path, &bytes))
    }

    /// Takes what is right in `text`; `path` is its name in problems.
    pub fn parse(path: &Path, text: &str) -> Self {
        let path = Arc::from(path);
        let problems = Problems::new(&path, text);
        Self::with_problems(path, text, problems)
    }

    /// What is wrong in the file, in the order of its lines.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The settings of a virtual machine, and what is wrong only where sections that are
    /// right by themselves come together.
    pub fn config(&self, name: Option<&[u8]>, uuid: Option<&[u8; 16]>) -> (Config, Vec<Problem>) {
        let vms = self.vms.iter().filter(|vm| vm.is_for(name, uuid)).map(|vm| &vm.settings);
        let layers: Vec<_> = std::iter::once(&self.common).chain(vms).collect();
        let home = match layers.iter().rev().find_map(|layer| layer.home) {
            None | Some(Home::Auto) => None,
            Some(Home::Is(home)) => Some(home),
        };
        let defaults = layers.iter().fold(Policy::default(), |below, layer| layer.policy.on(below));
        let agent =
            layers.iter().fold(AgentPolicy::default(), |below, layer| layer.agent.on(below));
        let oldest_tls = layers.iter().rev().find_map(|layer| layer.oldest_tls).unwrap_or_default();
        let websocket = layers
            .iter()
            .fold(WebSocketPolicy::default(), |below, layer| layer.websocket.on(below));
        let link = layers.iter().fold(LinkPolicy::default(), |below, layer| layer.link.on(below));
        let log = layers.iter().fold(LogPolicy::default(), |below, layer| layer.log.on(below));
        let statistics = layers
            .iter()
            .fold(StatisticsPolicy::default(), |below, layer| layer.statistics.on(below));
        let mut registry = Registry::new(defaults);
        let mut problems = Vec::new();
        for stack in stacks(&layers) {
            // The last one wins; if it does not go with the others, the one before it.
            for rule in stack.iter().rev() {
                match registry.add(rule.rule.clone()) {
                    Ok(()) => break,
                    Err(error) if problems.len() < limits::CONFIG_PROBLEMS => {
                        problems.push(rule.problem(&self.path, &error));
                    }
                    Err(_) => (),
                }
            }
        }
        problems.sort_by_key(Problem::line);
        (Config { home, registry, agent, oldest_tls, websocket, link, log, statistics }, problems)
    }

    /// Whether any section gives a channel this name. The host may use it before it says
    /// which virtual machine it is.
    pub fn names_channel(&self, name: &[u8]) -> bool {
        let vms = self.vms.iter().map(|vm| &vm.settings);
        std::iter::once(&self.common).chain(vms).any(|settings| settings.names_channel(name))
    }

    fn parse_bytes(path: &Path, bytes: &[u8]) -> Self {
        let error = match std::str::from_utf8(bytes) {
            Ok(text) => return Self::parse(path, text),
            Err(error) => error,
        };
        // A NUL is nowhere allowed, so that the parser finds each of these places.
        let text = String::from_utf8_lossy(bytes).replace(char::REPLACEMENT_CHARACTER, "\0");
        let path = Arc::from(path);
        let mut problems = Problems::new(&path, &text);
        problems.add_syntax(error.valid_up_to(), || None, "not UTF-8");
        Self::with_problems(path, &text, problems)
    }

    fn with_problems(path: Arc<Path>, text: &str, mut problems: Problems) -> Self {
        let sound = syntax::sound(text, &mut problems);
        let tree = DeTable::parse(&sound.text).map(Spanned::into_inner).unwrap_or_default();
        let root = Table::root(&tree, &sound.emptied);
        root.only(&[&SETTINGS[..], &["vm"]].concat(), &mut problems);
        let common = Settings::read(&root, &mut problems);
        let vms = root.tables("vm", &mut problems);
        let vms = vms.iter().filter_map(|table| Vm::read(table, &mut problems)).collect();
        Self { path, problems: problems.finish(), common, vms }
    }
}

impl ReadError {
    /// Whether it only says that there is no file for us.
    pub fn is_ordinary(&self) -> bool {
        let Self::Io(error) = self else { return false };
        matches!(
            error.kind(),
            io::ErrorKind::NotFound
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::PermissionDenied
        )
    }
}

/// The rules for the same devices together, the later sections' last; those that later
/// sections have stand behind the others.
fn stacks<'s>(layers: &[&'s Settings]) -> Vec<Vec<&'s RuleAt>> {
    let mut places: HashMap<(bool, &str), usize> = HashMap::new();
    let mut stacks: Vec<(usize, Vec<&RuleAt>)> = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        for rule in &layer.rules {
            let devices = match &rule.rule.selector {
                Selector::Port(name) => (true, name.as_str()),
                Selector::Subtype(name) => (false, name.as_str()),
            };
            let place = *places.entry(devices).or_insert(stacks.len());
            match stacks.get_mut(place) {
                Some((layer, stack)) => {
                    *layer = number;
                    stack.push(rule);
                }
                None => stacks.push((number, vec![rule])),
            }
        }
    }
    stacks.sort_by_key(|(layer, _)| *layer);
    stacks.into_iter().map(|(_, stack)| stack).collect()
}

fn path_from(variable: Option<OsString>) -> PathBuf {
    variable.filter(|path| !path.is_empty()).map_or_else(|| PATH.into(), PathBuf::from)
}
