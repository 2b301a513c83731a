//! A whole server between several clients and devices. The script connects and cuts
//! clients, lets them say good and bad things and read or not, plugs, fills and empties
//! devices, lets them call back at bad moments, moves the time, and changes settings. A
//! model of what was sent says what has to arrive: in order, once, or the connection ends;
//! at the end everything closes and nothing is left.
//!
//! The server is used as a C program uses it, with its threads: connections over socket
//! pairs live on the main loop, which is the script's thread; links are made on the I/O
//! thread, one at a time, and waited for. In a `machine` there are also connections over
//! a WebSocket and of screens, which live on the I/O thread.

mod client;
pub(super) mod clock;
mod devices;
pub(super) mod host;
mod machine;
mod peripherals;
mod web;

use std::cell::{Cell, RefCell};
use std::ptr;
use std::rc::Rc;
use std::sync::Mutex;

use spice_server::ffi::devices::spice_server_kbd_leds;
use spice_server::ffi::migration::{spice_server_migrate_connect, spice_server_migrate_end};
use spice_server::ffi::server::{
    spice_server_get_num_clients, spice_server_is_server_mouse, spice_server_set_name,
    spice_server_set_uuid, spice_server_vm_start, spice_server_vm_stop,
};
use spice_server::ffi::settings::{
    spice_server_set_agent_copypaste, spice_server_set_agent_file_xfer,
    spice_server_set_agent_mouse, spice_server_set_noauth, spice_server_set_ticket,
};
use spice_server::wire::ChannelKey;
use spice_server::wire::header::HeaderForm;

use super::{Body, Input};
use client::{Beginning, Client};
use clock::StoppedClock;
use devices::{CharDevice, MOST, Use};
use machine::Machine;

pub(crate) const BODY: Body = Body { name: "server", run: |bytes| play(bytes, None, false), seeds };

/// The same, with clients that know the password, and with the end of the server in the
/// middle of all. Each key takes ten milliseconds, so this is slow.
pub(crate) const LIFE: Body =
    Body { name: "server_life", run: |bytes| play(bytes, None, true), seeds };

/// With a graphics device and its guest, input devices and sound beside the char devices,
/// and with clients on both threads. What happens in which order is up to the threads, so
/// that a script need not do the same each time.
pub(crate) const MACHINE: Body = Body { name: "machine", run: play_machine, seeds: machine::seeds };

/// The functions that name no server look at all of the process.
pub(super) static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Patterned bytes of a script, both ways: more only takes longer.
const BYTES: usize = 6 << 20;
/// Operations of a script.
const OPERATIONS: usize = 200;
/// Turns after which everything should have arrived.
const ROUNDS: usize = 2000;

/// How long what is on its way between threads may take, in nanoseconds; only a failure takes
/// so long.
const PATIENCE: u64 = 10_000_000_000;

thread_local! {
    static PASSWORDS: Cell<bool> = const { Cell::new(false) };
    /// There are connections beside the script's thread.
    static BESIDE: Cell<bool> = const { Cell::new(false) };
}

/// Nobody comes in any more, in this script.
fn passwords_are_on() {
    PASSWORDS.set(true);
}

/// The first byte says whether the server ends in the middle of all.
fn play_machine(bytes: &[u8]) {
    let (life, rest) =
        bytes.split_first().map_or((false, bytes), |(first, rest)| (*first == 255, rest));
    BESIDE.set(true);
    play(rest, Some(Machine::default()), life);
    BESIDE.set(false);
}

fn play(bytes: &[u8], machine: Option<Machine>, life: bool) {
    let alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let clock = StoppedClock::new();
    // Before the script's first connection, so that the key is there.
    host::server();
    let mut script = Script { input: Input::new(bytes), machine, left: BYTES, life };
    let mut operations = 0;
    while !script.input.is_empty() && operations < OPERATIONS {
        script.operation();
        operations += 1;
    }
    if life {
        end_server();
    } else {
        arrive();
        end(script.machine.as_mut());
    }
    if let Some(machine) = script.machine {
        machine.check_end();
    }
    client::clear();
    devices::clear();
    drop((clock, alone));
}

