//! Clients that hold a stream up, without waiting: the time is handed in. What is seen
//! from outside is c-tests/test-stream.c's.

use std::io::Read;
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::*;
use crate::channel::framing::Framer;
use crate::channel::outbox::Outbox;
use crate::channels::display as display_channel;
use crate::host::fake_char_device::FakeCharDevice;
use crate::net::io_thread::IoThread;
use crate::net::stream::Stream;
use crate::server::connection::{Connection, Parts, Role};
use crate::wire::header::HeaderForm;
use crate::wire::link::CapSet;
use crate::wire::stream_device::{Header, message};

/// More than any socket's buffer takes.
const FRAME: usize = 8 * 1024 * 1024;

/// A stream device with an open port. Fields are dropped in this order.
struct Scene {
    device: Rc<Device>,
    server: Rc<Server>,
    host: Rc<FakeCharDevice>,
}

impl Scene {
    fn new() -> Self {
        let server = Rc::new(Server::new());
        let policy = std::sync::Arc::clone(&server.policy);
        let io = IoThread::start(policy, server.link_policy.get(), None, std::sync::Arc::default())
            .expect("a thread");
        *server.io.borrow_mut() = Some(Rc::new(io));
        let host = FakeCharDevice::new();
        let device = server.add_stream_device(host.device());
        InService::start(&*device);
        device.port_event(event::OPENED);
        Self { device, server, host }
    }

    /// A client of the display channel, and its end of the connection.
    fn viewer(&self, session: u32) -> (Rc<Connection>, Socket) {
        let (ours, theirs) = Socket::pair(Domain::UNIX, Type::STREAM, None).expect("two sockets");
        let io = self.server.io.borrow().clone().expect("it was started");
        let display = self.device.kind().channels().expect("the port is open").display;
        let parts = Parts {
            id: io.new_id(),
            channel: display.channel(),
            session,
            peer: "a test".to_owned(),
            caps: CapSet::default(),
            secured: false,
            local: true,
            role: Role::Served(Rc::clone(&display) as Rc<dyn Served>),
            stream: Stream::new(ours).map_err(|(_, error)| error).expect("a good socket"),
            framer: Framer::new(HeaderForm::Mini, display_channel::rules),
            outbox: Outbox::new(HeaderForm::Mini, 1024),
            counters: std::sync::Arc::default(),
        };
        let connection = Rc::new(Connection::on_io_thread(parts, io).expect("it is adopted"));
        display.attach(&connection);
        (connection, theirs)
    }

    fn say(&self, kind: u16, body: &[u8]) {
        self.host.offer(&Header { kind, size: body.len() as u32 }.encode());
        body.chunks(limits::STREAM_READ).for_each(|piece| self.host.offer(piece));
    }

    fn say_format(&self) {
        self.say(message::FORMAT, &[64, 0, 0, 0, 64, 0, 0, 0, 1, 0, 0, 0]);
    }

    fn is_read(&self) -> bool {
        self.host.offers.borrow().is_empty()
    }

    /// Wakes the device until it has read all.
    fn read_all(&self) {
        wait("the device is read", || {
            Driver::wakeup(&*self.device);
            self.is_read()
        });
    }

    /// The device's timer fires.
    fn fire(&self, now: Instant) {
        self.device.kind().clock.handle_timeout(now);
    }

    fn doomed(&self) -> Vec<u64> {
        self.server.doomed.borrow().iter().map(|(id, _)| *id).collect()
    }
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        thread::yield_now();
    }
}

#[test]
fn who_holds_up_others_is_cut_and_they_go_on() {
    let scene = Scene::new();
    let (good, mut theirs) = scene.viewer(1);
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).map(|_| all.len())
    });
    let (idle, _open) = scene.viewer(2);
    scene.say_format();
    scene.say(message::DATA, &vec![1; FRAME]);
    scene.read_all();
    scene.say(message::DATA, &vec![2; FRAME]);
    wait("the good client gets its frame", || good.queued() == 0);
    Driver::wakeup(&*scene.device);
    assert!(!scene.is_read(), "while a client is behind");
    let since = scene.device.kind().held_up.get().expect("it is held up");
    scene.fire(since + limits::STREAM_HELD_UP / 2);
    assert!(scene.doomed().is_empty());
    scene.fire(since + limits::STREAM_HELD_UP);
    assert_eq!(scene.doomed(), [idle.id]);
    idle.close();
    scene.device.kind().channels().expect("open").display.detach(&idle);
    assert!(scene.is_read(), "by itself");
    wait("the good client gets the next one", || good.queued() == 0);
    good.close();
    let length = reader.join().expect("no panic").expect("a good end");
    assert!(length > 2 * FRAME, "{length}");
}

#[test]
fn a_single_client_may_take_its_time() {
    let scene = Scene::new();
    let (idle, _open) = scene.viewer(1);
    scene.say_format();
    scene.say(message::DATA, &vec![1; FRAME]);
    scene.read_all();
    scene.say_format();
    Driver::wakeup(&*scene.device);
    let since = scene.device.kind().held_up.get().expect("it is held up");
    for round in 1..4 {
        scene.fire(since + round * limits::STREAM_HELD_UP);
        assert!(scene.doomed().is_empty());
    }
    assert!(scene.device.kind().clock.look_at.get().is_some(), "another one may come");
    assert!(idle.queued() > FRAME / 2 && !scene.is_read());
}
