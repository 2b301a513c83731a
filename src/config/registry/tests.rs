use super::*;

fn port(name: &str, kind: Option<u8>) -> Rule {
    let selector = Selector::Port(name.to_owned());
    Rule { selector, kind, name: None, policy: PolicyChange::default() }
}

fn subtype(name: &str, kind: Option<u8>) -> Rule {
    Rule { selector: Selector::Subtype(name.to_owned()), ..port("x", kind) }
}

fn named(rule: Rule, name: &str) -> Rule {
    Rule { name: Some(name.to_owned()), ..rule }
}

fn registry(rules: impl IntoIterator<Item = Rule>) -> Registry {
    let mut registry = Registry::default();
    for rule in rules {
        registry.add(rule).expect("a good rule");
    }
    registry
}

fn kind_of(registry: &Registry, port_name: &str) -> Option<u8> {
    registry.channel_for(b"port", Some(port_name.as_bytes())).map(|service| service.kind)
}

#[test]
fn without_rules_upstreams_table_holds() {
    let registry = Registry::default();
    assert_eq!(registry.channel_for(b"usbredir", None).map(|s| s.kind), Some(9));
    assert_eq!(kind_of(&registry, "org.spice-space.fs.0"), Some(10));
    assert_eq!(kind_of(&registry, "org.spice-space.webdav.0"), Some(11));
    assert_eq!(kind_of(&registry, "org.spice-space.stream.0"), None);
    assert_eq!(registry.channel_for(b"port", None), None);
    assert_eq!(registry.channel_for(b"vdagent", None), None);
    assert_eq!(registry.channel_for(b"Port", Some(b"x")), None, "case counts");
    let port = registry.channel_for(b"port", Some(b"x")).expect("a port");
    assert_eq!((&*port.name, port.policy), ("port", Policy::default()));
}

#[test]
fn the_exact_name_wins_then_the_longest_beginning() {
    let registry = registry([
        port("*", Some(100)),
        port("org.example.*", Some(101)),
        port("org.example.a.*", Some(102)),
        port("org.example.a.b", Some(103)),
    ]);
    assert_eq!(kind_of(&registry, "org.example.a.b"), Some(103));
    assert_eq!(kind_of(&registry, "org.example.a.c"), Some(102));
    assert_eq!(kind_of(&registry, "org.example.c"), Some(101));
    assert_eq!(kind_of(&registry, "com.example"), Some(100));
    assert_eq!(kind_of(&registry, "org.spice-space.webdav.0"), Some(11), "named exactly by us");
    assert_eq!(kind_of(&registry, "org.spice-space.stream.0"), None);
}

#[test]
fn a_rule_may_change_no_more_than_the_policy() {
    let change = PolicyChange { busy: Some(Busy::TakeOver), ..PolicyChange::default() };
    let registry = registry([
        Rule { policy: change, ..port("org.spice-space.webdav.0", None) },
        Rule { policy: change, ..subtype("usbredir", None) },
    ]);
    for (kind, service) in [
        (11, registry.channel_for(b"port", Some(b"org.spice-space.webdav.0"))),
        (9, registry.channel_for(b"usbredir", None)),
    ] {
        let service = service.expect("served");
        assert_eq!(service.kind, kind);
        assert_eq!(service.policy, Policy { busy: Busy::TakeOver, ..Policy::default() });
    }
    assert_eq!(registry.subtypes().count(), 0, "usbredir is upstream's");
}

#[test]
fn new_subtypes_and_names_are_known() {
    let registry = registry([
        named(subtype("camera", Some(120)), "camera"),
        named(port("org.spice-space.fs.0", Some(100)), "fs"),
    ]);
    assert_eq!(registry.subtypes().collect::<Vec<_>>(), ["camera"]);
    assert_eq!(registry.channel_for(b"camera", None).map(|s| s.kind), Some(120));
    assert_eq!(registry.type_named(b"fs"), Some(100));
    assert_eq!(registry.type_named(b"webdav"), Some(11));
    assert_eq!(registry.type_named(b"Main"), None);
    assert_eq!(registry.type_named(b""), None);
    assert_eq!(&*registry.channel_of_type(120).name, "camera");
    assert_eq!(&*registry.channel_of_type(77).name, "channel-77");
}

#[test]
fn one_type_has_one_name() {
    let mut registry = registry([named(port("a", Some(100)), "fs")]);
    let add = |registry: &mut Registry, rule| registry.add(rule).map_err(|e| e.to_string());
    assert_eq!(add(&mut registry, port("b", Some(100))), Ok(()));
    assert_eq!(&*registry.channel_for(b"port", Some(b"b")).expect("a port").name, "fs");
    let taken = |name: &str, kind| RuleError::NameTaken { name: name.to_owned(), kind };
    let renamed = RuleError::TypeNamed { kind: 100, name: "fs".to_owned() };
    assert_eq!(registry.add(named(port("c", Some(100)), "other")), Err(renamed));
    assert_eq!(registry.add(named(port("c", Some(101)), "fs")), Err(taken("fs", 100)));
    assert_eq!(registry.add(named(port("c", Some(101)), "main")), Err(taken("main", 1)));
    assert_eq!(
        registry.add(named(port("c", Some(10)), "mine")),
        Err(RuleError::TypeNamed { kind: 10, name: "port".to_owned() })
    );
    let rule = named(port("c", Some(101)), "channel-102");
    assert_eq!(registry.add(rule), Err(taken("channel-102", 102)), "the name without a name");
    registry.add(named(port("c", Some(101)), "channel-101")).expect("its own");
}

#[test]
fn what_is_reserved_or_wrong_is_refused() {
    let mut registry = registry([port("a", None)]);
    let mut error = |rule| registry.add(rule).expect_err("refused");
    for kind in 0..10 {
        assert_eq!(error(port("b", Some(kind))), RuleError::ReservedType(kind));
        assert_eq!(error(subtype("b", Some(kind))), RuleError::ReservedType(kind));
    }
    assert_eq!(error(subtype("b", Some(10))), RuleError::ReservedType(10));
    assert!(matches!(error(subtype("b", None)), RuleError::NoType(_)));
    assert!(matches!(error(port("a", Some(100))), RuleError::Duplicate(_)));
    for name in ["vdagent", "smartcard", "port"] {
        assert!(matches!(error(subtype(name, Some(100))), RuleError::ReservedDevice(_)));
    }
    assert!(matches!(error(port(STREAM_PORT, None)), RuleError::ReservedDevice(_)));
    for name in ["", "a b", "a*b", "**"] {
        assert!(matches!(error(port(name, None)), RuleError::BadSelector(_)), "{name:?}");
    }
    assert!(matches!(error(subtype("cam*", Some(100))), RuleError::BadSelector(_)));
    for name in ["", "Fs", "a b", &"x".repeat(33)] {
        let rule = named(port("b", Some(100)), name);
        assert_eq!(error(rule), RuleError::BadName(name.to_owned()));
    }
}

#[test]
fn the_table_has_a_bound() {
    let mut registry = Registry::default();
    for number in 0..limits::CHANNEL_RULES {
        registry.add(port(&format!("p{number}"), None)).expect("room");
    }
    assert_eq!(registry.add(port("more", None)), Err(RuleError::TooMany));
}