struct Script<'a> {
    input: Input<'a>,
    machine: Option<Machine>,
    /// Of [`BYTES`].
    left: usize,
    /// Keys may be made.
    life: bool,
}

impl Script<'_> {
    fn operation(&mut self) {
        let operation = self.input.byte();
        if operation & 0x40 != 0
            && let Some(machine) = &mut self.machine
        {
            machine.operation(&mut self.input);
            return;
        }
        match operation % 18 {
            0 | 1 => self.connect(),
            2 | 3 => {
                let length = self.amount();
                self.on_client(|client| {
                    if matches!(client.channel.kind, 9..=11) && length > 0 {
                        client.send_data(length);
                    }
                });
            }
            4 => self.say(),
            5 => self.say_anything(),
            6 => {
                let most = usize::from(self.input.word()) * 16;
                self.on_client(|client| {
                    client.read(most);
                    client.check_queue();
                });
            }
            7 => {
                let what = [
                    Use::Port,
                    Use::Usbredir,
                    Use::Webdav,
                    Use::Agent,
                    Use::Smartcard,
                    Use::Stream,
                    Use::Port,
                    Use::Agent,
                ];
                let byte = self.input.byte();
                devices::add(what[usize::from(byte % 8)], byte & 0x40 == 0);
            }
            8 => self.on_device(CharDevice::remove),
            9 | 10 => {
                let length = self.amount() as u64;
                self.on_device(|device| {
                    device.pending.set(device.pending.get() + length);
                    device.wakeup();
                });
            }
            11 => {
                let bytes = self.guest_bytes();
                self.on_device(|device| {
                    device.offers.borrow_mut().extend(&bytes);
                    device.wakeup();
                });
            }
            12 => {
                let room = match self.input.byte() {
                    0xff => usize::MAX,
                    room => usize::from(room) * 500,
                };
                self.on_device(|device| {
                    device.room.set(room);
                    device.wakeup();
                });
            }
            13 => {
                let event = self.input.byte() % 4;
                self.on_device(|device| device.port_event(event));
            }
            14 => {
                let hook = self.input.byte();
                self.on_device(|device| device.hook.set(hook));
            }
            15 => match self.input.byte() {
                0xff => host::fire_early(),
                tens => {
                    if tens > 250 {
                        // Clients that do not answer for so long are dead.
                        client::excuse_all();
                    }
                    StoppedClock::pass(u64::from(tens) * 100_000_000);
                }
            },
            16 => self.setting(),
            _ => self.on_client(Client::fall_silent),
        }
        if operation & 0x80 == 0 {
            host::settle();
        }
    }

    /// How many patterned bytes: few, more, now and then very many.
    fn amount(&mut self) -> usize {
        let wanted = match self.input.byte() {
            few @ 0..200 => usize::from(few),
            more @ 200..250 => usize::from(more - 199) * 700,
            many => usize::from(many - 249) * 200_000,
        };
        let amount = wanted.min(self.left);
        self.left -= amount;
        amount
    }

    fn on_client(&mut self, act: impl FnOnce(&mut Client)) {
        let clients = client::all();
        let byte = usize::from(self.input.byte());
        if let Some(client) = clients.get(byte % clients.len().max(1)) {
            act(&mut client.borrow_mut());
        }
    }

    fn on_device(&mut self, act: impl FnOnce(&CharDevice)) {
        let mut devices = devices::all();
        devices.retain(|device| !device.removed.get());
        let byte = usize::from(self.input.byte());
        if let Some(device) = devices.get(byte % devices.len().max(1)) {
            act(device);
        }
    }

    fn connect(&mut self) {
        let options = self.input.byte();
        let (kind, web) = match &self.machine {
            None => ([1, 10, 9, 11, 3, 8, 2, 4][usize::from(options % 8)], false),
            Some(_) => Machine::channel(&mut self.input),
        };
        let id = if kind == 1 { 0 } else { self.input.byte() % 3 };
        let clients = client::all();
        if clients.len() == MOST || (PASSWORDS.get() && !self.life) {
            return;
        }
        let session = match kind {
            1 => 0,
            // Mostly the session that there is.
            _ if options & 0xc0 == 0xc0 => self.input.long(),
            _ => newest_session(&clients),
        };
        let garbage = (options & 0x38 == 0x38).then(|| self.input.run().to_vec());
        if kind == 1 {
            // The newcomer takes over.
            client::excuse_all();
        }
        client::connect(Beginning {
            channel: ChannelKey { kind, id },
            session,
            form: if options & 8 == 0 { HeaderForm::Mini } else { HeaderForm::Full },
            narrow: options & 16 != 0,
            web,
            garbage,
        });
    }

    /// A good message of the client's channel, or at least one that looks good.
    fn say(&mut self) {
        let byte = self.input.byte();
        let body = self.input.run();
        self.on_client(|client| match (client.channel.kind, byte % 8) {
            (1, 0) => client.send(104, &[]),
            (1, 1) => client.send(105, &[1 + (byte >> 7), 0]),
            (1, 2) => client.grant(106, u32::from(byte >> 3)),
            (1, 3) => client.grant(108, u32::from(byte >> 3)),
            (1, 4..) => {
                // A message of the agent, or a piece of one; not within its tokens perhaps.
                client.good = false;
                let header = [1, u32::from(byte >> 3), 0, 0, body.len() as u32];
                let head: Vec<u8> = header.into_iter().flat_map(u32::to_le_bytes).collect();
                if byte % 8 == 4 {
                    client.send(107, body);
                } else if byte % 8 < 7 || body.is_empty() {
                    client.send(107, &[&head, body].concat());
                } else {
                    client.send(107, &head);
                    client.send(107, body);
                }
            }
            (3, kind) => {
                client.good = false;
                let kind = [101, 102, 103, 104, 111, 112, 113, 114][usize::from(kind)];
                client.send(kind, body);
            }
            (2 | 5 | 6, kind) => {
                client.good = false;
                match (client.channel.kind, kind) {
                    // INIT, and the acknowledgements.
                    (2, 0) => client.send(101, &[1; 14]),
                    (2, 1) => client.send(1, &[1; 4]),
                    (2, 2) => client.send(2, &[]),
                    _ => client.send(98 + u16::from(kind), body),
                }
            }
            (10 | 11, 0..4) => client.send(201, &[byte >> 4]),
            (8, kind) => {
                client.good = false;
                let header = [u32::from(kind), u32::from(byte >> 4), body.len() as u32];
                let head: Vec<u8> = header.into_iter().flat_map(u32::to_le_bytes).collect();
                client.send(101, &[&head, body].concat());
            }
            (_, 0..6) => client.send(6, &[0; 12]),
            _ => client.send(1, &[0; 4]),
        });
    }

    /// Any message, or no message at all.
    fn say_anything(&mut self) {
        let kind = self.input.byte();
        let body = self.input.run();
        self.on_client(|client| {
            client.good = false;
            if let Some(device) = devices::on_channel((client.channel.kind, client.channel.id)) {
                device.tainted.set(true);
            }
            if kind == 0 {
                client.send_raw(body);
            } else {
                // More of the agent may have been asked for by this.
                if client.channel.kind == 1 && matches!(kind, 106 | 108) {
                    client.grant(kind.into(), u32::MAX);
                } else {
                    client.send(kind.into(), body);
                }
            }
        });
    }

    /// What a guest sends: chunks, frames, cards' answers, or anything.
    fn guest_bytes(&mut self) -> Vec<u8> {
        let form = self.input.byte();
        let body = self.input.run();
        let mut bytes = Vec::new();
        let mut words = |words: &[u32]| {
            bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        };
        match form % 4 {
            0 => {}
            // A chunk with a message.
            1 => words(&[
                1,
                body.len() as u32 + 20,
                1,
                u32::from(form >> 2),
                0,
                0,
                body.len() as u32,
            ]),
            // A message of a stream device.
            2 => words(&[1 | u32::from(form >> 2) << 16, body.len() as u32]),
            // One of a smartcard reader; these are in network order.
            _ => {
                let header = [u32::from(form >> 2), 0, body.len() as u32];
                words(&header.map(u32::swap_bytes));
            }
        }
        bytes.extend(body);
        bytes
    }

    fn setting(&mut self) {
        let server = host::server();
        let choice = self.input.byte();
        let on = i32::from(choice >> 7);
        // SAFETY: the server of this thread; the texts are C strings.
        unsafe {
            match choice % 12 {
                0 => spice_server_vm_stop(server),
                1 => spice_server_vm_start(server),
                2 => {
                    client::excuse_all();
                    spice_server_set_ticket(server, c"secret".as_ptr(), 0, 0, on);
                    passwords_are_on();
                }
                3 => {
                    spice_server_set_noauth(server);
                }
                4 => spice_server_set_name(
                    server,
                    if on == 1 { c"a name".as_ptr() } else { ptr::null() },
                ),
                5 => spice_server_set_uuid(server, [choice; 16].as_ptr()),
                6 => {
                    spice_server_set_agent_mouse(server, on);
                }
                7 => {
                    spice_server_set_agent_copypaste(server, on);
                }
                8 => {
                    spice_server_set_agent_file_xfer(server, on);
                }
                9 => {
                    spice_server_kbd_leds(ptr::null_mut(), choice.into());
                    spice_server_is_server_mouse(server);
                }
                10 => {
                    spice_server_migrate_connect(server, c"host".as_ptr(), 1, 0, ptr::null());
                }
                _ => {
                    client::excuse_all();
                    spice_server_migrate_end(server, on);
                }
            }
        }
    }
}

