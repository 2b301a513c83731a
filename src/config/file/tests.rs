//! The whole file: each key, each error with its line, which section wins.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::agent::{AgentPolicy, Clipboard, Files};
use crate::config::home::HomeKind;
use crate::config::link::LinkPolicy;
use crate::config::log::{Form, LogPolicy};
use crate::config::registry::{Busy, Service};
use crate::config::statistics::{SocketPath, StatisticsPolicy};
use crate::config::tls::TlsVersion;
use crate::config::websocket::{Origin, Origins, WebSocketPolicy};
use crate::log::{Categories, Category, Level};

fn parse(text: &str) -> File {
    File::parse(Path::new("f"), text)
}

/// Without the path in front.
fn texts(problems: &[Problem]) -> Vec<String> {
    let text = |problem: &Problem| problem.to_string().replacen("f:", "", 1);
    problems.iter().map(text).collect()
}

fn problems(text: &str) -> Vec<String> {
    texts(parse(text).problems())
}

/// The settings of a machine, from a file in which nothing is wrong.
fn config(text: &str, name: &str) -> Config {
    let file = parse(text);
    assert_eq!(problems(text), [""; 0]);
    let (config, problems) = file.config(Some(name.as_bytes()), None);
    assert_eq!(texts(&problems), [""; 0]);
    config
}

fn port(config: &Config, name: &str) -> Service {
    config.registry.channel_for(b"port", Some(name.as_bytes())).expect("a port")
}

/// Rules as `port a 100 fs`.
fn rules(config: &Config) -> Vec<String> {
    let rules = config.registry.rules();
    rules.map(|(selector, own)| format!("{selector} {} {}", own.kind, own.name)).collect()
}

#[test]
fn an_empty_file_is_no_file() {
    for text in ["", "\n", "# text", "[io]\n[channels]\n", "vm = []\nchannel = []\n"] {
        let config = config(text, "any");
        assert_eq!(config.home, None);
        assert_eq!(config.registry.defaults(), Policy::default());
        assert_eq!(config.registry.rules().count(), 0);
    }
}

#[test]
fn each_key_is_read() {
    let text = "\
io = { home = 'thread' }
[channels]
compression = false
busy = 'take-over'
idle-timeout = 90
[[channel]]
port = 'org.example.*'
[[channel]]
subtype = 'camera'
type = 100
name = 'cam'
compression = true
busy = 'refuse'
idle-timeout = 0
";
    let config = config(text, "any");
    assert_eq!(config.home, Some(HomeKind::Thread));
    let policy = Policy { compression: false, busy: Busy::TakeOver, idle: Duration::from_secs(90) };
    assert_eq!(config.registry.defaults(), policy);
    assert_eq!(rules(&config), ["port org.example.* 10 port", "subtype camera 100 cam"]);
    assert_eq!(port(&config, "org.example.x").policy, policy);
    let camera = config.registry.channel_for(b"camera", None).expect("a channel");
    assert_eq!(camera.policy, Policy::default());
}

#[test]
fn what_may_pass_to_and_from_the_agent() {
    let text = "\
[clipboard]
direction = 'to-client'
max-size = 1_000
[file-transfer]
direction = 'off'
[audit]
log = true
[[vm]]
name = 'open'
[vm.clipboard]
max-size = 0
[vm.file-transfer]
direction = 'to-guest'
max-size = 0x10
";
    let files = Files { to_guest: false, max_size: None };
    let clipboard = Clipboard { to_guest: false, to_client: true, max_size: Some(1000) };
    let all = AgentPolicy { clipboard, files, audit: true };
    assert_eq!(config(text, "any").agent, all);
    let clipboard = Clipboard { max_size: None, ..clipboard };
    let files = Files { to_guest: true, max_size: Some(16) };
    assert_eq!(config(text, "open").agent, AgentPolicy { clipboard, files, audit: true });
}

