use std::collections::HashMap;

use proptest::prelude::*;

use super::super::tests::{FAR, now};
use super::*;
use crate::channels::display::video::Streaming;
use crate::wire::common::SET_ACK;
use crate::wire::display::Head;
use crate::wire::link::CapSet;

const OFF: Policy = Policy { compression: 1, loss: Loss::Never, streaming: Streaming::Off };
const LOSSY: Policy = Policy { compression: 2, loss: Loss::Always, streaming: Streaming::Off };
const CACHES: Caches = Caches { cache: 1, cache_size: 1000, glz: 2, glz_size: 500 };

fn host(policy: Policy, size: (u32, u32)) -> Viewers {
    let mut viewers = Viewers::new(policy);
    viewers.begin_surface(size);
    viewers.set_monitors(vec![Head { size, ..Head::default() }], 1);
    viewers.complete();
    viewers
}

fn poll_all(viewers: &mut Viewers, key: ViewerKey) -> Vec<Next> {
    std::iter::from_fn(|| viewers.poll(key, 0, now())).collect()
}

fn kinds(sent: &[Next]) -> Vec<u16> {
    let kind = |next: &Next| match next {
        Next::Message(message) => message.kind,
        Next::Image(..) => to_client::DRAW_COPY,
        Next::Frame(_) => to_client::STREAM_DATA,
    };
    sent.iter().map(kind).collect()
}

/// A client that has seen the screen.
fn settled(viewers: &mut Viewers) {
    viewers.set_running(true);
    viewers.join(1, &CapSet::default(), FAR);
    assert!(viewers.handle_init(1, CACHES));
    poll_all(viewers, 1);
}

fn moved(viewers: &mut Viewers) -> (Display, SurfaceForm) {
    viewers.set_running(false);
    viewers.send_off(1);
    let last = poll_all(viewers, 1);
    assert_eq!(kinds(&last).last(), Some(&MIGRATE));
    let (state, form) = viewers.moving(1).expect("it was told to go");
    let bytes = Display { serial: 5, opens_cache: true, ..state }.encode(form);
    (Display::parse(&bytes, 10).expect("a good body"), form)
}

fn coming(viewers: &mut Viewers) {
    viewers.join(1, &CapSet::default(), FAR);
    viewers.await_state(1);
}

#[test]
fn who_leaves_gets_what_it_has_not_seen_first() {
    let mut here = host(OFF, (64, 64));
    settled(&mut here);
    here.change(&Rect::new(0, 0, 9, 9).into(), now());
    here.send_off(1);
    assert!(here.moving(1).is_none(), "before MIGRATE");
    assert_eq!(kinds(&poll_all(&mut here, 1)), [304, MIGRATE]);
    here.change(&Rect::new(0, 0, 9, 9).into(), now());
    here.end_surface();
    assert_eq!(poll_all(&mut here, 1), [], "nothing behind MIGRATE");
}

#[test]
fn who_comes_is_told_only_what_changes() {
    let mut here = host(OFF, (64, 64));
    settled(&mut here);
    let (state, _) = moved(&mut here);
    assert_eq!(state.cache, Cache { id: 1, size: 1000, used_by: [0; 4] });
    assert_eq!(state.glz, Glz { id: 2, size: 500, encoders: 4, last_image: 0 });
    assert_eq!(state.surfaces, [Taken { id: 0, lossy: [0; 4] }]);
    for state_first in [false, true] {
        let mut there = host(OFF, (64, 64));
        coming(&mut there);
        there.begin_surface((64, 64));
        there.complete();
        if state_first {
            there.restore(1, 0, state.clone());
            assert_eq!(poll_all(&mut there, 1), [], "the guest stands still");
        }
        there.set_running(true);
        let change = Rect::new(3, 4, 20, 9);
        there.change(&change.into(), now());
        if !state_first {
            assert_eq!(poll_all(&mut there, 1), [], "without its state");
            there.restore(1, 0, state.clone());
        }
        let sent = poll_all(&mut there, 1);
        assert_eq!(kinds(&sent), [SET_ACK, 106, 108, 304]);
        assert!(matches!(sent[3], Next::Image(area, _) if area == change));
        there.begin_surface((8, 8));
        there.complete();
        assert_eq!(kinds(&poll_all(&mut there, 1)), [315, 314, 102], "as for everybody");
    }
}

#[test]
fn a_picture_that_is_not_known_when_the_guest_begins_is_shown_whole() {
    let mut here = host(OFF, (64, 64));
    settled(&mut here);
    let (state, _) = moved(&mut here);
    let mut there = Viewers::new(OFF);
    coming(&mut there);
    there.begin_surface((64, 64));
    there.set_running(true);
    there.restore(1, 0, state);
    assert_eq!(kinds(&poll_all(&mut there, 1)), [SET_ACK, 106, 108]);
    there.complete();
    let sent = poll_all(&mut there, 1);
    assert!(matches!(sent[..], [Next::Image(area, _)] if area == Rect::new(0, 0, 64, 64)));
}