/// Of the newest main channel.
fn newest_session(clients: &[Rc<RefCell<Client>>]) -> u32 {
    let main = clients.iter().rev().find(|client| client.borrow().channel.kind == 1);
    main.map_or(1, |client| client.borrow().session)
}

/// Nothing is in the way any more: everything arrives, and who did nothing wrong is there.
fn arrive() {
    for device in devices::all() {
        device.hook.set(0);
        device.room.set(usize::MAX);
    }
    // SAFETY: the server of this thread.
    unsafe { spice_server_vm_start(host::server()) };
    let (mut rounds, begin) = (0, StoppedClock::kernel());
    loop {
        let mut any = false;
        for device in devices::all().iter().filter(|device| !device.removed.get()) {
            let before = (device.given.get(), device.offers.borrow().len());
            device.wakeup();
            any |= before != (device.given.get(), device.offers.borrow().len());
        }
        host::settle();
        for client in client::all() {
            let mut client = client.borrow_mut();
            any |= client.flush();
            any |= client.read(usize::MAX);
        }
        host::settle();
        if any {
            rounds += 1;
            assert!(rounds < ROUNDS, "no end of data");
        } else if !BESIDE.get() || StoppedClock::kernel() > begin + PATIENCE || nothing_is_missing()
        {
            break;
        } else {
            host::wait_a_little();
        }
    }
    let clients = client::all();
    for client in &clients {
        let client = client.borrow();
        assert_eq!(client.missing(), None);
        let main = clients.iter().map(|other| other.borrow()).find(|other| {
            other.channel.kind == 1 && other.session == client.session && client.session != 0
        });
        let main_is_there = main.is_some_and(|main| main.good && !main.ended && !main.silent);
        let device_is_there = match client.channel.kind {
            9..=11 => client.has_device(),
            _ => true,
        };
        if client.good && !client.excused && main_is_there && device_is_there {
            assert!(!client.ended, "a good client is cut");
        }
    }
}

