//! Messages that go straight to the device.

use super::*;
use crate::channel::run::Run;
use crate::wire::header::{Header, HeaderForm};
use crate::wire::spicevmc::DATA;

fn run(bodies: &[&str]) -> Run {
    let mut bytes = Vec::new();
    for body in bodies {
        let mut header = [0; HeaderForm::Mini.bytes()];
        HeaderForm::Mini.write(&mut header, Header { kind: DATA, size: body.len() as u32 }, 0);
        bytes.extend(header);
        bytes.extend(body.as_bytes());
    }
    Run::new(HeaderForm::Mini, bytes.into())
}

/// Writes these messages; returns how many are left.
fn write(scene: &Scene, bodies: &[&str]) -> usize {
    let mut run = run(bodies);
    scene.driver.write_run(&mut run, || true);
    let mut left = 0;
    while let Some(body) = run.peek() {
        left += 1;
        run.pass(body.end);
    }
    left
}

#[test]
fn a_device_that_takes_all_gets_all_and_nothing_is_queued() {
    let scene = Scene::new();
    assert_eq!(write(&scene, &["one", "two", "three"]), 0);
    assert_eq!(scene.written(), "onetwothree");
    assert_eq!(scene.host.calls.get().0, 3, "each by itself");
    assert_eq!(scene.log(), Vec::<String>::new(), "no buffer, no token");
}

#[test]
fn what_is_not_taken_is_queued_and_the_others_stay() {
    let scene = Scene::new();
    scene.host.room.set(4);
    assert_eq!(write(&scene, &["one", "two", "three"]), 1);
    assert_eq!(scene.written(), "onet");
    assert_eq!(scene.driver.queued_bytes(), 2);
    assert!(!scene.driver.has_self_token());
    assert_eq!(write(&scene, &["four"]), 1, "others wait");
    scene.host.room.set(usize::MAX);
    scene.driver.wakeup();
    assert_eq!(scene.written(), "wo");
    assert_eq!(scene.log(), ["released wo", "freed"]);
}

#[test]
fn a_stopped_device_gets_nothing() {
    let scene = Scene::new();
    scene.driver.stop();
    assert_eq!(write(&scene, &["a"]), 1);
    scene.driver.start();
    let driver = Rc::clone(&scene.driver);
    scene.host.inside_write(move || driver.stop());
    assert_eq!(write(&scene, &["a", "b"]), 1, "stopped from inside");
    assert_eq!(scene.written(), "a");
}

#[test]
fn a_reset_from_inside_takes_what_is_under_way() {
    let scene = Scene::new();
    let driver = Rc::clone(&scene.driver);
    scene.host.room.set(1);
    scene.host.inside_write(move || driver.reset());
    assert_eq!(write(&scene, &["abc"]), 0);
    assert_eq!((scene.written().as_str(), scene.driver.queued_bytes()), ("a", 0));
}

#[test]
fn a_wakeup_from_inside_is_not_lost() {
    let scene = Scene::new();
    let (driver, host) = (Rc::clone(&scene.driver), Rc::clone(&scene.host));
    scene.host.room.set(0);
    scene.host.inside_write(move || driver.wakeup());
    host.offer(b"up");
    assert_eq!(write(&scene, &["a"]), 0);
    assert_eq!(scene.host.calls.get().0, 2, "it is offered once more");
    assert_eq!(scene.driver.queued_bytes(), 1);
}

#[test]
fn a_device_that_vanishes_from_inside_is_not_written_to_again() {
    let scene = Scene::new();
    let driver = Rc::clone(&scene.driver);
    scene.host.inside_write(move || driver.rebind(None));
    assert_eq!(write(&scene, &["a", "b"]), 1);
    assert_eq!(scene.written(), "a");
}

#[test]
fn whoever_does_not_want_it_any_more_is_asked_before_each() {
    let scene = Scene::new();
    let mut run = run(&["a", "b", "c"]);
    let left = Cell::new(2u32);
    scene.driver.write_run(&mut run, || left.replace(left.get().saturating_sub(1)) > 0);
    assert_eq!(scene.written(), "ab");
}
