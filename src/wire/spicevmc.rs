//! Messages of the usbredir, port and webdav channels (docs/protocol/spicevmc.md).

use super::common::Malformed;

/// Data, in either direction.
pub const DATA: u16 = 101;
/// Compressed data, in either direction.
pub const COMPRESSED_DATA: u16 = 102;
/// The one kind of compression: a raw LZ4 block without a frame.
pub const COMPRESSION_LZ4: u8 = 1;
/// What stands before the block: u8 kind of compression, u32 length without it.
pub const COMPRESSED_HEADER: usize = 5;
/// The capability of both sides that allows [`COMPRESSED_DATA`].
pub const CAP_LZ4: u32 = 0;
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
        // Where compression is offered, the message has become DATA before it gets here.
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

/// What stands before an LZ4 block that comes to `length` bytes.
pub fn compressed_header(length: u32) -> [u8; COMPRESSED_HEADER] {
    let [a, b, c, d] = length.to_le_bytes();
    [COMPRESSION_LZ4, a, b, c, d]
}

/// Takes what stands before a compressed block: the kind of compression and the length
/// without it.
pub fn parse_compressed_header(header: [u8; COMPRESSED_HEADER]) -> (u8, u32) {
    let [kind, a, b, c, d] = header;
    (kind, u32::from_le_bytes([a, b, c, d]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_headers_come_back() {
        assert_eq!(compressed_header(0x0102_0304), [1, 4, 3, 2, 1]);
        assert_eq!(parse_compressed_header([1, 4, 3, 2, 1]), (1, 0x0102_0304));
    }

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
