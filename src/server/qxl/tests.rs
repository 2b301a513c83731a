//! A worker over a fake device: what is given back, completed and answered, and how often.

use super::*;
use crate::channel::descriptors::Descriptors;
use crate::channels::display::viewers::Scanout;
use crate::host::abi::{
    QXL_CMD_CURSOR, QXL_CMD_DRAW, QXL_CMD_MESSAGE, QXL_CMD_SURFACE, QXL_CMD_UPDATE, QXLCommand,
    QXLCommandExt, QXLDevSurfaceCreate,
};
use crate::host::fake_qxl::{FakeQxl, GUEST, HOST};
use crate::wire::display::{GlArea, GlPicture};
use crossbeam_channel::{Receiver, unbounded};
use std::os::fd::AsRawFd;

const AREA: GlArea = GlArea { x: 0, y: 0, width: 1, height: 1 };

struct Rig {
    fake: Box<FakeQxl>,
    handle: Arc<QxlHandle>,
    changes: Receiver<()>,
}

impl Rig {
    /// A device in service with its memory mapped, stopped.
    fn new() -> Self {
        Self::over(FakeQxl::new())
    }

    fn over(fake: Box<FakeQxl>) -> Self {
        let (tell, changes) = unbounded();
        let hook = Box::new(move || tell.send(()).expect("the test listens"));
        let handle = attach(&fake.device(), 0, hook, Arc::default()).expect("a worker");
        handle.add_slot(FakeQxl::host_slot(), Answer::Wait);
        handle.add_slot(fake.guest_slot(), Answer::Wait);
        assert_eq!(fake.take_events(), ["attached_worker", "set_compression_level 0"]);
        Self { fake, handle, changes }
    }

    /// As `new`, running.
    fn running() -> Self {
        let rig = Self::new();
        rig.start();
        rig
    }

    fn start(&self) {
        self.handle.start();
        self.settle();
        assert_eq!(self.fake.take_events(), ["set_client_capabilities 0 with 0 bytes set"]);
    }

    /// Returns when the worker has done what was asked before: requests are carried
    /// out in order, and the rings have a turn after each.
    fn settle(&self) {
        self.handle.reset_image_cache();
    }

    /// A primary surface in guest memory; returns its offset.
    fn create_primary(&self, flags: u32, answer: Answer) -> u64 {
        let pixels = self.fake.store(&[0xaa; 4 * 4 * 2]);
        let mem = self.fake.address(GUEST, pixels);
        let create = QXLDevSurfaceCreate { mem, flags, group_id: GUEST, ..PRIMARY };
        self.handle.create_primary(0, create, answer);
        pixels
    }

    fn surface_command(&self, surface: u32, kind: u8) -> Vec<u8> {
        let mut command = vec![0; 41];
        command[8..12].copy_from_slice(&surface.to_le_bytes());
        command[12] = kind;
        command[17..21].copy_from_slice(&32_u32.to_le_bytes());
        command[21..25].copy_from_slice(&4_u32.to_le_bytes());
        command[25..29].copy_from_slice(&2_u32.to_le_bytes());
        command[29..33].copy_from_slice(&16_i32.to_le_bytes());
        let pixels = self.fake.address(HOST, self.fake.store(&[0; 32]));
        command[33..41].copy_from_slice(&pixels.to_le_bytes());
        command
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        assert!(detach(&self.handle));
    }
}

const PRIMARY: QXLDevSurfaceCreate = QXLDevSurfaceCreate {
    width: 4,
    height: 2,
    stride: -16,
    format: 32,
    position: 0,
    mouse_mode: 1,
    flags: 0,
    type_: 0,
    mem: 0,
    group_id: HOST,
};

fn release(pointer: u64, group: u32) -> String {
    format!("release {pointer:#x} of {group}")
}

fn update(surface: u32, id: u32) -> Vec<u8> {
    let mut command = vec![0; 32];
    command[24..28].copy_from_slice(&id.to_le_bytes());
    command[28..32].copy_from_slice(&surface.to_le_bytes());
    command
}