#[test]
fn what_the_client_has_and_nobody_knows_is_taken_away() {
    let state = |ids: &[u32]| {
        let surfaces = ids.iter().map(|&id| Taken { id, lossy: [0; 4] }).collect();
        let (cache, glz) = (Cache { used_by: [7, 8, 0, 0], ..Cache::default() }, Glz::default());
        Display { serial: 1, low_bandwidth: true, cache, opens_cache: true, glz, surfaces }
    };
    let mut there = host(OFF, (8, 8));
    coming(&mut there);
    there.set_running(true);
    there.restore(1, 1, state(&[0, 5, 9]));
    let sent = poll_all(&mut there, 1);
    assert_eq!(kinds(&sent), [SET_ACK, 106, 108, 315, 315]);
    let waits = [1, 2, 0, 7, 0, 0, 0, 0, 0, 0, 0];
    assert!(matches!(&sent[1], Next::Message(first) if first.head == waits), "for the other one");
    there.leave(1);
    coming(&mut there);
    there.restore(1, 1, state(&[0]));
    let expected = [SET_ACK, 106, 108, 315, 314, 304, 102];
    assert_eq!(kinds(&poll_all(&mut there, 1)), expected, "the guest ran before it came");
    there.set_running(false);
    there.leave(1);
    coming(&mut there);
    there.set_running(true);
    there.restore(1, 1, state(&[]));
    let expected = [SET_ACK, 106, 108, 314, 304, 102];
    assert_eq!(kinds(&poll_all(&mut there, 1)), expected, "it had no surface");
}

#[test]
fn losses_move_along_or_are_made_good() {
    for (policy, sends, area) in
        [(LOSSY, &[MIGRATE][..], [3, 4, 20, 9]), (OFF, &[304, MIGRATE], [0; 4])]
    {
        let mut here = host(LOSSY, (64, 64));
        settled(&mut here);
        let seen = Rect::new(3, 4, 20, 9);
        here.change(&seen.into(), now());
        let Some(Next::Image(_, detail)) = here.poll(1, 0, now()) else { panic!("an image") };
        here.handle_lossy(1, detail.generation, seen);
        here.set_policy(policy);
        here.send_off(1);
        assert_eq!(kinds(&poll_all(&mut here, 1)), sends);
        let (state, _) = here.moving(1).expect("it was told to go");
        assert_eq!(state.surfaces, [Taken { id: 0, lossy: area }]);
        let mut there = host(OFF, (64, 8));
        coming(&mut there);
        there.set_running(true);
        there.restore(1, 0, state);
        let sent = poll_all(&mut there, 1);
        let images: Vec<_> = sent.iter().filter(|next| matches!(next, Next::Image(..))).collect();
        assert_eq!(images.len(), usize::from(policy == LOSSY));
        let good = |next: &&&Next| matches!(next, Next::Image(area, _) if area.bottom <= 8);
        assert!(images.iter().all(|next| good(&next)), "inside the surface");
    }
}

proptest! {
    /// Whatever happens in whatever order, on as many hosts as one likes, the client has
    /// seen every change at the end.
    #[test]
    fn no_change_is_missed(steps in prop::collection::vec((0..6_u8, 0..8_i32, 0..8_i32), 0..60)) {
        let size = (8, 8);
        // What is on the screen, and what the client sees: a number for each pixel.
        let (mut screen, mut seen) = (HashMap::new(), HashMap::new());
        let mut count = 0;
        let mut viewers = host(OFF, size);
        settled(&mut viewers);
        let mut show = |viewers: &mut Viewers, screen: &HashMap<(i32, i32), u32>| {
            for next in poll_all(viewers, 1) {
                if let Next::Image(area, _) = next {
                    for x in area.left..area.right {
                        for y in area.top..area.bottom {
                            seen.insert((x, y), screen.get(&(x, y)).copied().unwrap_or(0));
                        }
                    }
                }
                viewers.handle_sync(1, 1);
                viewers.handle_ack(1);
            }
        };
        for (step, x, y) in steps {
            match step {
                0..3 => {
                    count += 1;
                    screen.insert((x, y), count);
                    viewers.change(&Rect::new(x, y, x + 1, y + 1).into(), now());
                }
                3 => show(&mut viewers, &screen),
                _ => {
                    viewers.set_running(false);
                    viewers.send_off(1);
                    show(&mut viewers, &screen);
                    let (state, _) = viewers.moving(1).expect("it was told to go");
                    let mut there = if x % 2 == 0 { host(OFF, size) } else { Viewers::new(OFF) };
                    coming(&mut there);
                    if x % 2 == 1 {
                        there.begin_surface(size);
                    }
                    if step == 4 {
                        there.set_running(true);
                        there.restore(1, 0, state);
                    } else {
                        there.restore(1, 0, state);
                        there.set_running(true);
                    }
                    if y % 2 == 1 {
                        screen.insert((x, y), count);
                        there.change(&Rect::new(x, y, x + 1, y + 1).into(), now());
                    }
                    there.complete();
                    viewers = there;
                }
            }
        }
        show(&mut viewers, &screen);
        for (place, number) in screen {
            prop_assert_eq!(seen.get(&place), Some(&number), "at {:?}", place);
        }
    }
}
