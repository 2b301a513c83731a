//! Keyboard, mouse and tablet as far as they are used yet: which one is attached.
//!
//! The host may free an instance right after removing it, so only its address
//! is kept, to tell it from another.

/// The kinds of input device that can be attached, one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// A keyboard.
    Keyboard,
    /// A relative pointer.
    Mouse,
    /// An absolute pointer.
    Tablet,
}

/// An attached input device: the host's instance, never dereferenced here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputDevice {
    address: usize,
}

impl InputDevice {
    /// Remembers the instance at this address.
    pub fn at<T>(instance: *const T) -> Self {
        Self { address: instance as usize }
    }
}