/// A pointer without pixels.
fn set_cursor(rig: &Rig, group: u32) -> Vec<u8> {
    let mut command = vec![0; 150];
    let shape = rig.fake.address(group, rig.fake.store(&[0; 42]));
    command[14..22].copy_from_slice(&shape.to_le_bytes());
    command
}

fn move_cursor() -> Vec<u8> {
    let mut command = vec![0; 150];
    command[8] = 1;
    command
}

#[test]
fn commands_are_given_back_once_and_in_order() {
    let rig = Rig::running();
    let expected: Vec<_> = (0..50)
        .map(|n| {
            let group = [HOST, GUEST][n % 2];
            let kind = [QXL_CMD_DRAW, QXL_CMD_MESSAGE][n % 3 % 2];
            release(rig.fake.push(group, kind, &[0; 191]), group)
        })
        .collect();
    rig.handle.wakeup();
    rig.settle();
    assert_eq!(rig.fake.take_events(), expected);
    rig.handle.wakeup();
    rig.settle();
    assert_eq!(rig.fake.events(), Vec::<String>::new());
}

#[test]
fn a_stopped_worker_leaves_the_rings_alone() {
    let rig = Rig::new();
    let command = rig.fake.push(HOST, QXL_CMD_DRAW, &[0; 191]);
    rig.handle.wakeup();
    rig.handle.flush_surfaces(1);
    rig.handle.update_area(0, false, Answer::Cookie(2));
    rig.handle.destroy_surfaces(Answer::Wait);
    assert_eq!(rig.fake.take_events(), ["async_complete 1", "async_complete 2"]);
    rig.handle.start();
    rig.settle();
    assert_eq!(
        rig.fake.take_events(),
        ["set_client_capabilities 0 with 0 bytes set".to_owned(), release(command, HOST)]
    );
    rig.handle.stop();
    rig.fake.push(HOST, QXL_CMD_DRAW, &[0; 191]);
    rig.handle.wakeup();
    rig.settle();
    assert_eq!(rig.fake.events(), Vec::<String>::new());
    assert_eq!(rig.fake.fetched(), 1);
}

#[test]
fn bad_addresses_are_dropped_and_everything_else_is_given_back() {
    let rig = Rig::running();
    rig.fake.push_address(HOST, QXL_CMD_DRAW, 0);
    rig.fake.push_address(GUEST, QXL_CMD_DRAW, 1 << 56 | 4 << 48);
    rig.fake.push_address(GUEST, QXL_CMD_DRAW, rig.fake.address(GUEST, 8192 * 8 - 190));
    rig.fake.push_address(7, QXL_CMD_DRAW, 0);
    let odd = rig.fake.push_cursor(QXL_CMD_DRAW, &[0; 8]);
    let unknown = rig.fake.push(HOST, 77, &[0; 8]);
    let misplaced = rig.fake.push(HOST, QXL_CMD_CURSOR, &[0; 8]);
    let good = rig.fake.push(HOST, QXL_CMD_DRAW, &[0; 191]);
    rig.handle.wakeup();
    rig.settle();
    assert_eq!(rig.fake.fetched(), 8);
    assert_eq!(rig.fake.events(), [odd, unknown, misplaced, good].map(|it| release(it, HOST)));
}

#[test]
fn an_update_command_is_told_and_given_back() {
    let rig = Rig::running();
    rig.create_primary(0, Answer::Wait);
    let good = rig.fake.push(GUEST, QXL_CMD_UPDATE, &update(0, 0x0102_0304));
    let dead = rig.fake.push(GUEST, QXL_CMD_UPDATE, &update(3, 9));
    rig.handle.wakeup();
    rig.settle();
    assert_eq!(
        rig.fake.events(),
        ["notify_update 16909060".to_owned(), release(good, GUEST), release(dead, GUEST)]
    );
}

