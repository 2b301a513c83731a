//! Calls that come back from inside a callback, and callbacks that panic.

use super::*;

/// Every place from which a call can come back.
const PLACES: [&str; 8] =
    ["host write", "host read", "read", "send", "tokens", "freed", "released", "cut"];

/// What is done inside the callback at `place`.
fn plant(scene: &Scene, place: &'static str, act: impl FnOnce(&TestDriver) + 'static) {
    let driver = Rc::downgrade(&scene.driver);
    let from_host = move || act(&driver.upgrade().expect("a driver"));
    match place {
        "host write" => scene.host.inside_write(from_host),
        "host read" => scene.host.inside_read(from_host),
        name => scene.inside(name, move |_| from_host()),
    }
}

/// Moves data so that every callback is called, with client 1 in all of them.
fn exercise(scene: &Scene) {
    scene.driver.stop();
    scene.join(2, u64::MAX);
    scene.join(1, 1);
    scene.add(Origin::Client(1), "c1");
    scene.add(Origin::Server, "s");
    scene.add(Origin::Client(2), "c2");
    // Client 1 can take one, lets one wait, and is cut for the third.
    for piece in [b"x", b"y", b"z"] {
        scene.host.offer(piece);
    }
    scene.driver.start();
}

#[test]
fn the_exercise_calls_every_callback() {
    let scene = Scene::new();
    exercise(&scene);
    let expected = [
        "released c1",
        "tokens 1 to 1",
        "released s",
        "freed",
        "released c2",
        "tokens 1 to 2",
        "read",
        "send x to 1",
        "send x to 2",
        "read",
        "send y to 2",
        "read",
        "cut 1",
        "send z to 2",
    ];
    assert_eq!(scene.log(), expected);
}

#[test]
fn a_client_may_be_removed_inside_any_callback() {
    for place in PLACES {
        let scene = Scene::new();
        plant(&scene, place, |driver| {
            driver.client_remove(1).expect("a client");
            driver.kind().log.borrow_mut().push("removed".to_owned());
        });
        exercise(&scene);
        let log = scene.log();
        let removed = log.iter().position(|line| line == "removed").expect(place);
        let late: Vec<_> = log[removed..].iter().filter(|line| line.ends_with(" 1")).collect();
        assert!(late.is_empty(), "{place}: {late:?}");
        for piece in ["x", "y", "z"] {
            assert!(log.contains(&format!("send {piece} to 2")), "{place}: {log:?}");
        }
        let written = scene.written();
        assert!(["c1sc2", "sc2"].contains(&&*written), "{place}: {written}");
        assert_eq!(scene.driver.client_count(), 1);
    }
}

#[test]
fn the_device_may_be_destroyed_inside_any_callback() {
    for place in PLACES {
        let scene = Scene::new();
        plant(&scene, place, |driver| {
            driver.rebind(None);
            driver.kind().log.borrow_mut().push("destroyed".to_owned());
            driver.destroy();
        });
        exercise(&scene);
        let calls = scene.host.calls.get();
        scene.driver.wakeup();
        assert_eq!(scene.host.calls.get(), calls, "{place}");
        let log = scene.log();
        let end = log.iter().position(|line| line == "destroyed").expect(place);
        // The kind notes a read after the host's call returned.
        let late = |line: &&String| !line.starts_with("released") && *line != "read";
        assert_eq!(log[end + 1..].iter().find(late), None, "{place}");
        let released = log.iter().filter(|line| line.starts_with("released")).count();
        assert_eq!(released, 3, "{place}: every buffer comes back once, {log:?}");
        assert_eq!(scene.driver.queued_bytes(), 0);
        assert_eq!(scene.server.deadlines.borrow().next(), None, "{place}");
    }
}

#[test]
fn a_panic_inside_a_callback_stops_this_device_only() {
    let server = Rc::new(Server::new());
    let other = Scene::with(FakeCharDevice::new(), &server);
    for place in &PLACES[2..] {
        let scene = Scene::with(FakeCharDevice::new(), &server);
        plant(&scene, place, |_| panic!("made on purpose"));
        exercise(&scene);
        assert_eq!(scene.log().last().map(String::as_str), Some("broken"), "{place}");
        assert!(!scene.driver.is_running());
        let calls = scene.host.calls.get();
        scene.driver.start();
        scene.driver.wakeup();
        assert_eq!(scene.host.calls.get(), calls, "{place}: it stays stopped");
        other.add(Origin::Server, "ok");
        assert_eq!(other.written(), "ok");
    }
}

