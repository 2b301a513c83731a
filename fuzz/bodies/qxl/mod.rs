//! A hostile guest of a graphics device: commands in both rings, structures in its memory,
//! memory slots, surfaces, the monitors' configuration, commands of a saved guest. Nothing
//! outside its memory is touched, commands are given back once at most, and each request
//! with a cookie is completed.
//!
//! The device is served by its worker thread, as a C program has it; requests that wait
//! keep both in step.

pub(super) mod device;

use std::ffi::c_int;

use spice_server::ffi::devices::{spice_server_add_interface, spice_server_remove_interface};
use spice_server::ffi::qxl::{
    spice_qxl_add_memslot, spice_qxl_add_memslot_async, spice_qxl_create_primary_surface,
    spice_qxl_create_primary_surface_async, spice_qxl_del_memslot,
    spice_qxl_destroy_primary_surface, spice_qxl_destroy_surface_wait, spice_qxl_destroy_surfaces,
    spice_qxl_destroy_surfaces_async, spice_qxl_driver_unload, spice_qxl_flush_surfaces_async,
    spice_qxl_loadvm_commands, spice_qxl_monitors_config_async, spice_qxl_oom,
    spice_qxl_reset_cursor, spice_qxl_reset_image_cache, spice_qxl_reset_memslots,
    spice_qxl_set_max_monitors, spice_qxl_start, spice_qxl_stop, spice_qxl_update_area,
    spice_qxl_update_area_async, spice_qxl_wakeup,
};
use spice_server::host::abi::{
    QXLCommand, QXLCommandExt, QXLDevMemSlot, QXLDevSurfaceCreate, QXLRect,
};

use super::server::host;
use super::{Body, Input, server};
use device::{Device, GUEST, MEMORY};

pub(crate) const BODY: Body = Body { name: "qxl", run, seeds };

/// Commands and operations of a script.
const OPERATIONS: usize = 200;

fn run(bytes: &[u8]) {
    let alone = server::ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let clock = server::clock::StoppedClock::new();
    let device = Device::new();
    let mut input = Input::new(bytes);
    assert!(plug(&device), "a graphics device is refused");
    let mut operations = 0;
    while !input.is_empty() && operations < OPERATIONS {
        operation(&mut input, &device);
        operations += 1;
    }
    unplug(&device);
    host::settle();
    device.check_end();
    drop((clock, alone));
}

/// Adds the device with one memory slot over all that it has, and starts it; false if the
/// server does not want it.
pub(super) fn plug(device: &Device) -> bool {
    // SAFETY: an instance with its interface, good until it is removed.
    let added = unsafe { spice_server_add_interface(host::server(), device.instance().cast()) };
    if added != 0 {
        return false;
    }
    // SAFETY: memory slots over the device's memory only, which outlives them.
    unsafe {
        spice_qxl_start(device.instance());
        Guest { input: &mut Input::new(&[]), device }.add_slot(0, 0, 0, MEMORY as u64, false);
    }
    true
}

pub(super) fn unplug(device: &Device) {
    // SAFETY: the instance that was added.
    let removed = unsafe { spice_server_remove_interface(device.instance().cast()) };
    assert_eq!(removed, 0);
}

/// Something that the guest does, or the host for it.
pub(super) fn operation(input: &mut Input<'_>, device: &Device) {
    Guest { input, device }.operation();
}

struct Guest<'a, 'b> {
    input: &'a mut Input<'b>,
    device: &'a Device,
}

