//! Who has the pointer: the guest (mode SERVER) or the client (mode CLIENT), and whether
//! the client may have it.
//!
//! Runs under the host's serialisation. Graphics devices change on other threads; they
//! only leave a note, and the main loop comes to it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Server;
use super::connection::Connection;
use super::qxl::{ChangeHook, ClientMouse};
use crate::channels::inputs::pointer::Mover;
use crate::wire::ChannelKey;
use crate::wire::main::{self, mouse_mode, to_client};

/// What the server keeps of it.
#[derive(Default)]
pub(super) struct MouseMode {
    modes: Cell<Modes>,
    /// What the graphics devices said when they were last asked. A device that has just
    /// been added and shows no picture yet is not asked.
    displays: Cell<ClientMouse>,
    /// A graphics device may say something else now.
    changed: Arc<AtomicBool>,
}

/// The mode, and whether it could be CLIENT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Modes {
    /// The mode now, as [`mouse_mode`] has it.
    pub(super) current: u16,
    client_allowed: bool,
}

impl Default for Modes {
    fn default() -> Self {
        Self { current: mouse_mode::SERVER, client_allowed: false }
    }
}

impl Modes {
    /// The set of modes that a client may ask for.
    pub(super) fn supported(self) -> u16 {
        if self.client_allowed {
            mouse_mode::SERVER | mouse_mode::CLIENT
        } else {
            mouse_mode::SERVER
        }
    }

    /// Mode CLIENT became possible or impossible; in the latter case the guest has the
    /// pointer again.
    fn with_client_allowed(self, client_allowed: bool) -> Self {
        let current = if client_allowed { self.current } else { mouse_mode::SERVER };
        Self { current, client_allowed }
    }

    /// A client wants this mode; it stays as it is if that is not possible.
    fn with_wish(self, wanted: u16) -> Self {
        let possible =
            wanted == mouse_mode::SERVER || (wanted == mouse_mode::CLIENT && self.client_allowed);
        if possible { Self { current: wanted, ..self } } else { self }
    }
}

impl Server {
    /// What a graphics device calls when its answer may have changed.
    pub(super) fn mouse_hook(&self) -> ChangeHook {
        let changed = Arc::clone(&self.mouse_mode.changed);
        let rouse = self.rouse_hook();
        Box::new(move || {
            changed.store(true, Ordering::SeqCst);
            rouse();
        })
    }

    /// Makes the main loop come round, on any thread.
    pub(super) fn rouse_hook(&self) -> ChangeHook {
        let rouse = self.io.borrow().as_ref().map(|io| io.rouser());
        Box::new(move || {
            if let Some(rouse) = &rouse {
                rouse();
            }
        })
    }

    /// Asks the graphics devices if one of them has left a note.
    pub(super) fn settle_mouse_mode(self: &Rc<Self>) {
        if self.mouse_mode.changed.swap(false, Ordering::SeqCst) {
            self.ask_displays();
        }
    }

    /// Asks the graphics devices whether the client may have the pointer.
    pub(super) fn ask_displays(self: &Rc<Self>) {
        let displays = self.displays.borrow().clone();
        let answer = answer_of(displays.iter().map(|display| display.client_mouse()));
        self.mouse_mode.displays.set(answer);
        self.update_mouse_mode();
        self.tell_tablet_size();
    }

    /// Decides anew whether the client may have the pointer. To be called when an agent,
    /// a tablet or a display channel came or went, or the agent mouse was turned on or off.
    pub(super) fn update_mouse_mode(self: &Rc<Self>) {
        let allowed =
            self.mouse_mode.displays.get().allowed && (self.agent_points() || self.tablet_points());
        self.change_modes(self.mouse_modes().with_client_allowed(allowed));
    }

    /// The mode, and what else it could be.
    pub(super) fn mouse_modes(&self) -> Modes {
        self.mouse_mode.modes.get()
    }

    /// Whether the guest has the pointer.
    pub fn is_server_mouse(self: &Rc<Self>) -> bool {
        self.settle_mouse_mode();
        self.mouse_modes().current == mouse_mode::SERVER
    }

    /// A client asks for a mode.
    pub(super) fn handle_mouse_mode_request(self: &Rc<Self>, client: &Connection, wanted: u16) {
        self.settle_mouse_mode();
        if !matches!(wanted, mouse_mode::SERVER | mouse_mode::CLIENT) {
            crate::warning!(
                about client;
                "{} asks for the unknown mouse mode {wanted}",
                client.peer
            );
        }
        self.change_modes(self.mouse_modes().with_wish(wanted));
    }

    /// Who moves the pointer now.
    pub(super) fn mover(&self) -> Mover {
        if self.mouse_modes().current == mouse_mode::SERVER {
            Mover::Mouse
        } else if self.agent_points() {
            Mover::Agent
        } else {
            Mover::Tablet
        }
    }

    /// Tells the tablet how large the picture is that positions refer to, if they are for
    /// it at all.
    pub(super) fn tell_tablet_size(&self) {
        if self.mouse_modes().client_allowed
            && let Some(tablet) = self.input.tablet()
        {
            let ClientMouse { width, height, .. } = self.mouse_mode.displays.get();
            let length = |pixels| i32::try_from(pixels).unwrap_or(i32::MAX);
            tablet.set_logical_size(length(width), length(height));
        }
    }

    fn change_modes(&self, modes: Modes) {
        if self.mouse_mode.modes.replace(modes) == modes {
            return;
        }
        let body = main::mouse_mode(modes.supported(), modes.current);
        for connection in self.main_connections() {
            self.send(&connection, to_client::MOUSE_MODE, &body);
        }
    }

    /// A tablet's positions have one meaning only if there is one display, a graphics
    /// device's.
    fn tablet_points(&self) -> bool {
        let is_display = |channel: ChannelKey| channel.kind == ChannelKey::DISPLAY;
        let channels = self.channels.borrow();
        self.input.tablet().is_some()
            && self.displays.borrow().len() == 1
            && channels.iter().filter(|served| is_display(served.channel())).count() == 1
    }
}

/// What the graphics devices say, the newest first: the first that shows a picture decides
/// for all, and without any picture nothing speaks against it.
fn answer_of(displays: impl ExactSizeIterator<Item = Option<ClientMouse>>) -> ClientMouse {
    let without_picture = ClientMouse { allowed: displays.len() > 0, width: 0, height: 0 };
    displays.flatten().next().unwrap_or(without_picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_picture_decides() {
        let small = ClientMouse { allowed: true, width: 640, height: 480 };
        let barred = ClientMouse { allowed: false, width: 800, height: 600 };
        assert_eq!(answer_of([].into_iter()), ClientMouse::default());
        assert_eq!(answer_of([None, Some(small), Some(barred)].into_iter()), small);
        assert_eq!(answer_of([Some(barred), Some(small)].into_iter()), barred);
        let nothing = ClientMouse { allowed: true, width: 0, height: 0 };
        assert_eq!(answer_of([None, None].into_iter()), nothing);
    }

    #[test]
    fn the_guest_gets_the_pointer_back() {
        let modes = Modes::default();
        assert_eq!(modes.with_wish(2), modes);
        let allowed = modes.with_client_allowed(true);
        assert_eq!((allowed.supported(), allowed.current), (3, 1));
        let client = allowed.with_wish(2);
        assert_eq!((client.supported(), client.current), (3, 2));
        assert_eq!(client.with_wish(3), client);
        assert_eq!(client.with_wish(0), client);
        assert_eq!(client.with_wish(1), allowed);
        assert_eq!(client.with_client_allowed(true), client);
        assert_eq!(client.with_client_allowed(false), modes);
    }
}
