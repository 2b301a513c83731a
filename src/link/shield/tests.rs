//! Floods in memory.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::config::limits;

fn source(text: &str) -> Source {
    Source::of(Some(text.parse::<IpAddr>().expect("an address")))
}

fn policy(pending: usize, pending_per_address: usize) -> LinkPolicy {
    LinkPolicy { pending, pending_per_address, ..LinkPolicy::default() }
}

/// A link begins; who has had to go for it.
fn enter(shield: &mut Shield, id: LinkId, source: Source) -> Option<(LinkId, LinkEvent)> {
    let victim = shield.victim_for(source);
    if let Some((id, _)) = victim {
        shield.leave(id);
    }
    shield.enter(id, source);
    victim
}

/// Its bytes; who has had to go for them.
fn hold(shield: &mut Shield, id: LinkId, bytes: usize) -> Vec<LinkId> {
    shield.advance(id, Stage::Asked, bytes);
    let mut gone = Vec::new();
    while let Some(heavy) = shield.too_heavy() {
        shield.leave(heavy);
        gone.push(heavy);
    }
    gone
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[test]
fn sources_are_what_one_person_has() {
    assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
    assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    assert_eq!(source("2001:db8:1:2::3"), source("2001:db8:1:2:ffff::"));
    assert_ne!(source("2001:db8:1:2::3"), source("2001:db8:1:3::3"));
    assert_eq!(source("2001:db8:1:2::3").to_string(), "2001:db8:1:2::/64");
    assert_eq!(Source::of(None), Source::Local);
}

#[test]
fn the_oldest_of_those_who_are_as_far_as_most_makes_way() {
    let mut shield = Shield::new(policy(100, 4));
    let from = source("192.0.2.1");
    for id in 1..=4 {
        assert_eq!(enter(&mut shield, id, from), None);
    }
    shield.advance(1, Stage::Asked, 0);
    shield.advance(2, Stage::Speaking, 0);
    assert_eq!(enter(&mut shield, 5, from), Some((3, LinkEvent::TooManyOfAddress)));
    shield.advance(4, Stage::Asked, 0);
    shield.advance(5, Stage::Asked, 0);
    assert_eq!(enter(&mut shield, 6, from), Some((1, LinkEvent::TooManyOfAddress)));
    // As many silent ones as others: those who say least.
    shield.advance(4, Stage::Speaking, 0);
    assert_eq!(enter(&mut shield, 7, from), Some((2, LinkEvent::TooManyOfAddress)));
    assert_eq!(enter(&mut shield, 8, source("192.0.2.2")), None);
}

/// Whether a link survives so many newer ones, each of which gets to `stage` at once.
fn survives(shield: &mut Shield, mine: LinkId, newer: u64, stage: Stage, own: bool) -> bool {
    (0..newer).all(|number| {
        let id = 10_000 + number;
        let from = format!("2001:db8:{:x}:{:x}::1", 1, if own { 0 } else { number + 2000 });
        let gone = enter(shield, id, source(&from));
        shield.advance(id, stage, 0);
        gone.is_none_or(|(id, _)| id != mine)
    })
}

/// A table full of links in one stage, from one address or from as many as there are places,
/// and an honest link.
fn full_of(stage: Stage, honest: Stage, own: bool) -> (Shield, LinkId) {
    let mut shield = Shield::new(policy(200, 200));
    for id in 1..=200 {
        let from = format!("2001:db8:1:{:x}::1", if own { 0 } else { id });
        enter(&mut shield, id, source(&from));
        shield.advance(id, stage, 0);
    }
    let from = if own { "2001:db8:1:0::1" } else { "192.0.2.1" };
    enter(&mut shield, 201, source(from));
    shield.advance(201, honest, 0);
    (shield, 201)
}

#[test]
fn who_has_asked_outlasts_those_who_only_connect() {
    for own in [true, false] {
        let (mut shield, honest) = full_of(Stage::Silent, Stage::Asked, own);
        assert!(survives(&mut shield, honest, 1000, Stage::Silent, own), "{own}");
    }
}

#[test]
fn who_has_just_connected_outlasts_those_who_wait() {
    for own in [true, false] {
        let (mut shield, honest) = full_of(Stage::Asked, Stage::Silent, own);
        assert!(survives(&mut shield, honest, 1000, Stage::Asked, own), "{own}");
        // Nor does it help to mix them.
        let (mut shield, honest) = full_of(Stage::Asked, Stage::Silent, own);
        assert!(survives(&mut shield, honest, 90, Stage::Silent, own), "{own}");
    }
}

#[test]
fn a_flood_from_one_address_costs_no_other_its_place() {
    let mut shield = Shield::new(policy(10, 8));
    assert_eq!(enter(&mut shield, 1, source("192.0.2.1")), None);
    assert_eq!(enter(&mut shield, 2, source("192.0.2.1")), None);
    let mut gone = Vec::new();
    for id in 3..1000 {
        gone.extend(enter(&mut shield, id, source("192.0.2.99")));
    }
    assert!(gone.iter().all(|(id, _)| *id > 2), "{gone:?}");
    assert_eq!(gone.len(), 997 - 8);
    // The house is full: the flooder pays for others.
    assert_eq!(enter(&mut shield, 1000, source("192.0.2.3")), Some((992, LinkEvent::TooMany)));
}

#[test]
fn local_sockets_are_apart() {
    let mut shield = Shield::new(policy(4, 4));
    for id in 1..=4 {
        assert_eq!(enter(&mut shield, id, Source::Local), None);
    }
    for id in 5..100 {
        let gone = enter(&mut shield, id, source(&format!("192.0.2.{id}")));
        assert!(gone.is_none_or(|(id, _)| id > 4), "{gone:?}");
    }
    assert_eq!(enter(&mut shield, 100, Source::Local), Some((1, LinkEvent::TooMany)));
}

#[test]
fn who_holds_most_bytes_makes_way() {
    let mut shield = Shield::new(policy(100, 100));
    let mib = 1 << 20;
    for id in 1..=16 {
        enter(&mut shield, id, source("192.0.2.1"));
        assert_eq!(hold(&mut shield, id, mib), []);
    }
    enter(&mut shield, 17, source("192.0.2.2"));
    assert_eq!(hold(&mut shield, 17, 64 * 1024), [16]);
    shield.leave(15);
    assert_eq!(hold(&mut shield, 17, mib), []);
}

#[test]
fn delays_grow_and_end() {
    let mut shield = Shield::new(LinkPolicy { free_failures: 2, ..LinkPolicy::default() });
    let (from, mut now) = (source("192.0.2.1"), Instant::now());
    let mut seen = Vec::new();
    for _ in 0..10 {
        seen.push(shield.delay(from, now).as_millis());
        shield.failed(from, now);
        now += ms(10);
    }
    assert_eq!(seen, [0, 0, 0, 250, 500, 1000, 2000, 4000, 8000, 15000]);
    assert_eq!(shield.delay(source("192.0.2.2"), now), ms(0));
    let almost = limits::FAILURE_MEMORY.saturating_sub(ms(20));
    assert_eq!(shield.delay(from, now + almost), ms(15000));
    shield.succeeded(from);
    assert_eq!(shield.delay(from, now), ms(0));
    for _ in 0..100 {
        shield.failed(from, now);
        shield.failed(Source::Local, now);
    }
    assert_eq!(shield.delay(Source::Local, now), ms(0));
    assert_eq!(shield.delay(from, now), ms(15000));
    assert_eq!(shield.delay(from, now + limits::FAILURE_MEMORY), ms(0));
}

#[test]
fn no_delay_at_all() {
    let never = LinkPolicy { longest_delay: ms(0), ..LinkPolicy::default() };
    let (mut shield, now) = (Shield::new(never), Instant::now());
    for _ in 0..100 {
        shield.failed(source("192.0.2.1"), now);
    }
    assert_eq!(shield.delay(source("192.0.2.1"), now), ms(0));
}

#[test]
fn many_failing_addresses_are_forgotten_oldest_first() {
    let (mut shield, start) = (Shield::new(LinkPolicy::default()), Instant::now());
    let address = |n: u32| Source::V4((0x0a00_0000 + n).into());
    let count = limits::FAILING_ADDRESSES as u32 + 10;
    for n in 0..count {
        for _ in 0..=limits::FREE_FAILURES {
            shield.failed(address(n), start + ms(n.into()));
        }
        assert!(shield.failures.len() <= limits::FAILING_ADDRESSES);
    }
    let now = start + ms(count.into());
    assert_eq!(shield.delay(address(0), now), ms(0));
    assert_eq!(shield.delay(address(10), now), limits::FIRST_DELAY);
}

#[test]
fn sources_take_turns() {
    let mut turns = Turns::default();
    let (a, b) = (source("192.0.2.1"), source("192.0.2.2"));
    for id in 1..=4 {
        turns.push(a, id);
    }
    turns.push(b, 5);
    turns.remove(a, 2);
    let mut order = Vec::new();
    while let Some(id) = turns.next() {
        order.push(id);
        turns.pop();
        if id == 5 {
            turns.push(b, 6);
        }
    }
    assert_eq!(order, [1, 5, 3, 6, 4]);
}

#[test]
fn the_host_hears_of_so_many_links_and_of_the_others_later() {
    let (mut told, start) = (Told::default(), Instant::now());
    let mut now = start;
    for id in 0..1000 {
        told.begin(id, ());
    }
    let hear = |told: &mut Told<()>, now| std::iter::from_fn(|| told.poll(now)).count() as u32;
    assert_eq!(hear(&mut told, now), limits::TOLD_AT_ONCE);
    let next = told.due().expect("others wait");
    assert_eq!(hear(&mut told, start + ms(9)), 0);
    assert_eq!(hear(&mut told, next), 1);
    assert_eq!(told.take(0), None);
    assert_eq!(told.take(999), Some(()));
    now += Duration::from_secs(1);
    assert_eq!(hear(&mut told, now), limits::TOLD_PER_SECOND - 1);
    now += Duration::from_secs(3600);
    assert_eq!(hear(&mut told, now), limits::TOLD_AT_ONCE);
}

proptest! {
    /// No limit is ever exceeded, only what is too much goes, and it goes once.
    #[test]
    fn limits_hold(
        pending in 1..20_usize,
        per_address in 1..20_usize,
        steps in prop::collection::vec((0..4_u8, 0..6_u8, 0..3_u8, 0..40_u64), 1..300),
    ) {
        let mut shield = Shield::new(policy(pending, per_address));
        let mut alive: BTreeMap<LinkId, Source> = BTreeMap::new();
        for (number, (what, from, stage, which)) in (1..).zip(steps) {
            let from = match from { 0 => Source::Local, n => Source::V4([192, 0, 2, n].into()) };
            let chosen = alive.keys().copied().nth(which as usize);
            match (what, chosen) {
                (0, Some(id)) => {
                    alive.remove(&id);
                    shield.leave(id);
                }
                (1, Some(id)) => {
                    let stage = [Stage::Silent, Stage::Speaking, Stage::Asked][usize::from(stage)];
                    for gone in hold(&mut shield, id, (which as usize) << 17) {
                        prop_assert!(alive.remove(&gone).is_some());
                    }
                    shield.advance(id, stage, 0);
                }
                _ => {
                    let count = |source: Source| alive.values().filter(|of| **of == source).count();
                    let (own, local) = (count(from), count(Source::Local));
                    let full = if from.is_local() {
                        own >= pending
                    } else {
                        own >= per_address || alive.len() - local >= pending
                    };
                    let gone = enter(&mut shield, number, from);
                    prop_assert_eq!(gone.is_some(), full);
                    if let Some((id, _)) = gone {
                        let of = alive.remove(&id);
                        prop_assert!(of.is_some_and(|of| of.is_local() == from.is_local()));
                    }
                    alive.insert(number, from);
                }
            }
            for of in alive.values() {
                let most = if of.is_local() { pending } else { per_address.min(pending) };
                let count = alive.values().filter(|other| *other == of).count();
                prop_assert!(count <= most);
                prop_assert_eq!(shield.places.count(*of), count);
            }
        }
    }

    /// Every link is told of once, in order, or taken; never more than there is time for.
    #[test]
    fn news_are_neither_lost_nor_too_many(steps in prop::collection::vec((0..3_u8, 0..200_u64), 1..600)) {
        let (mut told, start) = (Told::default(), Instant::now());
        let (mut now, mut heard, mut ids) = (start, Vec::new(), 0);
        for (what, amount) in steps {
            match what {
                0 => for _ in 0..amount {
                    ids += 1;
                    told.begin(ids, ids);
                },
                1 => { told.take(ids); }
                _ => now += ms(amount),
            }
            heard.extend(std::iter::from_fn(|| told.poll(now)).map(|(id, _)| id));
            let time = (now - start).as_millis() as u64 * u64::from(limits::TOLD_PER_SECOND) / 1000;
            prop_assert!(heard.len() as u64 <= u64::from(limits::TOLD_AT_ONCE) + time);
            prop_assert!(told.due().is_none_or(|due| due > now));
        }
        prop_assert!(heard.is_sorted());
    }
}