fn nothing_is_missing() -> bool {
    client::all().iter().all(|client| client.borrow().missing().is_none())
}

/// Everybody leaves; the server is as it was before.
fn end(machine: Option<&mut Machine>) {
    let clients = client::all();
    for client in &clients {
        client.borrow_mut().fall_silent();
    }
    host::settle_until("ending connections", || host::connections() == 0);
    for client in &clients {
        client.borrow_mut().expect_end();
    }
    for device in devices::all() {
        device.remove();
    }
    if let Some(machine) = machine {
        machine.unplug_all();
    }
    let server = host::server();
    // SAFETY: the server of this thread.
    unsafe {
        assert_eq!(spice_server_get_num_clients(server), 0);
        spice_server_set_name(server, ptr::null());
        spice_server_set_agent_mouse(server, 1);
        spice_server_set_agent_copypaste(server, 1);
        spice_server_set_agent_file_xfer(server, 1);
        spice_server_set_noauth(server);
    }
    PASSWORDS.set(false);
    // Whatever was put off is due by now.
    StoppedClock::pass(60_000_000_000);
    host::settle();
    assert!(host::is_at_rest(), "something is left");
}

/// The server ends with all that there is.
fn end_server() {
    host::destroy_server();
    assert_eq!(host::connections(), 0, "a connection outlives its server");
    for client in client::all() {
        client.borrow_mut().expect_end();
    }
    for device in devices::all() {
        device.removed.set(true);
    }
    PASSWORDS.set(false);
}