impl Guest<'_, '_> {
    fn operation(&mut self) {
        let qxl = self.device.instance();
        let operation = self.input.byte();
        // SAFETY: a device in service; what is passed are structures of ours, and slots
        // over its memory, which outlives them.
        unsafe {
            match operation % 16 {
                0 | 1 => {
                    let command = self.command();
                    self.device.push(operation % 16 == 1, command);
                }
                2 | 3 => {
                    let offset = usize::from(self.input.word());
                    self.device.write(offset, self.input.run());
                }
                4 => {
                    // A surface, as the guest's driver describes it.
                    let (at, id) = (self.input.word(), u32::from(self.input.byte()));
                    let (kind, format) = (self.input.byte(), u32::from(self.input.byte()));
                    let (width, height) = (self.number(), self.number());
                    let stride = self.number();
                    let address = self.address();
                    let mut bytes = vec![0; 8];
                    bytes.extend(id.to_le_bytes());
                    bytes.extend([kind % 3, 0, 0, 0, 0]);
                    for field in [format, width, height, stride] {
                        bytes.extend(field.to_le_bytes());
                    }
                    bytes.extend(address.to_le_bytes());
                    self.device.write(at.into(), &bytes);
                    self.device.push(false, ext(at.into(), 5, GUEST, 0));
                }
                5 => spice_qxl_wakeup(qxl),
                6 => {
                    let mut area = QXLRect {
                        top: self.number() as i32,
                        left: self.number() as i32,
                        bottom: self.number() as i32,
                        right: self.number() as i32,
                    };
                    let surface = self.surface();
                    if operation & 0x80 == 0 {
                        let mut dirty = [QXLRect::default(); 4];
                        spice_qxl_update_area(
                            qxl,
                            surface,
                            &raw mut area,
                            dirty.as_mut_ptr(),
                            4,
                            1,
                        );
                    } else {
                        let cookie = self.device.cookie();
                        spice_qxl_update_area_async(qxl, surface, &raw mut area, 0, cookie);
                    }
                }
                7 => {
                    let slot = self.input.byte();
                    let (from, length) = (self.input.word(), self.input.word());
                    let end = (u64::from(from) + u64::from(length)).min(MEMORY as u64);
                    let generation = u32::from(self.input.byte() % 4);
                    self.add_slot(
                        u32::from(slot % 9),
                        generation,
                        from.into(),
                        end,
                        operation & 0x80 != 0,
                    );
                }
                8 => {
                    let slot = u32::from(self.input.byte() % 9);
                    if slot == 8 {
                        spice_qxl_reset_memslots(qxl);
                    } else {
                        spice_qxl_del_memslot(qxl, GUEST, slot);
                    }
                }
                9 => {
                    let mut create = QXLDevSurfaceCreate {
                        width: self.number(),
                        height: self.number(),
                        stride: self.number() as i32,
                        format: u32::from(self.input.byte()),
                        mouse_mode: u32::from(self.input.byte() % 2),
                        flags: u32::from(self.input.byte() % 2),
                        mem: self.address(),
                        group_id: GUEST,
                        ..QXLDevSurfaceCreate::default()
                    };
                    if operation & 0x80 == 0 {
                        spice_qxl_create_primary_surface(qxl, 0, &raw mut create);
                    } else {
                        let cookie = self.device.cookie();
                        spice_qxl_create_primary_surface_async(qxl, 0, &raw mut create, cookie);
                    }
                }
                10 => match self.input.byte() % 4 {
                    0 => spice_qxl_destroy_primary_surface(qxl, 0),
                    1 => spice_qxl_destroy_surfaces(qxl),
                    2 => spice_qxl_destroy_surfaces_async(qxl, self.device.cookie()),
                    _ => spice_qxl_destroy_surface_wait(qxl, self.surface()),
                },
                11 => {
                    let (address, cookie) = (self.address(), self.device.cookie());
                    spice_qxl_monitors_config_async(qxl, address, GUEST as c_int, cookie);
                }
                12 => {
                    let count = self.input.byte() % 8;
                    let mut commands: Vec<_> = (0..count).map(|_| self.command()).collect();
                    self.device.expect(commands.len());
                    spice_qxl_loadvm_commands(qxl, commands.as_mut_ptr(), count.into());
                }
                13 => match self.input.byte() % 8 {
                    0 => spice_qxl_oom(qxl),
                    1 => spice_qxl_reset_cursor(qxl),
                    2 => spice_qxl_reset_image_cache(qxl),
                    3 => spice_qxl_driver_unload(qxl),
                    4 => {
                        spice_qxl_set_max_monitors(qxl, self.number());
                    }
                    _ => spice_qxl_flush_surfaces_async(qxl, self.device.cookie()),
                },
                14 => {
                    spice_qxl_stop(qxl);
                    spice_qxl_start(qxl);
                }
                _ if operation & 0xc0 == 0x80 => self.drawable(),
                _ if operation & 0xc0 == 0xc0 => self.image(),
                _ => host::settle(),
            }
        }
    }

