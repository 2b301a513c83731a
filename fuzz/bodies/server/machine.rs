//! What a machine has beside its char devices: a graphics device with a hostile guest, input
//! devices, sound. All of it comes and goes.

use std::ptr;

use spice_server::ffi::audio::{
    spice_server_playback_get_buffer, spice_server_playback_put_samples,
    spice_server_playback_set_mute, spice_server_playback_set_volume, spice_server_playback_start,
    spice_server_playback_stop, spice_server_record_get_samples, spice_server_record_set_mute,
    spice_server_record_start, spice_server_record_stop, spice_server_set_playback_rate,
};
use spice_server::ffi::devices::spice_server_kbd_leds;
use spice_server::host::abi::SpiceKbdInstance;

use super::super::Input;
use super::super::qxl;
use super::super::qxl::device::Device;
use super::peripherals::{self, Peripheral};
use super::{client, host};

/// Graphics devices of a script, one after the other.
const SCREENS: usize = 4;

#[derive(Default)]
pub(super) struct Machine {
    screen: Option<Box<Device>>,
    /// How many there were.
    screens: usize,
    keyboard: Option<Box<Peripheral>>,
    mouse: Option<Box<Peripheral>>,
    tablet: Option<Box<Peripheral>>,
    speaker: Option<Box<Peripheral>>,
    microphone: Option<Box<Peripheral>>,
    /// Frames that were lent for sound.
    frames: Vec<*mut u32>,
}

impl Machine {
    /// The channel that a client of the script wants, and whether over a WebSocket.
    pub(super) fn channel(input: &mut Input<'_>) -> (u8, bool) {
        let byte = input.byte();
        let kind = [1, 10, 2, 4, 3, 5, 6, 9, 11, 8, 2, 10][usize::from(byte % 12)];
        (kind, byte & 0x80 == 0)
    }

    pub(super) fn operation(&mut self, input: &mut Input<'_>) {
        let operation = input.byte();
        match operation % 8 {
            0 => self.plug(input.byte()),
            1 => {
                self.sound(input);
            }
            2 => {
                // SAFETY: a keyboard of ours, or none.
                unsafe {
                    spice_server_kbd_leds(instance(self.keyboard.as_deref()), input.byte().into());
                }
            }
            _ => {
                if let Some(screen) = &self.screen {
                    qxl::operation(input, screen);
                }
            }
        }
        if operation & 0x80 == 0 {
            host::settle();
        }
    }

    /// Plugs one of the devices, or pulls it.
    fn plug(&mut self, which: u8) {
        let (place, interface) = match which % 8 {
            0 => (&mut self.keyboard, peripherals::keyboard()),
            1 => (&mut self.mouse, peripherals::mouse()),
            2 => (&mut self.tablet, peripherals::tablet()),
            3 => (&mut self.speaker, peripherals::speaker()),
            4 => (&mut self.microphone, peripherals::microphone()),
            _ => return self.plug_screen(),
        };
        match place.take() {
            Some(device) => {
                // The clients of sound go with it.
                client::excuse_all();
                device.unplug();
            }
            None => *place = Some(Peripheral::plug(interface)),
        }
    }

    fn plug_screen(&mut self) {
        if let Some(screen) = self.screen.take() {
            client::excuse_all();
            qxl::unplug(&screen);
            screen.check_end();
        } else if self.screens < SCREENS {
            self.screens += 1;
            // A stream device may have the display's number.
            self.screen = Some(Device::new()).filter(|screen| qxl::plug(screen));
        }
    }

