//! What a client's pointer messages do: which device moves, in which numbers, and which
//! of them are acknowledged.

use crate::wire::agent::MouseState;
use crate::wire::inputs::{PointerEvent, button};

/// Who moves the guest's pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mover {
    /// The mouse, by so much: mouse mode SERVER.
    Mouse,
    /// The agent in the guest, to a place: mouse mode CLIENT with an agent that may.
    Agent,
    /// The tablet, to a place: mouse mode CLIENT otherwise.
    Tablet,
}

/// What is to be done. `buttons` are the devices' mask: left 1, right 2, middle 4,
/// side 0x40, extra 0x80.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Move the mouse and turn its wheel.
    MouseMotion {
        /// To the right.
        dx: i32,
        /// Downwards.
        dy: i32,
        /// Notches of the wheel, towards the user.
        dz: i32,
        /// Pressed buttons.
        buttons: u32,
    },
    /// Change the mouse's buttons.
    MouseButtons(u32),
    /// Move the tablet's pen.
    TabletPosition {
        /// From the left.
        x: i32,
        /// From the top.
        y: i32,
        /// Pressed buttons.
        buttons: u32,
    },
    /// Turn the tablet's wheel.
    TabletWheel {
        /// Notches, towards the user.
        dz: i32,
        /// Pressed buttons.
        buttons: u32,
    },
    /// Change the tablet's buttons.
    TabletButtons(u32),
    /// Tell the agent.
    Agent(MouseState),
}

/// The pointer of all clients.
#[derive(Debug, Default)]
pub struct Pointer {
    /// Where the agent was told it is: buttons come without a place.
    agent: MouseState,
}

/// What is known of one client.
#[derive(Debug, Default)]
pub struct Movements {
    /// Movements since the last acknowledgement.
    unacknowledged: u16,
    /// The buttons that it holds, in the channel's mask.
    held: u16,
}

/// So many movements get one acknowledgement. spice-gtk has at most twice as many under
/// way.
const ACKNOWLEDGED_TOGETHER: u16 = 4;

/// The channel's bits for the wheel: it turns, and nobody holds it.
const WHEEL: u16 = 0x18;

/// The agent's bits for the wheel.
const AGENT_WHEEL_UP: u32 = 0x10;
const AGENT_WHEEL_DOWN: u32 = 0x20;

impl Pointer {
    /// What a client's message does; `None` for nothing: movements are for the mouse,
    /// positions for the other two.
    pub fn handle(&mut self, event: PointerEvent, mover: Mover) -> Option<Action> {
        match (mover, event) {
            (Mover::Mouse, PointerEvent::Motion { dx, dy, buttons }) => {
                Some(Action::MouseMotion { dx, dy, dz: 0, buttons: device_buttons(buttons) })
            }
            (Mover::Mouse, PointerEvent::Press { button, buttons }) => {
                let (dz, buttons) = (wheel(button), device_buttons(buttons));
                Some(Action::MouseMotion { dx: 0, dy: 0, dz, buttons })
            }
            (Mover::Mouse, PointerEvent::Release { buttons }) => {
                Some(Action::MouseButtons(device_buttons(buttons)))
            }
            (Mover::Agent, PointerEvent::Position { x, y, buttons, display }) => {
                self.agent = MouseState { x, y, buttons: agent_buttons(buttons), display };
                Some(Action::Agent(self.agent))
            }
            (Mover::Agent, PointerEvent::Press { button, buttons }) => {
                let turned = match wheel(button) {
                    -1 => AGENT_WHEEL_UP,
                    1 => AGENT_WHEEL_DOWN,
                    _ => 0,
                };
                self.agent.buttons = agent_buttons(buttons) | turned;
                Some(Action::Agent(self.agent))
            }
            (Mover::Agent, PointerEvent::Release { buttons }) => {
                self.agent.buttons = agent_buttons(buttons);
                Some(Action::Agent(self.agent))
            }
            (Mover::Tablet, PointerEvent::Position { x, y, buttons, display: _ }) => {
                let at = |place| i32::try_from(place).unwrap_or(i32::MAX);
                let buttons = device_buttons(buttons);
                Some(Action::TabletPosition { x: at(x), y: at(y), buttons })
            }
            (Mover::Tablet, PointerEvent::Press { button, buttons }) => {
                Some(Action::TabletWheel { dz: wheel(button), buttons: device_buttons(buttons) })
            }
            (Mover::Tablet, PointerEvent::Release { buttons }) => {
                Some(Action::TabletButtons(device_buttons(buttons)))
            }
            (Mover::Mouse, PointerEvent::Position { .. })
            | (Mover::Agent | Mover::Tablet, PointerEvent::Motion { .. }) => None,
        }
    }
}