    /// A drawable with any details (docs/protocol/qxl.md), and its command.
    fn drawable(&mut self) {
        let (at, surface) = (self.input.word(), self.surface());
        let (effect, kind, own) = (self.input.byte(), self.input.byte(), self.input.byte());
        let mut bytes = vec![0; 8];
        bytes.extend(surface.to_le_bytes());
        bytes.extend([effect % 8, kind % 15, u8::from(own == 0xff)]);
        for _ in 0..8 {
            bytes.extend(self.number().to_le_bytes());
        }
        bytes.extend(u32::from(self.input.byte() % 3).to_le_bytes());
        bytes.extend(self.address().to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend([0xff; 12]);
        bytes.extend([0; 48]);
        for _ in 0..12 {
            match self.input.byte() % 4 {
                0 => bytes.extend(self.address().to_le_bytes()),
                1 => bytes.extend(self.number().to_le_bytes()),
                2 => bytes.extend(self.input.word().to_le_bytes()),
                _ => bytes.push(self.input.byte()),
            }
        }
        self.device.write(at.into(), &bytes);
        let flags = u32::from(own == 0xfe);
        self.device.push(false, ext(at.into(), 1, GUEST, flags));
    }

    /// A bitmap that drawables may take.
    fn image(&mut self) {
        let at = self.input.word();
        let (width, height) = (self.number(), self.number());
        let (format, flags) = (self.input.byte() % 12, self.input.byte() % 8);
        let (stride, palette, data) = (self.number(), self.address(), self.address());
        let mut bytes = vec![0; 10];
        bytes.extend([width, height].map(u32::to_le_bytes).concat());
        bytes.extend([format, flags]);
        bytes.extend([width, height, stride].map(u32::to_le_bytes).concat());
        bytes.extend([palette, data].map(u64::to_le_bytes).concat());
        self.device.write(at.into(), &bytes);
    }

    /// # Safety
    /// From and end lie in the device's memory.
    unsafe fn add_slot(&self, slot_id: u32, generation: u32, from: u64, end: u64, wait: bool) {
        let start = self.device.start();
        let mut slot = QXLDevMemSlot {
            slot_group_id: GUEST,
            slot_id,
            generation,
            virt_start: start + from,
            virt_end: start + end,
            addr_delta: start + from,
            ..QXLDevMemSlot::default()
        };
        let qxl = self.device.instance();
        // SAFETY: a device in service, and the caller's promise.
        unsafe {
            if wait {
                spice_qxl_add_memslot(qxl, &raw mut slot);
            } else {
                spice_qxl_add_memslot_async(qxl, &raw mut slot, self.device.cookie());
            }
        }
    }

    fn command(&mut self) -> QXLCommandExt {
        let kind = u32::from(self.input.byte() % 8);
        let flags = u32::from(self.input.byte() % 2);
        ext(self.address(), kind, GUEST, flags)
    }

    /// Mostly of the first slot.
    fn address(&mut self) -> u64 {
        match self.input.byte() {
            0xff => u64::from(self.input.long()) << 32 | u64::from(self.input.long()),
            slot @ 0xf0.. => {
                u64::from(slot & 7) << 56
                    | u64::from(self.input.byte() % 4) << 48
                    | u64::from(self.input.word())
            }
            _ => u64::from(self.input.word()),
        }
    }

    /// Small, or at an edge.
    fn number(&mut self) -> u32 {
        match self.input.byte() {
            0xff => self.input.long(),
            0xfe => u32::from(self.input.word()),
            0xfd => i32::MAX as u32,
            0xfc => i32::MIN as u32,
            0xfb => u32::MAX,
            small => u32::from(small) * 4,
        }
    }

    fn surface(&mut self) -> u32 {
        match self.input.byte() {
            0xff => self.input.long(),
            0xfe => 1023,
            small => u32::from(small),
        }
    }
}

fn ext(data: u64, type_: u32, group_id: u32, flags: u32) -> QXLCommandExt {
    QXLCommandExt { cmd: QXLCommand { data, type_, padding: 0 }, group_id, flags }
}

fn seeds() -> Vec<Vec<u8>> {
    let primary: &[u8] = &[9, 16, 12, 64, 32, 1, 0, 0, 0, 0];
    let surface: &[u8] = &[4, 0, 32, 3, 0, 32, 8, 8, 32, 0, 0, 64];
    let gone: &[u8] = &[4, 64, 32, 3, 1, 32, 8, 8, 32, 0, 0, 64];
    let draw: &[u8] = &[2, 0, 48, 4, 1, 2, 3, 4, 0, 1, 0, 0, 0, 48];
    let cursor: &[u8] = &[2, 8, 49, 1, 0, 1, 3, 0, 0, 0, 49];
    let update: &[u8] = &[0, 2, 0, 0, 0, 50, 6, 0, 0, 4, 4, 0];
    let slots: &[u8] = &[7, 1, 0, 16, 0, 16, 1, 0, 1, 0, 0xf1, 1, 0, 0, 8, 1, 6, 0, 0, 4, 4, 0];
    let others: &[u8] = &[11, 0, 0, 0, 12, 2, 5, 0, 0, 0, 32, 3, 0, 0, 8, 49, 13, 0, 13, 5, 14, 15];
    // A bitmap of 16 by 8 with 32 bits a pixel, flat and from the top; a rectangle in black;
    // a copy of the bitmap with OP_PUT.
    let image: &[u8] = &[0xcf, 0, 64, 4, 2, 8, 5, 16, 0, 0, 0, 0, 0, 72];
    let filled: &[u8] = &[
        0x8f, 0, 80, 0, 1, 1, 0, 0, 0, 0, 0, 1, 1, 4, 4, 0, 0, 0, 0, 3, 1, 1, 7, 1, 0, 2, 8, 0, 3,
        0, 1, 0, 1, 0, 0, 0, 0, 0, 3, 0, 3, 0, 3, 0, 3, 0,
    ];
    let copied: &[u8] = &[
        0x8f, 0, 81, 0, 1, 3, 0, 0, 0, 0, 0, 1, 1, 3, 5, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 1, 0, 1, 2,
        1, 4, 2, 8, 0, 3, 0, 3, 0, 1, 0, 1, 0, 0, 0, 0, 0, 3, 0, 3, 0,
    ];
    let end: &[u8] = &[10, 0, 10, 1, 13, 1, 8, 8];
    [
        &[primary, surface, draw, update][..],
        &[primary, surface, cursor, update, gone, update, end],
        &[slots, primary, update],
        &[primary, others, end, update],
        &[primary, image, filled, copied, update, surface, copied, update],
        &[&[
            0x87, 0, 0, 0, 0, 1, 1, 0x89, 0xfd, 0xfb, 0xfc, 1, 0, 0, 0, 0, 0, 0x86, 0, 0, 1, 1,
            0xff,
        ]],
    ]
    .map(<[&[u8]]>::concat)
    .to_vec()
}
