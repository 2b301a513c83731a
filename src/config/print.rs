//! Settings as text: a configuration file of their own that says everything.

use std::fmt;

use super::Config;
use super::agent::AgentPolicy;
use super::home::HomeKind;
use super::link::LinkPolicy;
use super::log::LogPolicy;
use super::registry::{Busy, Policy, Selector};
use super::statistics::{SocketPath, StatisticsPolicy};
use super::websocket::{Origin, Origins, WebSocketPolicy};
use crate::log::{Categories, Category};

/// The text reads as these settings again.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let home = match self.home {
            None => "auto",
            Some(HomeKind::Main) => "main",
            Some(HomeKind::Thread) => "thread",
        };
        write!(f, "[io]\nhome = \"{home}\"\n")?;
        links(f, self.link)?;
        lines(f, self.log)?;
        write!(f, "\n[tls]\nmin-version = \"{}\"\n", self.oldest_tls.text())?;
        websocket(f, &self.websocket)?;
        write!(f, "\n[channels]\n")?;
        policy(f, self.registry.defaults())?;
        for (selector, service) in self.registry.rules() {
            let (key, devices) = match selector {
                Selector::Port(name) => ("port", name),
                Selector::Subtype(name) => ("subtype", name),
            };
            write!(f, "\n[[channel]]\n{key} = {}\n", Quoted(devices))?;
            write!(f, "type = {}\nname = {}\n", service.kind, Quoted(&service.name))?;
            policy(f, service.policy)?;
        }
        agent(f, self.agent)?;
        statistics(f, &self.statistics)
    }
}

fn links(f: &mut fmt::Formatter<'_>, policy: LinkPolicy) -> fmt::Result {
    let LinkPolicy { deadline, pending, pending_per_address, free_failures, longest_delay } =
        policy;
    write!(f, "\n[link]\ndeadline = {}\npending = {pending}\n", deadline.as_secs())?;
    write!(f, "pending-per-address = {pending_per_address}\nfree-failures = {free_failures}\n")?;
    writeln!(f, "longest-delay = {}", longest_delay.as_secs())
}

fn lines(f: &mut fmt::Formatter<'_>, policy: LogPolicy) -> fmt::Result {
    let LogPolicy { level, categories, form } = policy;
    let list = if categories == Categories::ALL {
        Quoted("*").to_string()
    } else {
        let named = Category::ALL.iter().filter(|(category, _)| categories.has(*category));
        named.map(|(_, name)| Quoted(name).to_string()).collect::<Vec<_>>().join(", ")
    };
    write!(f, "\n[log]\nlevel = \"{}\"\n", level.text())?;
    write!(f, "categories = [{list}]\nform = \"{}\"\n", form.text())
}

fn websocket(f: &mut fmt::Formatter<'_>, policy: &WebSocketPolicy) -> fmt::Result {
    let WebSocketPolicy { enabled, origins } = policy;
    let list = match origins {
        Origins::Any => Quoted(Origin::ANY).to_string(),
        Origins::Only(origins) => {
            let quoted = origins.iter().map(|origin| Quoted(&origin.to_string()).to_string());
            quoted.collect::<Vec<_>>().join(", ")
        }
    };
    write!(f, "\n[websocket]\nenabled = {enabled}\norigins = [{list}]\n")
}

fn agent(f: &mut fmt::Formatter<'_>, agent: AgentPolicy) -> fmt::Result {
    let AgentPolicy { clipboard, files, audit } = agent;
    let directions = match (clipboard.to_guest, clipboard.to_client) {
        (true, true) => "both",
        (true, false) => "to-guest",
        (false, true) => "to-client",
        (false, false) => "off",
    };
    let size = clipboard.max_size.unwrap_or(0);
    write!(f, "\n[clipboard]\ndirection = \"{directions}\"\nmax-size = {size}\n")?;
    let (directions, size) =
        (if files.to_guest { "to-guest" } else { "off" }, files.max_size.unwrap_or(0));
    write!(f, "\n[file-transfer]\ndirection = \"{directions}\"\nmax-size = {size}\n")?;
    write!(f, "\n[audit]\nlog = {audit}\n")
}