impl Movements {
    /// Whether this message is to be answered with an acknowledgement. Movements count
    /// whether they do something or not. `leaving`: the client goes to another host, which
    /// answers instead.
    pub fn handle(&mut self, event: &PointerEvent, leaving: bool) -> bool {
        let (PointerEvent::Motion { buttons, .. }
        | PointerEvent::Position { buttons, .. }
        | PointerEvent::Press { buttons, .. }
        | PointerEvent::Release { buttons }) = *event;
        self.held = buttons & !WHEEL;
        if matches!(event, PointerEvent::Press { .. } | PointerEvent::Release { .. }) {
            return false;
        }
        self.unacknowledged = self.unacknowledged.saturating_add(1);
        let full = !leaving && self.unacknowledged >= ACKNOWLEDGED_TOGETHER;
        if full {
            self.unacknowledged = 0;
        }
        full
    }

    /// Movements since the last acknowledgement, for another host.
    pub fn unacknowledged(&self) -> u16 {
        self.unacknowledged
    }

    /// Goes on with the count of another host. Returns how many acknowledgements the
    /// client has earned meanwhile.
    pub fn restore(&mut self, unacknowledged: u16) -> u16 {
        self.unacknowledged = unacknowledged % ACKNOWLEDGED_TOGETHER;
        unacknowledged / ACKNOWLEDGED_TOGETHER
    }

    /// Whether the client holds a button, which nobody lets go of when it is gone.
    pub fn holds_buttons(&self) -> bool {
        self.held != 0
    }
}

/// Notches towards the user.
fn wheel(button: u8) -> i32 {
    match button {
        button::UP => -1,
        button::DOWN => 1,
        _ => 0,
    }
}

/// The channel's mask as devices have it: middle and right change places, the wheel is not
/// a button, and the others move up by one.
fn device_buttons(channel: u16) -> u32 {
    let channel = u32::from(channel);
    let (left, middle, right) = (channel & 1, channel & 2, channel & 4);
    left | middle << 1 | right >> 1 | (channel & !0x1f) << 1
}