#[test]
fn what_links_may_cost() {
    let text = "\
[link]
deadline = 3
pending = 20
pending-per-address = 4
free-failures = 0
longest-delay = 0
[[vm]]
name = 'open'
[vm.link]
deadline = 3600
pending = 4096
";
    let (second, zero) = (Duration::from_secs(1), Duration::ZERO);
    let all = LinkPolicy {
        deadline: 3 * second,
        pending: 20,
        pending_per_address: 4,
        free_failures: 0,
        longest_delay: zero,
    };
    assert_eq!(config(text, "any").link, all);
    let open = LinkPolicy { deadline: 3600 * second, pending: 4096, ..all };
    assert_eq!(config(text, "open").link, open);
    let wrong = "\
[link]
deadline = 0
pending = 4097
pending-per-address = -1
free-failures = 1001
longest-delay = 61
";
    let found = [
        "2: link.deadline: expected whole seconds from 1 to 3600, found 0",
        "3: link.pending: expected a number from 1 to 4096, found 4097",
        "4: link.pending-per-address: expected a number from 1 to 4096, found -1",
        "5: link.free-failures: expected a number from 0 to 1000, found 1001",
        "6: link.longest-delay: expected whole seconds from 0 to 60, found 61",
    ];
    assert_eq!(problems(wrong), found);
    assert_eq!(parse(wrong).config(None, None).0.link, LinkPolicy::default());
}

#[test]
fn what_is_logged() {
    let text = "\
[log]
level = 'info'
categories = ['connection', 'audit']
[[vm]]
name = 'open'
[vm.log]
level = 'debug'
form = 'json'
[[vm]]
name = 'all'
[vm.log]
categories = ['*']
";
    let categories = Categories::only([Category::Audit, Category::Connection]);
    let any = LogPolicy { level: Level::Info, categories, form: Form::Text };
    assert_eq!(config(text, "any").log, any);
    let open = LogPolicy { level: Level::Debug, form: Form::Json, ..any };
    assert_eq!(config(text, "open").log, open);
    let all = LogPolicy { categories: Categories::ALL, ..any };
    assert_eq!(config(text, "all").log, all);
    let wrong = "\
[log]
level = 'loud'
categories = ['connection', 'agents']
form = 'xml'
";
    let found = [
        "2: log.level: expected \"warning\", \"message\", \"info\" or \"debug\", found \"loud\"",
        "3: log.categories: expected a list of categories (\"connection\", \"channel\", \"device\", \
         \"agent\", \"display\", \"sound\", \"tls\", \"configuration\", \"api\", \"audit\", \
         \"internal\"), or [\"*\"], found an array",
        "4: log.form: expected \"text\" or \"json\", found \"xml\"",
    ];
    assert_eq!(problems(wrong), found);
    assert_eq!(parse(wrong).config(None, None).0.log, LogPolicy::default());
}

#[test]
fn clipboard_directions() {
    let directions = |value: &str| {
        let policy = config(&format!("clipboard = {{ direction = '{value}' }}"), "any").agent;
        (policy.clipboard.to_guest, policy.clipboard.to_client)
    };
    assert_eq!(directions("both"), (true, true));
    assert_eq!(directions("to-guest"), (true, false));
    assert_eq!(directions("to-client"), (false, true));
    assert_eq!(directions("off"), (false, false));
}

#[test]
fn what_is_wrong_about_the_agent_is_left_out() {
    let text = "\
[clipboard]
direction = 'none'
max-size = -1
size = 1
[file-transfer]
direction = 'both'
max-size = 1099511627777
[audit]
log = 'yes'
";
    let expected = [
        r#"2: clipboard.direction: expected "both", "to-guest", "to-client" or "off", found "none""#,
        "3: clipboard.max-size: expected whole bytes, 0 to 1099511627776, found -1",
        "4: clipboard.size: there is no such key",
        r#"6: file-transfer.direction: expected "to-guest" or "off", found "both""#,
        "7: file-transfer.max-size: expected whole bytes, 0 to 1099511627776, found 1099511627777",
        r#"9: audit.log: expected true or false, found "yes""#,
    ];
    assert_eq!(problems(text), expected);
    assert_eq!(parse(text).config(None, None).0.agent, AgentPolicy::default());
}