#[test]
fn a_copied_bitmap_is_in_the_surface_when_its_command_is_given_back() {
    let rig = Rig::running();
    let surface = rig.create_primary(0, Answer::Wait);
    let bitmap: Vec<u8> = (0..2 * 2 * 4).collect();
    let data = rig.fake.address(GUEST, rig.fake.store(&bitmap));
    let mut image = vec![0; 48];
    image[18..20].copy_from_slice(&[8, 1 | 4]);
    for (at, value) in [(20, 2_u32), (24, 2), (28, 8)] {
        image[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    image[40..48].copy_from_slice(&data.to_le_bytes());
    let image = rig.fake.address(GUEST, rig.fake.store(&image));
    let mut drawable = vec![0; 191];
    drawable[13] = 3;
    for (at, value) in [(39, 2_u32), (43, 2), (123 + 16, 2), (123 + 20, 2)] {
        drawable[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    drawable[123..131].copy_from_slice(&image.to_le_bytes());
    drawable[123 + 24] = 8;
    let command = rig.fake.push(GUEST, QXL_CMD_DRAW, &drawable);
    rig.handle.wakeup();
    rig.settle();
    assert_eq!(rig.fake.events(), [release(command, GUEST)]);
    // The surface is bottom-up.
    assert_eq!(rig.fake.bytes_at::<8>(surface + 16), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(rig.fake.bytes_at::<8>(surface), [8, 9, 10, 11, 12, 13, 14, 15]);
}

#[test]
fn the_command_that_made_a_surface_is_kept_while_the_surface_lives() {
    let rig = Rig::running();
    let create = rig.fake.push(HOST, QXL_CMD_SURFACE, &rig.surface_command(3, 0));
    let again = rig.fake.push(HOST, QXL_CMD_SURFACE, &rig.surface_command(3, 0));
    let beyond = rig.fake.push(HOST, QXL_CMD_SURFACE, &rig.surface_command(16, 0));
    let odd = rig.fake.push(HOST, QXL_CMD_SURFACE, &rig.surface_command(4, 2));
    rig.handle.wakeup();
    rig.handle.destroy_surface(3, Answer::Wait);
    let given_back = [release(again, HOST), release(beyond, HOST), release(odd, HOST)];
    assert_eq!(rig.fake.take_events(), given_back);
    let destroy = rig.fake.push(HOST, QXL_CMD_SURFACE, &rig.surface_command(3, 1));
    let twice = rig.fake.push(HOST, QXL_CMD_SURFACE, &rig.surface_command(3, 1));
    rig.handle.wakeup();
    rig.settle();
    assert_eq!(
        rig.fake.take_events(),
        [release(create, HOST), release(destroy, HOST), release(twice, HOST)]
    );
    let another = rig.fake.push(HOST, QXL_CMD_SURFACE, &rig.surface_command(3, 0));
    rig.handle.destroy_surfaces(Answer::Cookie(8));
    rig.settle();
    assert_eq!(rig.fake.events(), [release(another, HOST), "async_complete 8".to_owned()]);
}

#[test]
fn a_surface_outside_guest_memory_is_refused_and_given_back() {
    let rig = Rig::running();
    let mut tall = rig.surface_command(3, 0);
    tall[25..29].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut nowhere = rig.surface_command(3, 0);
    nowhere[33..41].fill(0);
    let (tall, nowhere) = (
        rig.fake.push(HOST, QXL_CMD_SURFACE, &tall),
        rig.fake.push(HOST, QXL_CMD_SURFACE, &nowhere),
    );
    rig.handle.wakeup();
    rig.settle();
    assert_eq!(rig.fake.events(), [release(tall, HOST), release(nowhere, HOST)]);
}

#[test]
fn a_cursor_is_kept_until_the_next_one() {
    let rig = Rig::running();
    let first = rig.fake.push_cursor(QXL_CMD_CURSOR, &set_cursor(&rig, HOST));
    let moved = rig.fake.push_cursor(QXL_CMD_CURSOR, &move_cursor());
    rig.handle.wakeup();
    rig.settle();
    assert_eq!(rig.fake.take_events(), [release(moved, HOST)]);
    let second = rig.fake.push_cursor(QXL_CMD_CURSOR, &set_cursor(&rig, HOST));
    rig.handle.wakeup();
    rig.settle();
    assert_eq!(rig.fake.take_events(), [release(first, HOST)]);
    rig.handle.reset_cursor();
    assert_eq!(rig.fake.take_events(), [release(second, HOST)]);
    rig.handle.reset_cursor();
    assert_eq!(rig.fake.events(), Vec::<String>::new());
}

#[test]
fn what_is_kept_is_given_back_when_the_device_is_removed_and_nothing_after() {
    let rig = Rig::running();
    let cursor = rig.fake.push_cursor(QXL_CMD_CURSOR, &set_cursor(&rig, HOST));
    let surface = rig.fake.push(HOST, QXL_CMD_SURFACE, &rig.surface_command(3, 0));
    rig.handle.wakeup();
    rig.settle();
    assert_eq!(rig.fake.take_events(), Vec::<String>::new());
    assert!(lookup(rig.fake.state().addr()).is_some());
    assert!(detach(&rig.handle));
    let mut released = rig.fake.take_events();
    released.sort();
    let mut expected = [release(cursor, HOST), release(surface, HOST)];
    expected.sort();
    assert_eq!(released, expected);
    assert!(rig.fake.state().is_null());
    rig.handle.wakeup();
    rig.handle.flush_surfaces(1);
    rig.handle.update_area(0, false, Answer::Wait);
    rig.handle.draw_scanout(AREA, 2);
    assert_eq!(rig.fake.events(), Vec::<String>::new());
}

#[test]
fn each_asynchronous_request_completes_its_cookie_once() {
    let rig = Rig::running();
    rig.create_primary(0, Answer::Cookie(1));
    rig.handle.add_slot(rig.fake.guest_slot(), Answer::Cookie(2));
    rig.handle.update_area(0, false, Answer::Cookie(3));
    rig.handle.destroy_surface(5, Answer::Cookie(4));
    rig.handle.destroy_surface(99, Answer::Cookie(5));
    rig.handle.flush_surfaces(6);
    rig.handle.monitors_config(HOST, 0, 7);
    rig.handle.destroy_primary(0, Answer::Cookie(8));
    rig.handle.destroy_primary(3, Answer::Cookie(9));
    rig.handle.destroy_surfaces(Answer::Cookie(10));
    rig.handle.create_primary(1, PRIMARY, Answer::Cookie(11));
    rig.handle.create_primary(0, PRIMARY, Answer::Cookie(12));
    rig.handle.draw_scanout(AREA, 13);
    rig.settle();
    let mut events = rig.fake.events();
    let update = events.iter().position(|event| event.starts_with("update_area")).unwrap();
    assert_eq!(events.remove(update), "update_area_complete 0 with 0");
    assert_eq!(events[update], "async_complete 3");
    events.sort_by_key(|event| event.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
    let expected: Vec<_> = (1..=13).map(|cookie| format!("async_complete {cookie}")).collect();
    assert_eq!(events, expected);
}

#[test]
fn callbacks_that_abort_vga_like_displays_are_not_made_for_them() {
    let rig = Rig::running();
    rig.create_primary(0, Answer::Wait);
    rig.handle.update_area(0, false, Answer::Wait);
    rig.handle.destroy_surfaces(Answer::Wait);
    rig.handle.remove_slot(0, 0);
    rig.handle.reset_slots();
    rig.handle.driver_unload();
    rig.handle.stop();
    assert_eq!(rig.fake.events(), Vec::<String>::new());
}

#[test]
fn lack_of_memory_empties_the_rings_and_then_flushes() {
    let rig = Rig::running();
    let command = rig.fake.push(HOST, QXL_CMD_DRAW, &[0; 191]);
    rig.handle.oom();
    rig.settle();
    assert_eq!(rig.fake.take_events(), [release(command, HOST), "flush_resources".to_owned()]);
    rig.handle.stop();
    rig.handle.oom();
    rig.settle();
    assert_eq!(rig.fake.events(), Vec::<String>::new());
}

#[test]
fn a_panicking_request_answers_and_completes_and_the_worker_lives() {
    let rig = Rig::running();
    rig.handle.panic_in_worker(Answer::Wait);
    rig.handle.panic_in_worker(Answer::Cookie(42));
    rig.settle();
    assert_eq!(rig.fake.take_events(), ["async_complete 42"]);
    let command = rig.fake.push(HOST, QXL_CMD_DRAW, &[0; 191]);
    rig.handle.wakeup();
    rig.settle();
    assert_eq!(rig.fake.events(), [release(command, HOST)]);
}

#[test]
fn the_primary_surface_decides_about_the_pointer() {
    let rig = Rig::new();
    assert_eq!(rig.handle.client_mouse(), None);
    let pixels = rig.create_primary(0, Answer::Wait);
    let allowed = ClientMouse { allowed: true, width: 4, height: 2 };
    assert_eq!(rig.handle.client_mouse(), Some(allowed));
    assert_eq!(rig.fake.bytes_at::<32>(pixels), [0; 32], "a fresh surface is black");
    rig.handle.destroy_primary(0, Answer::Wait);
    assert_eq!(rig.handle.client_mouse(), None);
    let pixels = rig.create_primary(1, Answer::Wait);
    assert_eq!(rig.fake.bytes_at::<32>(pixels), [0xaa; 32], "asked to keep the data");
    assert_eq!(rig.changes.try_iter().count(), 3);
}

#[test]
fn an_unsound_primary_surface_is_refused() {
    let rig = Rig::new();
    for create in [
        QXLDevSurfaceCreate { format: 0, mem: 64, ..PRIMARY },
        QXLDevSurfaceCreate { stride: 15, mem: 64, ..PRIMARY },
        QXLDevSurfaceCreate { height: u32::MAX, mem: 64, ..PRIMARY },
        QXLDevSurfaceCreate { mem: 0, ..PRIMARY },
        QXLDevSurfaceCreate { mem: 64, group_id: 9, ..PRIMARY },
        QXLDevSurfaceCreate {
            mem: rig.fake.address(GUEST, 8192 * 8 - 31),
            group_id: GUEST,
            ..PRIMARY
        },
    ] {
        rig.handle.create_primary(0, create, Answer::Wait);
        assert_eq!(rig.handle.client_mouse(), None, "{create:?}");
    }
}

#[test]
fn a_scanout_owns_its_descriptors_and_allows_the_clients_pointer() {
    let rig = Rig::new();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let picture = GlPicture { size: (64, 32), planes: vec![(0, 256)], ..GlPicture::default() };
    let buffers = Descriptors::new(vec![writer.into()]).expect("one");
    rig.handle.set_scanout(Some(Scanout { picture, buffers }));
    assert_eq!(
        rig.handle.client_mouse(),
        Some(ClientMouse { allowed: true, width: 64, height: 32 })
    );
    rig.handle.set_scanout(None);
    assert_eq!(rig.handle.client_mouse(), None);
    // The last writer was closed, so reading ends instead of waiting.
    let mut rest = Vec::new();
    assert_eq!(std::io::Read::read_to_end(&mut &reader, &mut rest).expect("an end"), 0);
    assert!(reader.as_raw_fd() >= 0);
}

#[test]
fn saved_commands_may_only_make_surfaces_and_a_cursor() {
    let rig = Rig::new();
    let stored = |bytes: &[u8], type_| {
        let offset = rig.fake.store(bytes);
        let cmd = QXLCommand { data: rig.fake.address(GUEST, offset), type_, padding: 0 };
        let pointer = rig.fake.address(HOST, offset);
        (QXLCommandExt { cmd, group_id: GUEST, flags: 0 }, release(pointer, GUEST))
    };
    let mut surface = rig.surface_command(3, 0);
    let pixels = rig.fake.address(GUEST, rig.fake.store(&[0; 32]));
    surface[33..41].copy_from_slice(&pixels.to_le_bytes());
    let (surface, surface_released) = stored(&surface, QXL_CMD_SURFACE);
    let (cursor, cursor_released) = stored(&set_cursor(&rig, GUEST), QXL_CMD_CURSOR);
    let (draw, draw_released) = stored(&[0; 191], QXL_CMD_DRAW);
    rig.handle.loadvm(vec![surface, draw, cursor]);
    assert_eq!(rig.fake.take_events(), [draw_released]);
    rig.handle.destroy_surfaces(Answer::Wait);
    assert_eq!(rig.fake.events(), [surface_released, cursor_released]);
}

#[test]
fn a_ring_that_refuses_to_be_armed_is_looked_into_again() {
    let rig = Rig::running();
    rig.fake.refuse_notifications(3);
    rig.handle.wakeup();
    let command = rig.fake.push(HOST, QXL_CMD_DRAW, &[0; 191]);
    rig.fake.wait_for(&release(command, HOST));
}

#[test]
fn a_guest_that_never_stops_drawing_does_not_hold_up_requests() {
    let rig = Rig::running();
    rig.fake.draw_endlessly();
    rig.handle.wakeup();
    rig.settle();
    rig.handle.destroy_surfaces(Answer::Wait);
    assert!(rig.fake.fetched() >= limits::COMMANDS_PER_FLUSH);
    rig.handle.stop();
    let at_stop = rig.fake.fetched();
    rig.settle();
    assert_eq!(rig.fake.fetched(), at_stop);
}

#[test]
fn stale_and_foreign_numbers_find_nothing() {
    let rig = Rig::new();
    let number = rig.fake.state().addr();
    assert!(Arc::ptr_eq(&lookup(number).expect("in service"), &rig.handle));
    assert!(lookup(0).is_none());
    assert!(lookup(usize::MAX).is_none());
    drop(rig);
    assert!(lookup(number).is_none());
}

#[test]
fn calls_from_inside_a_callback_do_not_wait_for_themselves() {
    let rig = Rig::running();
    let handle = Arc::clone(&rig.handle);
    let (tell, told) = unbounded();
    rig.fake.on_flush(move || {
        handle.reset_cursor();
        handle.wakeup();
        for cookie in 0..limits::QUEUED_REQUESTS as u64 * 2 {
            handle.monitors_config(HOST, 0, cookie);
        }
        tell.send(detach(&handle)).expect("the test listens");
    });
    rig.handle.oom();
    assert_eq!(told.recv(), Ok(false));
    rig.settle();
    let mut events = rig.fake.take_events();
    events.retain(|event| event != "flush_resources");
    events.sort_by_key(|event| event.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
    let expected: Vec<_> =
        (0..limits::QUEUED_REQUESTS * 2).map(|cookie| format!("async_complete {cookie}")).collect();
    assert_eq!(events, expected);
}

#[test]
fn removal_amid_requests_of_other_threads_ends_and_nothing_completes_twice() {
    for _ in 0..20 {
        let rig = Rig::running();
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let handle = &rig.handle;
                scope.spawn(move || {
                    for cookie in thread * 1000..thread * 1000 + 200 {
                        handle.flush_surfaces(cookie);
                        handle.wakeup();
                        handle.add_slot(FakeQxl::host_slot(), Answer::Wait);
                        handle.destroy_surface(0, Answer::Cookie(cookie + 500));
                    }
                });
            }
            rig.fake.wait_for("async_complete 50");
            assert!(detach(&rig.handle));
        });
        let mut events = rig.fake.events();
        let count = events.len();
        events.sort();
        events.dedup();
        assert_eq!(events.len(), count);
    }
}

#[test]
fn unusable_devices_are_refused() {
    let fake = FakeQxl::build(|_, interface| interface.get_init_info = None);
    assert!(matches!(
        attach(&fake.device(), 0, Box::new(|| ()), Arc::default()),
        Err(StartError::Device(crate::host::qxl::DeviceError::NoInitInfo))
    ));
    assert!(fake.state().is_null());
}