/// The channel's mask as the agent has it.
fn agent_buttons(channel: u16) -> u32 {
    u32::from(channel) << 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOTION: PointerEvent = PointerEvent::Motion { dx: 3, dy: -4, buttons: 2 };
    const POSITION: PointerEvent = PointerEvent::Position { x: 5, y: 6, buttons: 4, display: 1 };

    #[test]
    fn the_mouse_moves_by_so_much() {
        let mut pointer = Pointer::default();
        let mut handle = |event| pointer.handle(event, Mover::Mouse);
        let moved = Action::MouseMotion { dx: 3, dy: -4, dz: 0, buttons: 4 };
        assert_eq!(handle(MOTION), Some(moved));
        assert_eq!(handle(POSITION), None);
        let turned = Action::MouseMotion { dx: 0, dy: 0, dz: -1, buttons: 1 };
        assert_eq!(handle(PointerEvent::Press { button: 4, buttons: 9 }), Some(turned));
        let pressed = Action::MouseMotion { dx: 0, dy: 0, dz: 0, buttons: 2 };
        assert_eq!(handle(PointerEvent::Press { button: 3, buttons: 4 }), Some(pressed));
        assert_eq!(handle(PointerEvent::Release { buttons: 0 }), Some(Action::MouseButtons(0)));
    }

    #[test]
    fn the_tablet_goes_to_a_place() {
        let mut pointer = Pointer::default();
        let mut handle = |event| pointer.handle(event, Mover::Tablet);
        assert_eq!(handle(MOTION), None);
        assert_eq!(handle(POSITION), Some(Action::TabletPosition { x: 5, y: 6, buttons: 2 }));
        let turned = Action::TabletWheel { dz: 1, buttons: 0 };
        assert_eq!(handle(PointerEvent::Press { button: 5, buttons: 16 }), Some(turned));
        assert_eq!(handle(PointerEvent::Release { buttons: 1 }), Some(Action::TabletButtons(1)));
        let far = PointerEvent::Position { x: u32::MAX, y: 0, buttons: 0, display: 0 };
        let there = Action::TabletPosition { x: i32::MAX, y: 0, buttons: 0 };
        assert_eq!(handle(far), Some(there));
    }

    #[test]
    fn the_agent_is_told_the_last_place_again() {
        let mut pointer = Pointer::default();
        let mut handle = |event| pointer.handle(event, Mover::Agent);
        let there = MouseState { x: 5, y: 6, buttons: 8, display: 1 };
        assert_eq!(handle(MOTION), None);
        assert_eq!(handle(POSITION), Some(Action::Agent(there)));
        for (button, buttons, told) in
            [(1, 1, 2), (4, 0, 0x10), (4, 8, 0x10), (5, 16, 0x20), (6, 0x21, 0x42), (7, 0x40, 0x80)]
        {
            assert_eq!(
                handle(PointerEvent::Press { button, buttons }),
                Some(Action::Agent(MouseState { buttons: told, ..there }))
            );
        }
        let released = MouseState { buttons: 4, ..there };
        assert_eq!(handle(PointerEvent::Release { buttons: 2 }), Some(Action::Agent(released)));
    }

    #[test]
    fn each_button_has_its_place() {
        let devices = [1, 4, 2, 0, 0, 0x40, 0x80];
        for (number, device) in devices.into_iter().enumerate() {
            assert_eq!(device_buttons(1 << number), device, "button {}", number + 1);
        }
        assert_eq!(device_buttons(0x7f), 0xc7);
    }

    #[test]
    fn held_buttons_are_those_of_the_last_message() {
        let mut movements = Movements::default();
        for (event, holds) in [
            (PointerEvent::Motion { dx: 0, dy: 0, buttons: 1 }, true),
            (PointerEvent::Release { buttons: 0 }, false),
            (PointerEvent::Press { button: 4, buttons: 0x18 }, false),
            (PointerEvent::Press { button: 6, buttons: 0x38 }, true),
            (PointerEvent::Position { x: 0, y: 0, buttons: 0, display: 0 }, false),
        ] {
            movements.handle(&event, false);
            assert_eq!(movements.holds_buttons(), holds, "{event:?}");
        }
    }

    #[test]
    fn every_fourth_movement_is_acknowledged() {
        let mut movements = Movements::default();
        let acks: Vec<bool> = [MOTION, POSITION]
            .iter()
            .chain([&PointerEvent::Release { buttons: 0 }])
            .cycle()
            .take(18)
            .map(|event| movements.handle(event, false))
            .collect();
        let acked: Vec<usize> = (0..18).filter(|&at| acks[at]).collect();
        assert_eq!(acked, [4, 10, 16]);
    }

    #[test]
    fn movements_before_the_move_are_acknowledged_behind_it() {
        let mut here = Movements::default();
        assert_eq!((0..5).filter(|_| here.handle(&MOTION, false)).count(), 1);
        assert!((0..9).all(|_| !here.handle(&MOTION, true)));
        assert_eq!(here.unacknowledged(), 10);
        let mut there = Movements::default();
        assert_eq!(there.restore(here.unacknowledged()), 2);
        assert_eq!([MOTION; 3].map(|event| there.handle(&event, false)), [false, true, false]);
        assert_eq!(there.restore(u16::MAX), 16_383, "which is a few hundred kilobytes");
    }
}
