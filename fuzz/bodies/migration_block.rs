//! A migration block from anywhere: it is refused, or means the same when written
//! again; a device takes it only with the bytes it announces, and then holds them.

use spice_server::chardev::{Block, Device, FlowControl, Parameters};

use super::Body;

pub(crate) const BODY: Body = Body { name: "migration_block", run, seeds };

fn run(bytes: &[u8]) {
    let Ok(block) = Block::parse(bytes) else {
        let version = bytes.first_chunk().map(|word| u32::from_le_bytes(*word));
        assert!(bytes.len() < Block::BYTES || version > Some(1));
        return;
    };
    assert_eq!(Block::parse(&block.encode()), Ok(block));
    for flow in [None, Some(FlowControl { max_send_queue: 5, client_tokens: 10, send_tokens: 0 })] {
        let parameters = Parameters { token_interval: 5, self_tokens: 1 };
        let mut device = Device::<(), Vec<u8>>::new(parameters);
        device.start();
        device.client_add(1, flow, true).expect("the first client");
        let data = bytes[Block::BYTES..].to_vec();
        let length = data.len();
        let verdict = device.check_restore(&block, length);
        assert_eq!(device.restore(&block, (length > 0).then_some((data, length))), verdict);
        if verdict.is_err() {
            assert!(!device.begin_write());
            assert_eq!(device.queued_bytes(), 0);
            continue;
        }
        assert_eq!(length, block.write_size as usize);
        assert_eq!(device.queued_bytes(), length);
        let (again, _) = device.migrate_out().expect("one client");
        assert_eq!((again.connected, again.write_size), (true, block.write_size));
        if flow.is_some() {
            // What the client lacks is granted at once if it is a lot of five.
            let under_way = if length > 0 { block.write_client_tokens } else { 0 };
            let free = 10 - block.client_tokens - under_way;
            let granted = if free >= 5 { free } else { 0 };
            assert_eq!(
                (again.client_tokens, again.send_tokens),
                (block.client_tokens + granted, block.send_tokens)
            );
        }
        assert!(device.begin_write());
        if length > 0 {
            device.poll_write().expect("the bytes");
            device.handle_written(i32::MAX);
        }
        assert!(device.poll_write().is_none());
    }
}

fn seeds() -> Vec<Vec<u8>> {
    [0, 5]
        .map(|length: u32| {
            let block = Block {
                connected: true,
                client_tokens: 3,
                send_tokens: 0,
                write_size: length,
                write_client_tokens: 0,
                write_data: if length > 0 { 33 } else { 0 },
            };
            [&block.encode()[..], &vec![7; length as usize]].concat()
        })
        .to_vec()
}
