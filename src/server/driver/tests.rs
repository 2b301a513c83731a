//! The driver between a fake device and a kind that calls back at the worst moments.

mod reentry;
mod runs;
mod timers;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{
    Block, ClientKey, Driver, FlowControl, Kind, Origin, Parameters, Pending, Timed, TokenRefusal,
};
use crate::host::fake_char_device::FakeCharDevice;
use crate::server::Server;

type TestDriver = Driver<TestKind>;
type Hook = Box<dyn FnOnce(&TestDriver)>;

/// Writes down what it is asked to do, and does what a test wants in between.
#[derive(Default)]
struct TestKind {
    driver: RefCell<Weak<TestDriver>>,
    log: RefCell<Vec<String>>,
    /// What to do inside the next callback of this name.
    hook: RefCell<Option<(&'static str, Hook)>>,
}

impl TestKind {
    fn called(&self, name: &str, what: &str) {
        self.log.borrow_mut().push(format!("{name}{what}"));
        let hook = self.hook.borrow_mut().take_if(|(wanted, _)| *wanted == name);
        let driver = self.driver.borrow().upgrade();
        if let (Some((_, act)), Some(driver)) = (hook, driver) {
            act(&driver);
        }
    }
}

impl Kind for TestKind {
    type Message = Bytes;
    type Buffer = Bytes;

    fn read_one(&self, driver: &Driver<Self>) -> Option<Bytes> {
        let mut buffer = [0; 64];
        let count = driver.read(&mut buffer);
        if count > 0 {
            self.called("read", "");
        }
        (count > 0).then(|| Bytes::copy_from_slice(&buffer[..count]))
    }

    fn send(&self, message: &Bytes, client: ClientKey) {
        self.called("send", &format!(" {} to {client}", String::from_utf8_lossy(message)));
    }

    fn send_tokens(&self, client: ClientKey, tokens: u64) {
        self.called("tokens", &format!(" {tokens} to {client}"));
    }

    fn self_token_freed(&self, _: &Driver<Self>) {
        self.called("freed", "");
    }

    fn remove_client(&self, client: ClientKey) {
        self.called("cut", &format!(" {client}"));
    }

    fn released(&self, buffer: Bytes) {
        self.called("released", &format!(" {}", String::from_utf8_lossy(&buffer)));
    }

    fn broken(&self) {
        self.called("broken", "");
    }
}

/// A device in service and both sides of it. Fields are dropped in this order.
struct Scene {
    driver: Rc<TestDriver>,
    host: Rc<FakeCharDevice>,
    server: Rc<Server>,
}

impl Scene {
    fn new() -> Self {
        Self::with(FakeCharDevice::new(), &Rc::new(Server::new()))
    }

    /// A running device with one self token, whose clients' tokens go back at once.
    fn with(host: Rc<FakeCharDevice>, server: &Rc<Server>) -> Self {
        let parameters = Parameters { token_interval: 1, self_tokens: 1 };
        let (id, kind) = (server.new_device_id(), TestKind::default());
        let driver =
            Rc::new(Driver::new(id, Rc::downgrade(server), host.device(), parameters, kind));
        *driver.kind().driver.borrow_mut() = Rc::downgrade(&driver);
        driver.start();
        Self { driver, host, server: Rc::clone(server) }
    }

    /// What the kind does inside its next callback of this name.
    fn inside(&self, name: &'static str, act: impl FnOnce(&TestDriver) + 'static) {
        *self.driver.kind().hook.borrow_mut() = Some((name, Box::new(act)));
    }

    /// The calls since this was last asked.
    fn log(&self) -> Vec<String> {
        self.driver.kind().log.take()
    }

    fn join(&self, key: ClientKey, send_tokens: u64) {
        let flow = FlowControl { max_send_queue: 1, client_tokens: 2, send_tokens };
        self.driver.client_add(key, Some(flow), false).expect("a new client");
    }

    fn add(&self, origin: Origin, text: &'static str) {
        match origin {
            Origin::Client(key) => self.driver.take_client_token(key).expect("a token"),
            Origin::Server => assert!(self.driver.take_self_token()),
            _ => {}
        }
        let buffer = Bytes::from_static(text.as_bytes());
        let pending = Pending { length: buffer.len(), buffer, origin, price: 1 };
        assert_eq!(self.driver.add(pending), Ok(()));
    }

