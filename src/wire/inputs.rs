//! Messages of the inputs channel (docs/protocol/inputs.md).

use super::common::Malformed;
use super::{ChannelKey, Reader, Truncated};

/// The channel: there is one.
pub const CHANNEL: ChannelKey = ChannelKey { kind: 3, id: 0 };
/// What the server offers: it takes [`FromClient::Scancodes`].
pub const CAP_KEY_SCANCODE: u32 = 0;

/// Server to client message types.
pub mod to_client {
    /// The first message: u16 locks.
    pub const INIT: u16 = 101;
    /// The locks now: u16.
    pub const KEY_MODIFIERS: u16 = 102;
    /// A bunch of the client's movements was taken.
    pub const MOUSE_MOTION_ACK: u16 = 111;
}

/// Client to server message types.
mod from_client {
    pub(super) const KEY_DOWN: u16 = 101;
    pub(super) const KEY_UP: u16 = 102;
    pub(super) const KEY_MODIFIERS: u16 = 103;
    pub(super) const KEY_SCANCODE: u16 = 104;
    pub(super) const MOUSE_MOTION: u16 = 111;
    pub(super) const MOUSE_POSITION: u16 = 112;
    pub(super) const MOUSE_PRESS: u16 = 113;
    pub(super) const MOUSE_RELEASE: u16 = 114;
}

/// Bits of a lock mask, as clients and the keyboard interface have them.
pub mod lock {
    /// Scroll lock.
    pub const SCROLL: u8 = 1;
    /// Num lock.
    pub const NUM: u8 = 2;
    /// Caps lock.
    pub const CAPS: u8 = 4;
    /// All of them.
    pub const ALL: u8 = SCROLL | NUM | CAPS;
}

/// Numbers of the buttons that are the two ways of a wheel.
pub mod button {
    /// Away from the user.
    pub const UP: u8 = 4;
    /// Towards the user.
    pub const DOWN: u8 = 5;
}

/// What a client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromClient<'a> {
    /// A key went down or up, which the code itself says: up to four bytes, the lowest
    /// first.
    Key(u32),
    /// Any number of scan code bytes, at least one.
    Scancodes(&'a [u8]),
    /// The client's locks.
    Locks(u16),
    /// Something about the pointer.
    Pointer(PointerEvent),
}

/// What a client says about its pointer. `buttons` are those pressed afterwards, in the
/// channel's mask: left 1, middle 2, right 4, wheel up 8, wheel down 16, side 32, extra 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointerEvent {
    /// It moved by so much.
    Motion {
        /// To the right.
        dx: i32,
        /// Downwards.
        dy: i32,
        /// Pressed buttons.
        buttons: u16,
    },
    /// It is there.
    Position {
        /// From the left.
        x: u32,
        /// From the top.
        y: u32,
        /// Pressed buttons.
        buttons: u16,
        /// On which display.
        display: u8,
    },
    /// A button went down, or the wheel was turned.
    Press {
        /// Which one, as in [`button`].
        button: u8,
        /// Pressed buttons.
        buttons: u16,
    },
    /// A button went up.
    Release {
        /// Pressed buttons.
        buttons: u16,
    },
}

/// Takes a message of the inputs channel itself.
pub fn parse(kind: u16, body: &[u8]) -> Result<FromClient<'_>, Malformed> {
    parse_known(kind, body)
        .map_err(|Truncated| Malformed::Short(kind))?
        .ok_or(Malformed::Unknown(kind))
}

/// `None` for a type that the channel does not have.
fn parse_known(kind: u16, body: &[u8]) -> Result<Option<FromClient<'_>>, Truncated> {
    use from_client as c;
    let mut fields = Reader::new(body);
    Ok(Some(match kind {
        c::KEY_DOWN | c::KEY_UP => FromClient::Key(fields.u32()?),
        c::KEY_MODIFIERS => FromClient::Locks(fields.u16()?),
        c::KEY_SCANCODE if body.is_empty() => return Err(Truncated),
        c::KEY_SCANCODE => FromClient::Scancodes(body),
        c::MOUSE_MOTION => FromClient::Pointer(PointerEvent::Motion {
            dx: fields.u32()? as i32,
            dy: fields.u32()? as i32,
            buttons: fields.u16()?,
        }),
        c::MOUSE_POSITION => FromClient::Pointer(PointerEvent::Position {
            x: fields.u32()?,
            y: fields.u32()?,
            buttons: fields.u16()?,
            display: fields.u8()?,
        }),
        c::MOUSE_PRESS => FromClient::Pointer(PointerEvent::Press {
            button: fields.u8()?,
            buttons: fields.u16()?,
        }),
        c::MOUSE_RELEASE => {
            fields.u8()?;
            FromClient::Pointer(PointerEvent::Release { buttons: fields.u16()? })
        }
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_out_in_order() {
        assert_eq!(parse(101, &[0xe0, 0x4b, 0, 0]), Ok(FromClient::Key(0x4be0)));
        assert_eq!(parse(102, &[0x9e, 0, 0, 0]), Ok(FromClient::Key(0x9e)));
        assert_eq!(parse(103, &[6, 0]), Ok(FromClient::Locks(6)));
        assert_eq!(parse(104, &[1, 2]), Ok(FromClient::Scancodes(&[1, 2])));
        let motion = PointerEvent::Motion { dx: -1, dy: 2, buttons: 0x0102 };
        let body = [0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 2, 1];
        assert_eq!(parse(111, &body), Ok(FromClient::Pointer(motion)));
        let position = PointerEvent::Position { x: 1, y: 2, buttons: 3, display: 4 };
        let body = [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 4];
        assert_eq!(parse(112, &body), Ok(FromClient::Pointer(position)));
        let press = PointerEvent::Press { button: 5, buttons: 16 };
        assert_eq!(parse(113, &[5, 16, 0]), Ok(FromClient::Pointer(press)));
        let release = PointerEvent::Release { buttons: 1 };
        assert_eq!(parse(114, &[5, 1, 0]), Ok(FromClient::Pointer(release)));
    }

    #[test]
    fn each_needs_its_bytes_and_may_have_more() {
        for (kind, size) in
            [(101, 4), (102, 4), (103, 2), (104, 1), (111, 10), (112, 11), (113, 3), (114, 3)]
        {
            let body = [1; 12];
            assert_eq!(parse(kind, &body[..size - 1]), Err(Malformed::Short(kind)));
            assert!(parse(kind, &body[..size]).is_ok());
            assert!(parse(kind, &body).is_ok());
        }
        for kind in [0, 100, 105, 110, 115] {
            assert_eq!(parse(kind, &[0; 16]), Err(Malformed::Unknown(kind)));
        }
    }
}
