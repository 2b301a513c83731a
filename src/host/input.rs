//! Keyboard, mouse and tablet of the host.
//!
//! Called under the host's serialisation (QEMU's big lock). Any call may come back into
//! the library before it returns. A function that the host left out does nothing.

use std::ptr::NonNull;

use libc::c_int;

use super::abi::{
    SpiceBaseInstance, SpiceKbdInstance, SpiceKbdInterface, SpiceMouseInstance,
    SpiceMouseInterface, SpiceTabletInstance, SpiceTabletInterface,
};

/// A keyboard. Whoever holds it must forget it when the host removes the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyboard(NonNull<SpiceKbdInstance>);

/// A relative pointer; to be forgotten likewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mouse(NonNull<SpiceMouseInstance>);

/// An absolute pointer; to be forgotten likewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tablet(NonNull<SpiceTabletInstance>);

/// One of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputDevice {
    /// A keyboard.
    Keyboard(Keyboard),
    /// A relative pointer.
    Mouse(Mouse),
    /// An absolute pointer.
    Tablet(Tablet),
}

impl Keyboard {
    /// Wraps the host's instance.
    ///
    /// # Safety
    /// `instance` is a keyboard instance with its interface, and both stay good until the
    /// host removes the interface or destroys the server.
    pub unsafe fn from_host(instance: NonNull<SpiceBaseInstance>) -> Self {
        Self(instance.cast())
    }

    /// Whether it is this instance, which is not followed.
    pub fn is(self, instance: *const SpiceKbdInstance) -> bool {
        self.0.as_ptr().cast_const() == instance
    }

    fn interface(self) -> SpiceKbdInterface {
        // SAFETY: `from_host`'s promise.
        unsafe { *(*self.0.as_ptr()).base.sif.cast() }
    }

    /// Gives one byte of a scan code to the guest.
    pub fn push_scan(self, byte: u8) {
        if let Some(push) = self.interface().push_scan_freg {
            // SAFETY: the host's own function for this instance.
            unsafe { push(self.0.as_ptr(), byte) };
        }
    }

    /// Which lock lamps are lit: scroll 1, num 2, caps 4.
    pub fn lamps(self) -> u8 {
        let Some(leds) = self.interface().get_leds else {
            return 0;
        };
        // SAFETY: the host's own function for this instance.
        unsafe { leds(self.0.as_ptr()) }
    }
}

impl Mouse {
    /// Wraps the host's instance.
    ///
    /// # Safety
    /// As for [`Keyboard::from_host`], with a mouse.
    pub unsafe fn from_host(instance: NonNull<SpiceBaseInstance>) -> Self {
        Self(instance.cast())
    }

    fn interface(self) -> SpiceMouseInterface {
        // SAFETY: `from_host`'s promise.
        unsafe { *(*self.0.as_ptr()).base.sif.cast() }
    }

    /// Moves by dx to the right and dy down, turns the wheel by dz notches towards the
    /// user, with these buttons pressed.
    pub fn motion(self, dx: c_int, dy: c_int, dz: c_int, buttons: u32) {
        if let Some(motion) = self.interface().motion {
            // SAFETY: the host's own function for this instance.
            unsafe { motion(self.0.as_ptr(), dx, dy, dz, buttons) };
        }
    }

    /// Only changes the pressed buttons.
    pub fn buttons(self, buttons: u32) {
        if let Some(set) = self.interface().buttons {
            // SAFETY: the host's own function for this instance.
            unsafe { set(self.0.as_ptr(), buttons) };
        }
    }
}

impl Tablet {
    /// Wraps the host's instance.
    ///
    /// # Safety
    /// As for [`Keyboard::from_host`], with a tablet.
    pub unsafe fn from_host(instance: NonNull<SpiceBaseInstance>) -> Self {
        Self(instance.cast())
    }

    fn interface(self) -> SpiceTabletInterface {
        // SAFETY: `from_host`'s promise.
        unsafe { *(*self.0.as_ptr()).base.sif.cast() }
    }

    /// Tells the size of the picture that positions refer to.
    pub fn set_logical_size(self, width: c_int, height: c_int) {
        if let Some(set) = self.interface().set_logical_size {
            // SAFETY: the host's own function for this instance.
            unsafe { set(self.0.as_ptr(), width, height) };
        }
    }

    /// Moves to a place, with these buttons pressed.
    pub fn position(self, x: c_int, y: c_int, buttons: u32) {
        if let Some(position) = self.interface().position {
            // SAFETY: the host's own function for this instance.
            unsafe { position(self.0.as_ptr(), x, y, buttons) };
        }
    }

    /// Turns the wheel by dz notches towards the user, with these buttons pressed.
    pub fn wheel(self, dz: c_int, buttons: u32) {
        if let Some(wheel) = self.interface().wheel {
            // SAFETY: the host's own function for this instance.
            unsafe { wheel(self.0.as_ptr(), dz, buttons) };
        }
    }

    /// Only changes the pressed buttons.
    pub fn buttons(self, buttons: u32) {
        if let Some(set) = self.interface().buttons {
            // SAFETY: the host's own function for this instance.
            unsafe { set(self.0.as_ptr(), buttons) };
        }
    }
}
