//! Messages of the usbredir, port and webdav channels (docs/protocol/spicevmc.md).

use super::common::Malformed;

/// Channel type numbers of the family.
pub mod channel {
    /// USB redirection.
    pub const USBREDIR: u8 = 9;
    /// A named port.
    pub const PORT: u8 = 10;
    /// A shared folder: a port by another number.
    pub const WEBDAV: u8 = 11;
}

/// Data, in either direction.
pub const DATA: u16 = 101;
/// Compressed data, in either direction.
const COMPRESSED_DATA: u16 = 102;
/// Client to server: a port event.
const CLIENT_PORT_EVENT: u16 = 201;
/// Server to client: the port's name and state.
pub const PORT_INIT: u16 = 201;
/// Server to client: a port event.
pub const PORT_EVENT: u16 = 202;

/// Port events, as they stand on the wire and in the C API.
pub mod event {
    /// The guest opened the port.
    pub const OPENED: u8 = 0;
    /// The guest closed the port.
    pub const CLOSED: u8 = 1;
}

/// What a client says besides data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromClient {
    /// Bytes for the device: the whole body.
    Data,
    /// A port event; the value is the device's business.
    PortEvent(u8),
}

/// Takes a message of a spicevmc channel; `is_port` when it has port events.
pub fn parse(kind: u16, body: &[u8], is_port: bool) -> Result<FromClient, Malformed> {
    match kind {
        DATA if body.is_empty() => Err(Malformed::Short(kind)),
        DATA => Ok(FromClient::Data),
        // Compression is not offered, so a client that sends it is wrong.
        COMPRESSED_DATA => Err(Malformed::Unexpected(kind)),
        CLIENT_PORT_EVENT if is_port => {
            body.first().map(|&event| FromClient::PortEvent(event)).ok_or(Malformed::Short(kind))
        }
        _ => Err(Malformed::Unknown(kind)),
    }
}

/// PORT_INIT: u32 name length with the NUL, u32 offset of the name, u8 opened, the name.
pub fn port_init(name: &[u8], opened: bool) -> Vec<u8> {
    let mut body = Vec::with_capacity(10 + name.len());
    body.extend_from_slice(&(name.len() as u32 + 1).to_le_bytes());
    body.extend_from_slice(&9u32.to_le_bytes());
    body.push(u8::from(opened));
    body.extend_from_slice(name);
    body.push(0);
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_init_points_at_the_name() {
        assert_eq!(port_init(b"ab", true), [3, 0, 0, 0, 9, 0, 0, 0, 1, b'a', b'b', 0]);
    }

    #[test]
    fn port_events_exist_on_ports_only() {
        assert_eq!(parse(201, &[2, 9], true), Ok(FromClient::PortEvent(2)));
        assert_eq!(parse(201, &[], true), Err(Malformed::Short(201)));
        assert_eq!(parse(201, &[2], false), Err(Malformed::Unknown(201)));
    }

    #[test]
    fn empty_data_is_refused() {
        assert_eq!(parse(DATA, &[], true), Err(Malformed::Short(DATA)));
    }
}