#[test]
fn a_version_of_tls_is_one_of_four() {
    let oldest =
        |value: &str| config(&format!("[tls]\nmin-version = \"{value}\"\n"), "any").oldest_tls;
    assert_eq!(oldest("1.0"), TlsVersion::Tls10);
    assert_eq!(oldest("1.1"), TlsVersion::Tls11);
    assert_eq!(oldest("1.2"), TlsVersion::default());
    assert_eq!(oldest("1.3"), TlsVersion::Tls13);
    assert_eq!(
        problems("[tls]\nmin-version = 1.2\n"),
        [r#"2: tls.min-version: expected "1.0", "1.1", "1.2" or "1.3", found a float"#]
    );
}

#[test]
fn websockets_are_for_all_or_for_a_list_of_pages() {
    let text = "\
[websocket]
origins = ['https://Example.org:443', 'http://[::1]:8080']
[[vm]]
name = 'none'
[vm.websocket]
enabled = false
[[vm]]
name = 'open'
[vm.websocket]
origins = ['*']
[[vm]]
name = 'programs'
[vm.websocket]
origins = []
";
    let policy = |name: &str| config(text, name).websocket;
    let list = |origins: &[&str]| {
        let list = origins.iter().map(|origin| Origin::from_text(origin).expect("good"));
        Origins::Only(list.collect())
    };
    let some = list(&["https://example.org", "http://[::1]:8080"]);
    assert_eq!(policy("any"), WebSocketPolicy { enabled: true, origins: some.clone() });
    assert_eq!(policy("none"), WebSocketPolicy { enabled: false, origins: some });
    assert_eq!(policy("open"), WebSocketPolicy::default());
    assert_eq!(policy("programs"), WebSocketPolicy { enabled: true, origins: list(&[]) });
    assert_eq!(config("", "any").websocket, WebSocketPolicy::default());
}

#[test]
fn statistics_are_read_where_the_last_section_says() {
    let text = "\
[statistics]
socket = '/run/spice-server/{name}.socket'
[[vm]]
name = 'quiet'
statistics.socket = ''
[[vm]]
name = 'old'
statistics.shared-memory = true
";
    let policy = |name| config(text, name).statistics;
    let socket = SocketPath::from_text("/run/spice-server/{name}.socket");
    let all = StatisticsPolicy { socket: socket.clone(), shared_memory: false };
    assert_eq!(policy("any"), all);
    assert_eq!(policy("quiet"), StatisticsPolicy::default());
    assert_eq!(policy("old"), StatisticsPolicy { socket, shared_memory: true });
    for value in ["'run/a'", "'/run/{vm}'", "1"] {
        let found = problems(&format!("[statistics]\nsocket = {value}\n"));
        let expected = "2: statistics.socket: expected an absolute path, in which {name}, \
            {uuid} and {pid} stand for the machine's, or \"\", found ";
        assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
    }
}

#[test]
fn a_list_of_pages_with_a_slip_admits_none() {
    let expected = "websocket.origins: expected origins as browsers write them, such as \
        [\"https://example.org\"], or [\"*\"], found";
    for (value, found) in [
        ("'https://example.org'", "\"https://example.org\""),
        ("['https://example.org/']", "an array"),
        ("['*', 'https://example.org']", "an array"),
        ("['https://*.example.org']", "an array"),
        ("['https://example.org', 1]", "an array"),
    ] {
        let text = format!("[websocket]\norigins = {value}\nenabled = 0\n");
        let enabled = "3: websocket.enabled: expected true or false, found 0".to_owned();
        assert_eq!(problems(&text), [format!("2: {expected} {found}"), enabled]);
        let nobody = WebSocketPolicy { enabled: true, origins: Origins::Only([].into()) };
        assert_eq!(parse(&text).config(None, None).0.websocket, nobody);
    }
}

#[test]
fn a_home_is_one_of_three() {
    let home = |value: &str| config(&format!("[io]\nhome = \"{value}\"\n"), "any").home;
    assert_eq!(home("main"), Some(HomeKind::Main));
    assert_eq!(home("thread"), Some(HomeKind::Thread));
    assert_eq!(home("auto"), None);
}

#[test]
fn a_wrong_value_has_line_and_key_and_is_left_out() {
    let text = "\
[io]
home = 'worker'
[channels]
compression = 1
busy = 'kick'
idle-timeout = 86401
[[vm]]
name = 'a'
[vm.channels]
idle-timeout = -1
busy = 'take-over'
";
    assert_eq!(
        problems(text),
        [
            r#"2: io.home: expected "main", "thread" or "auto", found "worker""#,
            "4: channels.compression: expected true or false, found 1",
            r#"5: channels.busy: expected "refuse" or "take-over", found "kick""#,
            "6: channels.idle-timeout: expected whole seconds from 0 to 86400, found 86401",
            "10: vm[1].channels.idle-timeout: expected whole seconds from 0 to 86400, found -1",
        ]
    );
    let (config, problems) = parse(text).config(Some(b"a"), None);
    assert_eq!(texts(&problems), [""; 0]);
    assert_eq!(config.home, None);
    let policy = Policy { busy: Busy::TakeOver, ..Policy::default() };
    assert_eq!(config.registry.defaults(), policy, "what is right applies");
}

#[test]
fn unknown_keys_are_told_and_change_nothing() {
    let text = "\
hom = 'main'
[channels]
busi = 'refuse'
[[channel]]
port = 'a'
typ = 12
[chanel]
[[vm]]
name = 'a'
uid = 'x'
[[vm.channel]]
port = 'b'
compressed = true
";
    assert_eq!(
        problems(text),
        [
            "1: hom: there is no such key",
            "3: channels.busi: there is no such key; did you mean busy?",
            "6: channel[1].typ: there is no such key; did you mean type?",
            "7: chanel: there is no such key; did you mean channel?",
            "10: vm[1].uid: there is no such key; did you mean uuid?",
            "13: vm[1].channel[1].compressed: there is no such key",
        ]
    );
    let (config, _) = parse(text).config(Some(b"a"), None);
    assert_eq!(rules(&config), ["port a 10 port", "port b 10 port"]);
}

#[test]
fn a_rules_error_stands_at_its_key() {
    for (rule, problem) in [
        ("type = 9\nport = 'a'", "2: channel[1].type: channel type 9 is reserved"),
        ("port = 'a'\ntype = 256", "3: channel[1].type: expected a channel type, 10 to 255"),
        ("port = 'a'\ntype = 'x'", "3: channel[1].type: expected a channel type"),
        ("port = 'a b'", "2: channel[1].port: \"a b\" is no name"),
        ("\nsubtype = 'a*'\ntype = 99", "3: channel[1].subtype: \"a*\" is no name"),
        ("type = 99\nsubtype = 'vdagent'", "3: channel[1].subtype: subtype vdagent is reserved"),
        ("port = 'a'\ntype = 99\nname = 'A'", "4: channel[1].name: \"A\" is no channel name"),
        ("port = 'a'\ntype = 99\nname = 'main'", "4: channel[1].name: the channel name main"),
        ("port = 'a'\nname = 'mine'", "3: channel[1].name: channel type 10 is named port"),
        ("\nsubtype = 'a'", "1: channel[1]: subtype a needs a channel type"),
        ("type = 99", "1: channel[1]: a rule has either port or subtype, there is neither"),
        (
            "type = 99\nsubtype = 'a'\nport = 'a'",
            "1: channel[1]: a rule has either port or subtype, there are both",
        ),
        ("port = 1", "2: channel[1].port: expected the name of a port, found 1"),
        ("subtype = []", "2: channel[1].subtype: expected the name of a subtype, found an array"),
        ("port = 'a'\nname = 1", "3: channel[1].name: expected the name of a channel, found 1"),
        ("port = 'a'\nbusy = 'x'", "3: channel[1].busy: expected"),
        ("port = 'a'\nidle-timeout = 1.5", "3: channel[1].idle-timeout: expected"),
        ("port = 'a'\ncompression = 'no'", "3: channel[1].compression: expected"),
    ] {
        let text = format!("[[channel]]\n{rule}\n[[channel]]\nport = 'good'\n");
        let seen = problems(&text);
        assert!(seen.len() == 1 && seen[0].starts_with(problem), "{text}\n{seen:?}");
        let (config, _) = parse(&text).config(None, None);
        assert_eq!(rules(&config), ["port good 10 port"], "{text}");
    }
}

#[test]
fn two_rules_for_one_device_are_one_too_many() {
    let text = "\
[[channel]]
port = 'a'
type = 12
[[channel]]
port = 'a'
[[vm]]
name = '*'
[[vm.channel]]
port = 'a'
type = 13
[[vm.channel]]
type = 14
port = 'a'
";
    let expected = [
        "5: channel[2].port: there is a rule for port a already",
        "13: vm[1].channel[2].port: there is a rule for port a already",
    ];
    assert_eq!(problems(text), expected);
    let (config, _) = parse(text).config(None, None);
    assert_eq!(rules(&config), ["port a 12 channel-12"]);
    let (config, _) = parse(text).config(Some(b"x"), None);
    assert_eq!(rules(&config), ["port a 13 channel-13"]);
}

#[test]
fn too_many_rules_are_told_at_their_header() {
    let rules = (0..=limits::CHANNEL_RULES).map(|n| format!("[[channel]]\nport = 'p{n}'\n"));
    let mut text: String = rules.collect();
    assert_eq!(problems(&text), ["513: channel[257]: there are 256 rules already"]);
    text += "[[vm]]\nname = 'a'\n[[vm.channel]]\nport = 'q'\n[[vm.channel]]\nport = 'p7'\n";
    let (config, problems) = parse(&text).config(Some(b"a"), None);
    assert_eq!(config.registry.rules().count(), limits::CHANNEL_RULES);
    assert_eq!(texts(&problems), ["517: vm[1].channel[1]: there are 256 rules already"]);
    assert!(!config.registry.has(&Selector::Port("q".to_owned())));
    assert!(config.registry.has(&Selector::Port("p7".to_owned())), "in the common one's place");
}

#[test]
fn what_is_a_table_has_to_be_one() {
    let text = "io = 1\nchannels = []\nvm = 'x'\n[channel]\nport = 'a'\n";
    assert_eq!(
        problems(text),
        [
            "1: io: expected a table, as [io] begins one",
            "2: channels: expected a table, as [channels] begins one",
            "3: vm: expected tables, each begun by [[vm]]",
            "4: channel: expected tables, each begun by [[channel]]",
        ]
    );
    let text = "vm = [\n  { name = 'a', io = 1, channel = 2 },\n  3,\n]\n";
    assert_eq!(
        problems(text),
        [
            "2: vm[1].io: expected a table, as [vm.io] begins one",
            "2: vm[1].channel: expected tables, each begun by [[vm.channel]]",
            "3: vm[2]: expected tables, each begun by [[vm]]",
        ]
    );
}

#[test]
fn a_section_for_nobody_is_left_out() {
    for (keys, problem) in [
        ("\n\n", "1: vm[1]: a name or a UUID has to say which machines it is for"),
        ("\nname = ''\n", "3: vm[1].name: expected the name of a virtual machine"),
        ("\nname = 'a*b'\n", "3: vm[1].name: expected the name of a virtual machine"),
        ("name = 'a'\nuuid = 'a'\n", "3: vm[1].uuid: expected a UUID, found \"a\""),
        ("uuid = '00112233-4455-6677-8899-aabbccddeeff'\nname = 1\n", "3: vm[1].name: expected"),
    ] {
        let text = format!("[[vm]]\n{keys}[vm.io]\nhome = 'thread'\nx = 1\n");
        let seen = problems(&text);
        assert!(seen.len() == 2 && seen[0].starts_with(problem), "{seen:?}");
        assert_eq!(seen[1], "6: vm[1].io.x: there is no such key");
        let uuid = uuid("00112233445566778899aabbccddeeff");
        let (config, _) = parse(&text).config(Some(b"a"), uuid.as_ref());
        assert_eq!(config.home, None);
    }
}

#[test]
fn later_sections_win_key_by_key() {
    let text = "\
[[vm]]
name = 'win-*'
[vm.io]
home = 'thread'
[vm.channels]
busy = 'take-over'
idle-timeout = 60
[[vm]]
uuid = '00112233-4455-6677-8899-AABBCCDDEEFF'
io.home = 'auto'
channels = { idle-timeout = 120 }
[io]
home = 'main'
[channels]
compression = false
idle-timeout = 30
";
    let file = parse(text);
    assert_eq!(problems(text), [""; 0]);
    let uuid = uuid("00112233445566778899aabbccddeeff");
    let policy = |busy, seconds| {
        let idle = Duration::from_secs(seconds);
        Policy { compression: false, busy, idle }
    };
    for (name, uuid, home, expected) in [
        (None, None, Some(HomeKind::Main), policy(Busy::Refuse, 30)),
        (Some(&b"win-1"[..]), None, Some(HomeKind::Thread), policy(Busy::TakeOver, 60)),
        (Some(b"win-1"), uuid.as_ref(), None, policy(Busy::TakeOver, 120)),
        (Some(b"lin-1"), uuid.as_ref(), None, policy(Busy::Refuse, 120)),
    ] {
        let (config, problems) = file.config(name, uuid);
        assert_eq!(texts(&problems), [""; 0]);
        assert_eq!((config.home, config.registry.defaults()), (home, expected), "{name:?}");
    }
}

#[test]
fn a_machines_rule_takes_the_place_of_the_common_one() {
    let text = "\
[[channel]]
port = 'a'
type = 100
name = 'fs'
busy = 'take-over'
[[channel]]
port = 'b'
[[vm]]
name = 'x*'
[[vm.channel]]
port = 'a'
type = 101
name = 'fs'
[[vm]]
name = 'xy'
[[vm.channel]]
port = 'a'
type = 102
";
    let of = |name| rules(&config(text, name));
    assert_eq!(of("other"), ["port a 100 fs", "port b 10 port"]);
    assert_eq!(of("x"), ["port b 10 port", "port a 101 fs"]);
    assert_eq!(of("xy"), ["port b 10 port", "port a 102 channel-102"]);
    assert_eq!(port(&config(text, "x"), "a").policy.busy, Busy::Refuse, "the whole rule");
}

#[test]
fn a_clash_of_sections_is_told_for_the_machine() {
    let text = "\
[[channel]]
port = 'a'
type = 100
name = 'fs'
[[channel]]
port = 'b'
type = 101
[[vm]]
name = 'x'
[[vm.channel]]
port = 'b'
type = 102
name = 'fs'
[[vm.channel]]
port = 'c'
type = 100
name = 'mine'
";
    assert_eq!(problems(text), [""; 0]);
    let (config, problems) = parse(text).config(Some(b"x"), None);
    assert_eq!(
        texts(&problems),
        [
            "13: vm[1].channel[1].name: the channel name fs belongs to type 100",
            "17: vm[1].channel[2].name: channel type 100 is named fs already",
        ]
    );
    assert_eq!(rules(&config), ["port a 100 fs", "port b 101 channel-101"], "the common rule");
}

#[test]
fn any_section_may_name_a_channel() {
    let text = "\
[[channel]]
port = 'a'
type = 100
name = 'fs'
[[vm]]
name = 'x'
[[vm.channel]]
subtype = 'camera'
type = 101
[[vm.channel]]
subtype = 'wrong'
type = 1
name = 'wrong'
";
    let file = parse(text);
    assert!(file.names_channel(b"fs") && file.names_channel(b"channel-101"));
    for name in [&b"wrong"[..], b"channel-100", b"main", b"", b"FS"] {
        assert!(!file.names_channel(name));
    }
}

#[test]
fn a_section_with_an_error_of_syntax_has_the_defaults() {
    let text = "\
[io]
home = 'thread'
[channels]
compression = false
busy = take-over
[[channel]]
port = 'a'
port = 'b'
[[channel]]
port = 'c'
[[vm]]
name = 'x
[vm.io]
home = 'main'
[[vm]]
name = 'y'
[vm.io]
home = auto
[vm.channels]
idle-timeout = 10
[[vm.channel]]
port = 'd'
[io]
home = 'main'
";
    let seen = problems(text);
    assert_eq!(seen.len(), 5, "{seen:?}");
    assert!(seen[0].starts_with("5: "), "{}", seen[0]);
    assert_eq!(seen[1], "8: channel[1].port: there is one already");
    assert!(seen[2].starts_with("12: ") && seen[3].starts_with("18: "), "{seen:?}");
    assert_eq!(seen[4], "23: io: there is one already");
    let file = parse(text);
    let (config, _) = file.config(Some(b"x"), None);
    assert_eq!(config.home, Some(HomeKind::Thread), "nobody knows whose the section was");
    assert_eq!(config.registry.defaults(), Policy::default());
    assert_eq!(rules(&config), ["port c 10 port"]);
    let (config, _) = file.config(Some(b"y"), None);
    assert_eq!(config.home, Some(HomeKind::Thread));
    assert_eq!(config.registry.defaults().idle, Duration::from_secs(10));
    assert_eq!(rules(&config), ["port c 10 port", "port d 10 port"]);
}

#[test]
fn other_bytes_than_utf8_are_an_error_of_syntax() {
    let bytes = b"[io]\nhome = 'thread'\n[channels]\n# \xff\nbusy = 'take-over'\n# \xfe\n";
    let file = File::parse_bytes(Path::new("f"), bytes);
    let seen = texts(file.problems());
    assert_eq!(seen[0], "4: not UTF-8");
    assert!(seen.len() == 2 && seen[1].starts_with("6: "), "{seen:?}");
    let (config, _) = file.config(None, None);
    assert_eq!(config.home, Some(HomeKind::Thread));
    assert_eq!(config.registry.defaults(), Policy::default());
}

#[test]
fn the_variable_says_where_the_file_is() {
    assert_eq!(path_from(None), Path::new(PATH));
    assert_eq!(path_from(Some("".into())), Path::new(PATH));
    assert_eq!(path_from(Some("/x".into())), Path::new("/x"));
}

#[test]
fn only_a_file_of_moderate_size_is_read() {
    let place = std::env::temp_dir().join(format!("spice-server-config-{}", std::process::id()));
    std::fs::create_dir(&place).expect("a directory");
    let path = place.join("config.toml");
    let read = || File::read(&path);
    let absent = read().expect_err("nothing there");
    assert!(absent.is_ordinary(), "{absent}");
    assert!(File::read(&path.join("x")).expect_err("nothing there").is_ordinary());
    assert!(matches!(File::read(&place), Err(ReadError::NotAFile)), "a directory");
    assert!(matches!(File::read(Path::new("/dev/null")), Err(ReadError::NotAFile)));
    let size = limits::CONFIG_FILE as usize;
    std::fs::write(&path, "#".repeat(size)).expect("written");
    assert!(read().expect("just small enough").problems().is_empty());
    std::fs::write(&path, "#".repeat(size + 1)).expect("written");
    assert!(matches!(read(), Err(ReadError::TooLarge)));
    let socket = place.join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    assert!(!File::read(&socket).expect_err("no file").is_ordinary());
    let fifo = place.join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo");
    assert!(made.success());
    assert!(matches!(File::read(&fifo), Err(ReadError::NotAFile)), "a pipe without a writer");
    std::fs::remove_dir_all(&place).expect("removed");
}

#[test]
fn the_example_changes_nothing_as_it_stands() {
    let as_it_stands = config(EXAMPLE, "win10-1").to_string();
    assert_eq!(as_it_stands, Config::default().to_string());
    assert!(EXAMPLE.lines().all(|line| line.is_empty() || line.starts_with('#')));
}

#[test]
fn the_example_is_right_and_has_the_defaults() {
    // Text has a blank behind its `#`, settings have none.
    let setting = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
        _ => "\n".to_owned(),
    };
    let text: String = EXAMPLE.lines().map(setting).collect();
    let common = config(&text, "other");
    assert_eq!(common.home, None);
    assert_eq!(common.registry.defaults(), Policy::default());
    assert_eq!(rules(&common), ["port org.spice-space.fs.0 100 fs", "subtype camera 101 camera"]);
    let name = Some(&b"win10-1"[..]);
    let (own, problems) =
        parse(&text).config(name, uuid("00112233445566778899aabbccddeeff").as_ref());
    assert_eq!(texts(&problems), [""; 0]);
    assert_eq!(rules(&own), ["subtype camera 101 camera", "port org.spice-space.fs.0 102 fs-win"]);
    let keys = ["home", "compression", "busy", "idle-timeout", "port", "subtype", "type", "name"];
    for key in keys.into_iter().chain(["uuid", "[io]", "[channels]", "[[channel]]", "[[vm]]"]) {
        assert!(EXAMPLE.lines().any(|line| line.starts_with(&format!("#{key}"))), "{key}");
    }
}