    fn written(&self) -> String {
        String::from_utf8(self.host.written.take()).expect("text")
    }
}

#[test]
fn data_pass_in_both_directions() {
    let scene = Scene::new();
    scene.join(1, 9);
    scene.host.offer(b"up");
    scene.add(Origin::Client(1), "down");
    assert_eq!(scene.written(), "down");
    assert_eq!(scene.log(), ["released down", "tokens 1 to 1"]);
    scene.driver.wakeup();
    assert_eq!(scene.log(), ["read", "send up to 1"]);
}

#[test]
fn a_start_moves_everything_that_waits() {
    let scene = Scene::new();
    scene.driver.stop();
    scene.join(1, 9);
    scene.add(Origin::Server, "ab");
    scene.host.offer(b"1");
    scene.host.offer(b"2");
    scene.driver.wakeup();
    assert_eq!(scene.log(), Vec::<String>::new());
    scene.driver.start();
    assert_eq!(scene.written(), "ab");
    let expected = ["released ab", "freed", "read", "send 1 to 1", "read", "send 2 to 1"];
    assert_eq!(scene.log(), expected);
}

#[test]
fn a_client_without_tokens_is_cut_when_it_asks_for_a_buffer() {
    let scene = Scene::new();
    scene.join(1, 0);
    for _ in 0..2 {
        assert_eq!(scene.driver.take_client_token(1), Ok(()));
    }
    assert_eq!(scene.driver.take_client_token(1), Err(TokenRefusal::Violation));
    assert_eq!(scene.log(), ["cut 1"]);
    assert_eq!(scene.driver.take_client_token(7), Err(TokenRefusal::Unknown));
    assert_eq!(scene.log(), Vec::<String>::new());
}

#[test]
fn granted_tokens_send_what_waits_and_read_on() {
    let scene = Scene::new();
    scene.join(1, 0);
    scene.join(2, 1);
    scene.host.offer(b"a");
    scene.host.offer(b"b");
    scene.driver.wakeup();
    assert_eq!(scene.log(), ["read", "send a to 2"]);
    scene.driver.grant_send_tokens(1, 2, false).expect("a client");
    assert_eq!(scene.log(), ["send a to 1", "read", "send b to 1"]);
}

#[test]
fn a_restored_device_goes_on() {
    let scene = Scene::new();
    scene.driver.client_add(1, None, true).expect("a new client");
    scene.host.offer(b"up");
    scene.driver.wakeup();
    assert_eq!(scene.log(), Vec::<String>::new());
    let block = Block { connected: true, write_size: 4, ..Block::default() };
    assert_eq!(scene.driver.check_restore(&block, 4), Ok(()));
    scene.driver.restore(&block, Some((Bytes::from_static(b"rest"), 4))).expect("a good block");
    assert_eq!(scene.written(), "rest");
    assert_eq!(scene.log(), ["released rest", "freed", "read", "send up to 1"]);
    assert_eq!(scene.driver.migrate_out().map(|(block, _)| block.write_size), Ok(0));
}

#[test]
fn the_wait_for_migration_data_ends_with_the_client() {
    let scene = Scene::new();
    scene.driver.client_add(1, None, true).expect("a new client");
    scene.host.offer(b"up");
    scene.driver.client_remove(1).expect("a client");
    assert_eq!(scene.log(), ["read"], "read and dropped");
}

#[test]
fn without_a_host_nothing_moves_until_there_is_one_again() {
    let scene = Scene::new();
    scene.driver.rebind(None);
    scene.add(Origin::Server, "abc");
    scene.driver.wakeup();
    assert_eq!(scene.host.calls.get(), (0, 1), "the read of its start only");
    let other = FakeCharDevice::new();
    scene.driver.rebind(Some(other.device()));
    scene.driver.wakeup();
    assert_eq!(*other.written.borrow(), b"abc");
    assert_eq!(scene.host.calls.get(), (0, 1));
}
