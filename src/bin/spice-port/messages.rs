//! What a server says on the main channel and on ports, as far as this client cares
//! (docs/protocol/main.md, docs/protocol/spicevmc.md). No state.

use bytes::Bytes;

use spice_server::wire::main::to_client;
use spice_server::wire::spicevmc::{self, event};
use spice_server::wire::{ChannelKey, Reader, Truncated};

/// A message of the main channel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OfMain {
    /// The session's id, which its other channels present.
    Session(u32),
    /// The channels that may be linked to.
    Channels(Vec<ChannelKey>),
    /// Something that a port does not need.
    Other,
}

/// A message of a port.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OfPort {
    /// What the port is called and whether the guest has it open.
    Init { name: Vec<u8>, open: bool },
    /// Bytes of the guest's.
    Data(Bytes),
    /// The guest opened it.
    Opened,
    /// The guest closed it.
    Closed,
    /// A break, as of a serial line.
    Break,
    /// Something newer than this program.
    Other,
}

/// Client to server: asks for the channels.
pub(crate) const ATTACH_CHANNELS: u16 = 104;
/// Client to server: a port event.
pub(crate) const PORT_EVENT: u16 = 201;
/// The port event that stands for a break.
pub(crate) const BREAK: u8 = 2;

/// Understands a message of the main channel.
pub(crate) fn of_main(kind: u16, body: &[u8]) -> Result<OfMain, Truncated> {
    let mut reader = Reader::new(body);
    Ok(match kind {
        to_client::INIT => OfMain::Session(reader.u32()?),
        to_client::CHANNELS_LIST => {
            let count = reader.u32()?;
            let channels = (0..count).map(|_| channel(&mut reader));
            OfMain::Channels(channels.collect::<Result<_, _>>()?)
        }
        _ => OfMain::Other,
    })
}

fn channel(reader: &mut Reader<'_>) -> Result<ChannelKey, Truncated> {
    Ok(ChannelKey { kind: reader.u8()?, id: reader.u8()? })
}

/// Understands a message of a port.
pub(crate) fn of_port(kind: u16, body: Bytes) -> Result<OfPort, Truncated> {
    let mut reader = Reader::new(&body);
    Ok(match kind {
        spicevmc::DATA => OfPort::Data(body),
        spicevmc::PORT_INIT => {
            let (length, offset) = (reader.u32()?, reader.u32()?);
            let open = reader.u8()? != 0;
            let name = body.get(offset as usize..).ok_or(Truncated)?;
            let name = Reader::new(name).bytes(length as usize)?;
            let name = name.strip_suffix(&[0]).unwrap_or(name).to_vec();
            OfPort::Init { name, open }
        }
        spicevmc::PORT_EVENT => match reader.u8()? {
            event::OPENED => OfPort::Opened,
            event::CLOSED => OfPort::Closed,
            BREAK => OfPort::Break,
            _ => OfPort::Other,
        },
        _ => OfPort::Other,
    })
}

#[cfg(test)]
mod tests {
    use spice_server::wire::main;

    use super::*;

    #[test]
    fn the_main_channel_tells_session_and_channels() {
        let list = main::channels_list(&[(10, 0), (11, 2)]);
        let keys = [(10, 0), (11, 2)].map(|(kind, id)| ChannelKey { kind, id });
        assert_eq!(of_main(104, &list), Ok(OfMain::Channels(keys.to_vec())));
        assert_eq!(of_main(104, &list[..7]), Err(Truncated));
        // A count that nobody can have costs no memory.
        assert_eq!(of_main(104, &[0xff; 6]), Err(Truncated));
        assert_eq!(of_main(103, &[4, 3, 2, 1, 0, 0]), Ok(OfMain::Session(0x0102_0304)));
        assert_eq!(of_main(113, &[]), Ok(OfMain::Other));
    }

    #[test]
    fn ports_tell_name_and_state() {
        let init = |bytes: Vec<u8>| of_port(201, bytes.into());
        let name = b"org.example.a".to_vec();
        let named = OfPort::Init { name, open: true };
        assert_eq!(init(spicevmc::port_init(b"org.example.a", true)), Ok(named));
        let mut outside = spicevmc::port_init(b"ab", false);
        outside[4] = 99;
        assert_eq!(init(outside), Err(Truncated));
        assert_eq!(init(vec![0xff; 12]), Err(Truncated));
        for (number, event) in
            [OfPort::Opened, OfPort::Closed, OfPort::Break, OfPort::Other].into_iter().enumerate()
        {
            assert_eq!(of_port(202, vec![number as u8].into()), Ok(event));
        }
        assert_eq!(of_port(202, Bytes::new()), Err(Truncated));
        assert_eq!(of_port(101, Bytes::from_static(b"x")), Ok(OfPort::Data("x".into())));
    }
}