fn seeds() -> Vec<Vec<u8>> {
    let start: &[&[u8]] = &[&[7, 0], &[7, 1], &[7, 3], &[0, 0], &[1, 1, 0], &[1, 2, 0]];
    let data: &[&[u8]] = &[&[2, 210, 1], &[9, 220, 0], &[9, 255, 0], &[6, 0, 1, 1], &[3, 250, 2]];
    let agent: &[&[u8]] = &[
        &[4, 0x52, 0, 0],
        &[11, 1 | 6 << 2, 4, 1, 0, 0, 0, 2],
        &[4, 0x35, 8, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        &[4, 0x3f, 4, 1, 0, 0, 0, 0],
    ];
    let bad: &[&[u8]] =
        &[&[5, 99, 2, 1, 2, 1], &[5, 0, 3, 1, 2, 3, 2], &[0, 0x39, 0, 4, 1, 2, 3, 4]];
    let end: &[&[u8]] = &[&[8, 0], &[17, 1], &[15, 200], &[13, 0, 0], &[16, 0x82]];
    let others: &[&[u8]] = &[
        &[7, 4],
        &[7, 5],
        &[7, 2],
        &[1, 5, 0],
        &[1, 4, 0],
        &[1, 6, 0],
        &[1, 3, 0],
        &[4, 0x13, 4, 0, 0, 0, 0, 1],
        &[4, 0x00, 4, 30, 0, 0, 0, 2],
        &[11, 2 | 2 << 2, 12, 64, 0, 0, 0, 48, 0, 0, 0, 1, 0, 0, 0, 4],
        &[11, 2 | 3 << 2, 4, 1, 2, 3, 4, 4],
        &[6, 0xff, 0xff, 3],
    ];
    let full: &[&[u8]] = &[&[12, 1, 0], &[2, 255, 1], &[3, 255, 1], &[6, 1, 0, 1], &[12, 0xff, 0]];
    let hooks: &[&[u8]] =
        &[&[14, 7, 0], &[9, 30, 0], &[14, 2, 1], &[9, 30, 1], &[14, 9, 0], &[9, 1, 0]];
    let script = |parts: &[&[&[u8]]]| parts.iter().flat_map(|part| part.concat()).collect();
    let narrow: Vec<u8> = script(&[&[&[7, 0], &[0, 16], &[1, 16 | 9, 0]], full, data]);
    vec![
        script(&[start]),
        script(&[start, data]),
        script(&[start, agent, data]),
        script(&[start, others]),
        script(&[start, full, data]),
        script(&[start, hooks]),
        script(&[start, data, bad, end]),
        script(&[start, end, start]),
        script(&[start, &[&[16, 0x82]], start, data]),
        narrow,
    ]
}
