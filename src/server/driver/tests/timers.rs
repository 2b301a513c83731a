//! The retry of a refused write and the limit on slow clients, without waiting:
//! deadlines are read from the server, and the time is handed in.

use super::*;
use crate::host::abi::SPICE_CHAR_DEVICE_NOTIFY_WRITABLE;

const RETRY: Duration = Duration::from_millis(100);

impl Scene {
    /// What the server's timer would be set to, seen from `since`.
    fn deadline(&self, since: Instant) -> Option<Duration> {
        self.server.deadlines.borrow().next().map(|when| when - since)
    }

    /// The server's timer fires at this time.
    fn fire(&self, now: Instant) {
        let due = self.server.deadlines.borrow_mut().expired(now);
        for _ in due {
            self.driver.handle_timeout(now);
        }
    }
}

/// A device that has refused a write, and when it was asked.
fn refusing(minor_version: u32, flags: u32) -> (Scene, Instant) {
    let host = FakeCharDevice::build(minor_version, flags);
    host.room.set(0);
    let scene = Scene::with(host, &Rc::new(Server::new()));
    let before = Instant::now();
    scene.add(Origin::Server, "abc");
    (scene, before)
}

#[test]
fn a_device_that_tells_when_it_is_writable_is_not_polled() {
    let (scene, before) = refusing(3, SPICE_CHAR_DEVICE_NOTIFY_WRITABLE);
    assert_eq!(scene.deadline(before), None);
    scene.host.room.set(9);
    scene.driver.wakeup();
    assert_eq!(scene.written(), "abc");
}

#[test]
fn other_devices_are_tried_again_after_100_ms() {
    // The flags of an older interface are not there to be read.
    for (minor, flags) in [(3, 0), (2, SPICE_CHAR_DEVICE_NOTIFY_WRITABLE), (1, 0)] {
        let (scene, before) = refusing(minor, flags);
        let wait = scene.deadline(before).expect("a deadline");
        assert!(wait >= RETRY && before + wait <= Instant::now() + RETRY, "{wait:?}");
        scene.host.room.set(2);
        scene.fire(before + wait);
        assert_eq!(scene.written(), "ab");
        let again = scene.deadline(before).expect("a byte is left");
        assert!(again >= wait);
        scene.host.room.set(2);
        scene.fire(before + again);
        assert_eq!(scene.written(), "c");
        assert_eq!(scene.deadline(before), None, "nothing is left");
    }
}

#[test]
fn a_timeout_before_its_time_does_nothing() {
    let (scene, before) = refusing(3, 0);
    let calls = scene.host.calls.get();
    scene.driver.handle_timeout(before);
    assert_eq!(scene.host.calls.get(), calls);
    assert!(scene.deadline(before).is_some());
}

#[test]
fn the_retry_ends_with_its_reason() {
    for end in [Driver::stop, Driver::destroy, |driver: &TestDriver| driver.rebind(None)] {
        let (scene, before) = refusing(3, 0);
        assert!(scene.deadline(before).is_some());
        end(&scene.driver);
        assert_eq!(scene.deadline(before), None);
    }
    let (scene, before) = refusing(3, 0);
    scene.host.room.set(9);
    scene.driver.wakeup();
    assert_eq!(scene.deadline(before), None, "everything is written");
    let (scene, before) = refusing(3, 0);
    let Scene { driver, server, host: _host } = scene;
    assert!(server.deadlines.borrow().next().is_some_and(|when| when > before));
    drop(driver);
    assert_eq!(server.deadlines.borrow().next(), None, "the driver is gone");
}

#[test]
fn rebinding_asks_the_new_device_whether_it_tells() {
    let (scene, before) = refusing(3, SPICE_CHAR_DEVICE_NOTIFY_WRITABLE);
    let old = FakeCharDevice::build(2, 0);
    old.room.set(0);
    scene.driver.rebind(Some(old.device()));
    scene.driver.wakeup();
    assert!(scene.deadline(before).is_some());
    scene.driver.rebind(Some(scene.host.device()));
    assert_eq!(scene.deadline(before), None);
    scene.driver.wakeup();
    assert_eq!(scene.deadline(before), None);
}

#[test]
fn a_slow_client_is_cut_after_30_s() {
    let scene = Scene::new();
    scene.join(1, 0);
    scene.join(2, 1);
    scene.host.offer(b"a");
    let before = Instant::now();
    scene.driver.wakeup();
    let wait = scene.deadline(before).expect("a deadline");
    let patience = Duration::from_secs(30);
    assert!(wait >= patience && before + wait <= Instant::now() + patience, "{wait:?}");
    scene.log();
    scene.fire(before + wait);
    assert_eq!(scene.log(), ["cut 1"]);
    assert_eq!(scene.deadline(before), None);
}

#[test]
fn tokens_in_time_save_the_client() {
    let scene = Scene::new();
    scene.join(1, 0);
    scene.join(2, 1);
    scene.host.offer(b"a");
    let before = Instant::now();
    scene.driver.wakeup();
    scene.driver.grant_send_tokens(1, 1, true).expect("a client");
    assert_eq!(scene.deadline(before), None);
    scene.driver.handle_timeout(before + Duration::from_secs(60));
    assert_eq!(scene.log(), ["read", "send a to 2", "send a to 1"]);
}