/// Lines that belong into a file, so that nonsense comes in the right places.
fn lines() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        8 => prop::sample::select(vec![
            "[io]", "[channels]", "[[channel]]", "[[vm]]", "[vm.io]", "[vm.channels]",
            "[[vm.channel]]", "[vm]", "[vm.channel]", "home = 'main'", "home = 'thread'",
            "io.home = 'auto'", "compression = true", "compression = yes", "busy = 'take-over'",
            "idle-timeout = 7", "idle-timeout = 99999999999", "port = 'a'", "port = 'b*'",
            "subtype = 'camera'", "type = 100", "type = 9", "type = 101", "name = 'a'",
            "name = 'a*'", "name = 'fs'", "name = 'x", "x = [", "]", "x = {", "}", "'''", "\"\"\"",
            "x = '''", "channel = [{ port = 'z', type = 200 }]", "# text", "", "= 1", "oops",
            "uuid = '00112233445566778899aabbccddeeff'", "[[vm", "vm.name = 'a'", "\u{feff}", "\r",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,12}",
    ];
    prop::collection::vec(line, 0..40).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn any_text_is_understood_or_refused(text in prop_oneof![lines(), ".{0,200}", "\\PC*"]) {
        let file = parse(&text);
        let uuid = uuid("00112233445566778899aabbccddeeff");
        let (_, more) = file.config(Some(b"a"), uuid.as_ref());
        let last = text.lines().count().max(1);
        for problem in file.problems().iter().chain(&more) {
            prop_assert!((1..=last).contains(&problem.line()), "{problem}: {last} lines");
            prop_assert!(!problem.to_string().contains('\n'));
        }
        file.names_channel(b"fs");
    }

    #[test]
    fn any_bytes_are_understood_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        File::parse_bytes(Path::new("f"), &bytes).config(None, None);
    }
}