fn statistics(f: &mut fmt::Formatter<'_>, policy: &StatisticsPolicy) -> fmt::Result {
    let StatisticsPolicy { socket, shared_memory } = policy;
    let socket = Quoted(socket.as_ref().map_or("", SocketPath::text));
    write!(f, "\n[statistics]\nsocket = {socket}\nshared-memory = {shared_memory}\n")
}

fn policy(f: &mut fmt::Formatter<'_>, policy: Policy) -> fmt::Result {
    let busy = match policy.busy {
        Busy::Refuse => "refuse",
        Busy::TakeOver => "take-over",
    };
    write!(f, "compression = {}\nbusy = \"{busy}\"\n", policy.compression)?;
    writeln!(f, "idle-timeout = {}", policy.idle.as_secs())
}

/// A basic string of TOML.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\u{:04X}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::config::agent::AgentChange;
    use crate::config::file::File;
    use crate::config::link::LinkChange;
    use crate::config::log::Form;
    use crate::config::registry::{PolicyChange, Registry, Rule};
    use crate::config::tls::TlsVersion;
    use crate::log::Level;

    /// Reads the text of settings, which has to be right.
    fn read(text: &str) -> Config {
        let file = File::parse(Path::new("f"), text);
        assert_eq!(file.problems(), [], "{text}");
        let (config, problems) = file.config(None, None);
        assert_eq!(problems, [], "{text}");
        config
    }

    fn assert_same(a: &Config, b: &Config) {
        assert_eq!(a.home, b.home);
        assert_eq!(a.agent, b.agent);
        assert_eq!(a.oldest_tls, b.oldest_tls);
        assert_eq!(a.websocket, b.websocket);
        assert_eq!(a.link, b.link);
        assert_eq!(a.log, b.log);
        assert_eq!(a.statistics, b.statistics);
        assert_eq!(a.registry.defaults(), b.registry.defaults());
        let rules = |config: &Config| -> Vec<_> {
            config.registry.rules().map(|(selector, own)| (selector.clone(), own)).collect()
        };
        assert_eq!(rules(a), rules(b));
    }

    #[test]
    fn the_defaults_in_full() {
        let expected = "\
[io]
home = \"auto\"

[link]
deadline = 10
pending = 512
pending-per-address = 384
free-failures = 5
longest-delay = 15

[log]
level = \"message\"
categories = [\"*\"]
form = \"text\"

[tls]
min-version = \"1.2\"

[websocket]
enabled = true
origins = [\"*\"]

[channels]
compression = true
busy = \"refuse\"
idle-timeout = 0

[clipboard]
direction = \"both\"
max-size = 0

[file-transfer]
direction = \"to-guest\"
max-size = 0

[audit]
log = false

[statistics]
socket = \"\"
shared-memory = false
";
        assert_eq!(Config::default().to_string(), expected);
        assert_same(&read(expected), &Config::default());
    }

    #[test]
    fn a_rule_is_printed_with_what_it_comes_to() {
        let text = "[channels]\nidle-timeout = 5\n[[channel]]\nport = '\"\\\u{e4}*'\ntype = 99\n";
        let config = read(text);
        let expected = "\n[[channel]]\nport = \"\\\"\\\\\u{e4}*\"\ntype = 99\nname = \"channel-99\"
compression = true\nbusy = \"refuse\"\nidle-timeout = 5\n";
        assert!(config.to_string().contains(expected), "{config}");
        assert_same(&read(&config.to_string()), &config);
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(Quoted("a\n\u{7f}").to_string(), "\"a\\u000A\\u007F\"");
    }

    fn change() -> impl Strategy<Value = PolicyChange> {
        let busy = prop::sample::select(vec![None, Some(Busy::Refuse), Some(Busy::TakeOver)]);
        let idle = prop::option::of((0..=86_400_u64).prop_map(Duration::from_secs));
        (any::<Option<bool>>(), busy, idle).prop_map(|(compression, busy, idle)| PolicyChange {
            compression,
            busy,
            idle,
        })
    }

    fn agent_change() -> impl Strategy<Value = AgentChange> {
        let size = || prop::option::of(0..=1_u64 << 40);
        let flag = any::<Option<bool>>;
        (any::<Option<(bool, bool)>>(), size(), flag(), size(), flag()).prop_map(
            |(clipboard, clipboard_size, files, file_size, audit)| AgentChange {
                clipboard,
                clipboard_size,
                files,
                file_size,
                audit,
            },
        )
    }

    fn rule() -> impl Strategy<Value = Rule> {
        let selector = prop_oneof![
            prop_oneof!["\\PC{1,6}\\*?", "[ab]\\*?", "org.spice-space.webdav.0"]
                .prop_map(Selector::Port),
            prop_oneof!["\\PC{1,6}", "[ab]", "usbredir"].prop_map(Selector::Subtype),
        ];
        let kind = prop_oneof![Just(None), (8..20_u8).prop_map(Some)];
        let name = prop::option::of("(fs|cam|port|channel-1[2-9])");
        (selector, kind, name, change()).prop_map(|(selector, kind, name, policy)| Rule {
            selector,
            kind,
            name,
            policy,
        })
    }

    fn websocket_policy() -> impl Strategy<Value = WebSocketPolicy> {
        let origin =
            prop::sample::select(vec!["https://a.example", "http://[::1]:8080", "x-y://b"])
                .prop_map(|text| Origin::from_text(text).expect("good"));
        let list = prop::collection::vec(origin, 0..3);
        let origins =
            prop_oneof![Just(Origins::Any), list.prop_map(|list| Origins::Only(list.into())),];
        (any::<bool>(), origins).prop_map(|(enabled, origins)| WebSocketPolicy { enabled, origins })
    }

    fn statistics_policy() -> impl Strategy<Value = StatisticsPolicy> {
        let socket = prop::option::of("/[^{}\\p{C}]{0,9}(\\{(name|uuid|pid)\\})?");
        let socket = socket.prop_filter_map("a path", |text| match text {
            None => Some(None),
            Some(text) => SocketPath::from_text(&text).map(Some),
        });
        (socket, any::<bool>())
            .prop_map(|(socket, shared_memory)| StatisticsPolicy { socket, shared_memory })
    }

    fn link_change() -> impl Strategy<Value = LinkChange> {
        let seconds = |range| prop::option::of(range).prop_map(|s| s.map(Duration::from_secs));
        let links = || prop::option::of(1..=4096_usize);
        let failures = prop::option::of(0..=1000_u32);
        (seconds(1..=3600_u64), links(), links(), failures, seconds(0..=60_u64)).prop_map(
            |(deadline, pending, pending_per_address, free_failures, longest_delay)| LinkChange {
                deadline,
                pending,
                pending_per_address,
                free_failures,
                longest_delay,
            },
        )
    }

    fn log_policy() -> impl Strategy<Value = LogPolicy> {
        let level = prop::sample::select(vec!["warning", "message", "info", "debug"])
            .prop_map(|text| Level::from_text(text).expect("a level"));
        let some = prop::collection::vec(prop::sample::select(Category::ALL.to_vec()), 0..4)
            .prop_map(|some| Categories::only(some.into_iter().map(|(category, _)| category)));
        let categories = prop_oneof![Just(Categories::ALL), some];
        (level, categories, prop::sample::select(vec![Form::Text, Form::Json]))
            .prop_map(|(level, categories, form)| LogPolicy { level, categories, form })
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_the_same(
            home in prop::sample::select(
                vec![None, Some(HomeKind::Main), Some(HomeKind::Thread)]),
            defaults in change(),
            rules in prop::collection::vec(rule(), 0..12),
            agent in agent_change(),
            oldest_tls in prop::sample::select(
                vec![TlsVersion::Tls10, TlsVersion::Tls11, TlsVersion::Tls12, TlsVersion::Tls13]),
            websocket in websocket_policy(),
            link in link_change(),
            log in log_policy(),
            statistics in statistics_policy(),
        ) {
            let mut registry = Registry::new(defaults.on(Policy::default()));
            for rule in rules {
                let _ = registry.add(rule);
            }
            let agent = agent.on(AgentPolicy::default());
            let link = link.on(LinkPolicy::default());
            let config =
                Config { home, registry, agent, oldest_tls, websocket, link, log, statistics };
            assert_same(&read(&config.to_string()), &config);
        }
    }
}