#[test]
fn a_panic_outside_the_loops_stops_the_device_too() {
    let scene = Scene::new();
    assert!(scene.driver.take_self_token());
    scene.inside("freed", |_| panic!("made on purpose"));
    assert_eq!(scene.driver.release(Origin::Server, 1), Ok(()));
    assert_eq!(scene.log(), ["freed", "broken"]);
    assert!(!scene.driver.is_running());
}

#[test]
fn a_wakeup_inside_a_refused_write_is_a_second_try() {
    let scene = Scene::new();
    scene.host.room.set(0);
    let (host, driver) = (Rc::downgrade(&scene.host), Rc::downgrade(&scene.driver));
    scene.host.inside_write(move || {
        // Room appears after the device decided to refuse.
        host.upgrade().expect("a host").room.set(10);
        driver.upgrade().expect("a driver").wakeup();
    });
    scene.add(Origin::Server, "abc");
    assert_eq!(scene.written(), "abc");
    assert_eq!(scene.host.calls.get().0, 2);
}

#[test]
fn a_wakeup_inside_a_write_does_not_write_inside_it() {
    let scene = Scene::new();
    scene.host.room.set(1);
    let (host, driver) = (Rc::downgrade(&scene.host), Rc::downgrade(&scene.driver));
    scene.host.inside_write(move || {
        let (host, driver) = (host.upgrade().expect("a host"), driver.upgrade().expect("it"));
        let before = host.calls.get().0;
        driver.wakeup();
        assert_eq!(host.calls.get().0, before);
    });
    scene.add(Origin::Server, "abc");
    assert_eq!(scene.written(), "a");
    assert_eq!(scene.host.calls.get().0, 3, "1 byte, none, and none once more for the wakeup");
    scene.host.room.set(9);
    scene.driver.wakeup();
    assert_eq!(scene.written(), "bc");
}

#[test]
fn a_wakeup_inside_an_empty_read_is_a_second_try() {
    let scene = Scene::new();
    scene.join(1, 9);
    let (host, driver) = (Rc::downgrade(&scene.host), Rc::downgrade(&scene.driver));
    scene.host.inside_read(move || {
        // Data appear after the device decided that there are none.
        host.upgrade().expect("a host").offer(b"late");
        driver.upgrade().expect("a driver").wakeup();
    });
    scene.driver.wakeup();
    assert_eq!(scene.log(), ["read", "send late to 1"]);
}

#[test]
fn a_buffer_may_be_added_from_inside_any_callback() {
    for place in PLACES {
        let scene = Scene::new();
        plant(&scene, place, |driver| {
            let buffer = Bytes::from_static(b"!");
            let pending = Pending { buffer, length: 1, origin: Origin::ServerNoToken, price: 1 };
            driver.add(pending).expect("room");
        });
        exercise(&scene);
        assert_eq!(scene.written().matches('!').count(), 1, "{place}");
        assert_eq!(scene.driver.queued_bytes(), 0, "{place}");
    }
}

#[test]
fn the_device_may_be_taken_away_inside_a_write() {
    let scene = Scene::new();
    plant(&scene, "host write", |driver| driver.rebind(None));
    scene.host.room.set(1);
    scene.add(Origin::Server, "abc");
    assert_eq!(scene.written(), "a");
    assert_eq!(scene.host.calls.get().0, 1);
    assert_eq!(scene.driver.queued_bytes(), 2);
}

#[test]
fn a_reset_inside_a_write_returns_the_buffer() {
    let scene = Scene::new();
    plant(&scene, "host write", TestDriver::reset);
    scene.host.room.set(1);
    scene.add(Origin::Server, "abc");
    assert_eq!(scene.log(), ["released abc", "freed"]);
    assert_eq!(scene.host.calls.get().0, 1, "nothing is left to write");
}