    fn sound(&mut self, input: &mut Input<'_>) {
        let speaker = instance(self.speaker.as_deref()).cast();
        let microphone = instance(self.microphone.as_deref()).cast();
        let value = input.byte();
        // SAFETY: devices of ours, or none; the places are as large as is said.
        unsafe {
            match value % 12 {
                0 => spice_server_playback_start(speaker),
                1 => spice_server_playback_stop(speaker),
                2 | 3 => {
                    let (mut frame, mut samples) = (ptr::null_mut(), 0);
                    spice_server_playback_get_buffer(speaker, &raw mut frame, &raw mut samples);
                    if !frame.is_null() {
                        frame.write_bytes(value, samples as usize);
                        self.frames.push(frame);
                    }
                }
                4 | 5 => {
                    if let Some(frame) = self.frames.pop() {
                        spice_server_playback_put_samples(speaker, frame);
                    }
                }
                6 => spice_server_playback_set_mute(speaker, value >> 7),
                7 => {
                    let mut volume = [u16::from(value); 2];
                    spice_server_playback_set_volume(speaker, 2, volume.as_mut_ptr());
                }
                8 => spice_server_record_start(microphone),
                9 => spice_server_record_stop(microphone),
                10 => {
                    let mut samples = vec![0; 5000];
                    let most = u32::from(value) * 19;
                    let got =
                        spice_server_record_get_samples(microphone, samples.as_mut_ptr(), most);
                    assert!(got <= most, "more samples than there is room for");
                }
                _ => {
                    spice_server_record_set_mute(microphone, value >> 7);
                    spice_server_set_playback_rate(
                        speaker,
                        [44100, 48000][usize::from(value >> 7)],
                    );
                }
            }
        }
    }

    pub(super) fn unplug_all(&mut self) {
        if self.screen.is_some() {
            self.plug_screen();
        }
        let peripherals = [
            &mut self.keyboard,
            &mut self.mouse,
            &mut self.tablet,
            &mut self.speaker,
            &mut self.microphone,
        ];
        peripherals.into_iter().filter_map(Option::take).for_each(|device| device.unplug());
    }

    /// The server is done with all devices, or has ended.
    pub(super) fn check_end(self) {
        for frame in self.frames {
            // Frames come back whatever became of the device; so many are lent and no more.
            // SAFETY: a frame that was lent, and no device.
            unsafe { spice_server_playback_put_samples(ptr::null_mut(), frame) };
        }
        self.screen.iter().for_each(|screen| screen.check_end());
    }
}

fn instance(device: Option<&Peripheral>) -> *mut SpiceKbdInstance {
    device.map_or(ptr::null_mut(), Peripheral::instance)
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    // As for a server: a port, the agent, a main channel and a port's, data; then a screen
    // with a surface and something drawn, its clients, keys, sound.
    let plug: &[u8] = &[0x40, 0, 5, 0x40, 0, 0, 0x40, 0, 2, 0x40, 0, 3, 0x40, 0, 4, 7, 0, 7, 3];
    let clients: &[u8] =
        &[0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 3, 0, 0, 4, 0, 0, 0x85, 0, 0, 0x86, 0, 0, 0x81, 1];
    let draw: &[u8] = &[
        0x40, 3, 9, 16, 12, 64, 32, 1, 0, 0, 0, 0, 0x40, 3, 0x8f, 0, 80, 0, 1, 1, 0, 0, 0, 0, 0, 1,
        1, 4, 4, 0, 0, 0, 0, 3, 1, 1, 7, 1, 0, 2, 8, 0, 3, 0, 1, 0, 1, 0, 0, 0, 0, 0, 3, 0, 3, 0,
        3, 0, 3, 0, 0x40, 3, 5, 0x40, 3, 6, 0, 0, 4, 4, 0,
    ];
    let watch: &[u8] = &[4, 0, 0, 2, 4, 1, 0, 2, 6, 0xff, 0xff, 2, 6, 0xff, 0xff, 3];
    let keys: &[u8] = &[4, 0, 4, 30, 0, 0, 0, 4, 4, 2, 4, 1, 0, 1, 0, 4, 0x40, 2, 3];
    let sound: &[u8] = &[
        0x40, 1, 0, 0x40, 1, 2, 0x40, 1, 4, 0x40, 1, 2, 0x40, 1, 8, 4, 4, 4, 0, 0, 0, 0, 6, 0x40,
        1, 10, 0x40, 1, 4, 0x40, 1, 1,
    ];
    let data: &[u8] = &[2, 210, 1, 9, 220, 0, 9, 255, 0, 6, 0, 1, 1, 3, 250, 1];
    let gone: &[u8] = &[0x40, 0, 5, 0x40, 0, 2, 17, 2, 17, 0, 8, 0];
    [
        &[&[0], plug, clients, data][..],
        &[&[0], plug, clients, draw, watch, draw, watch],
        &[&[0], plug, clients, keys, sound],
        &[&[0], plug, clients, draw, watch, gone, plug, clients, draw],
        &[&[255], plug, clients, draw, watch, data, sound],
    ]
    .map(<[&[u8]]>::concat)
    .to_vec()
}
