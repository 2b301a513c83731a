//! The migration block, out and in.

use super::*;

/// A device that waits for migration data for client 1.
fn waiting(flow: Option<FlowControl>, self_tokens: u64) -> TestDevice {
    let mut device = running(5, self_tokens);
    device.client_add(1, flow, true).expect("a new client");
    device
}

/// What a restored device writes.
fn rest(device: &mut TestDevice) -> Vec<&'static str> {
    write(device, &[i32::MAX; 8])
}

#[test]
fn the_block_is_25_bytes_little_endian() {
    let block = Block {
        connected: true,
        client_tokens: 0x0403_0201,
        send_tokens: 0x0807_0605,
        write_size: 0x0c0b_0a09,
        write_client_tokens: 0x100f_0e0d,
        write_data: 0x1413_1211,
    };
    let bytes = block.encode();
    assert_eq!(bytes[..5], [1, 0, 0, 0, 1]);
    assert!(bytes[5..].iter().copied().eq(1..=0x14), "{bytes:?}");
    assert_eq!(Block::parse(&bytes), Ok(block));
}

#[test]
fn the_empty_block_is_a_version_and_zeros() {
    let mut expected = [0; Block::BYTES];
    expected[0] = 1;
    assert_eq!(Block::default().encode(), expected);
    assert_eq!(Block::parse(&expected), Ok(Block::default()));
}

#[test]
fn a_short_block_and_one_from_the_future_are_refused() {
    let mut bytes = Block::default().encode();
    assert_eq!(Block::parse(&bytes[..24]), Err(BlockError::Short));
    assert_eq!(Block::parse(&[]), Err(BlockError::Short));
    bytes[0] = 2;
    assert_eq!(Block::parse(&bytes), Err(BlockError::Version(2)));
    bytes[0] = 0;
    assert!(Block::parse(&bytes).is_ok());
    assert!(Block::parse(&[0; 80]).is_ok(), "what follows belongs to somebody else");
}

#[test]
fn tokens_and_bytes_move_to_the_other_host() {
    let mut here = running(5, 0);
    join(&mut here, 1, window(5, 10, 7));
    add_of(&mut here, 1, "done");
    add_of(&mut here, 1, "abc");
    add_of(&mut here, 1, "de");
    add_free(&mut here, "f");
    write(&mut here, &[4, 1]);
    let (block, bytes) = here.migrate_out().expect("one client");
    assert_eq!((block.client_tokens, block.send_tokens), (7, 7));
    assert_eq!((block.write_size, block.write_client_tokens), (5, 2));
    assert!(block.connected);
    let bytes: String = bytes.into_iter().map(|part| &part.buffer[part.from..part.to]).collect();
    assert_eq!(bytes, "bcdef");

    let mut there = waiting(window(5, 10, 0), 0);
    let block = Block::parse(&block.encode()).expect("a block");
    there.restore(&block, Some(("bcdef", 5))).expect("a good block");
    assert_eq!(there.queued_bytes(), 5);
    assert_eq!(rest(&mut there), ["bcdef"]);
    assert_eq!(actions(&mut there), [Action::Release("bcdef")], "1 and 2 are no lot of 5");
    for buffer in ["g", "h"] {
        add_of(&mut there, 1, buffer);
    }
    rest(&mut there);
    let expected = [Action::Release("g"), Action::Release("h"), Action::GrantTokens(1, 5)];
    assert_eq!(actions(&mut there), expected);
    assert_eq!(read(&mut there, &[0; 9], Instant::now()), 7, "send tokens came along");
}

#[test]
fn only_a_device_with_one_client_that_took_everything_can_move() {
    let mut device = running(0, 0);
    assert_eq!(device.migrate_out(), Err(MigrateRefusal::Clients(0)));
    join(&mut device, 1, window(5, 0, 0));
    join(&mut device, 2, None);
    assert_eq!(device.migrate_out(), Err(MigrateRefusal::Clients(2)));
    read(&mut device, &[1], Instant::now());
    device.client_remove(2).expect("a client");
    assert_eq!(device.migrate_out(), Err(MigrateRefusal::Waiting));
}

#[test]
fn without_flow_control_the_counters_are_largest_minus_delivered() {
    let mut device = running(0, 0);
    join(&mut device, 1, None);
    read(&mut device, &[1, 2], Instant::now());
    let (block, bytes) = device.migrate_out().expect("one client");
    assert_eq!((block.client_tokens, block.send_tokens), (u32::MAX, u32::MAX - 2));
    assert_eq!((block.write_size, bytes.len()), (0, 0));
}

#[test]
fn large_counters_are_cut_to_32_bits() {
    let mut device = running(0, 0);
    join(&mut device, 1, window(0, 1 << 40, 1 << 40));
    let (block, _) = device.migrate_out().expect("one client");
    assert_eq!((block.client_tokens, block.send_tokens), (u32::MAX, u32::MAX));
}

#[test]
fn bytes_without_client_tokens_cost_a_self_token() {
    let block = Block { connected: true, write_size: 2, ..Block::default() };
    let mut device = waiting(None, 1);
    device.restore(&block, Some(("ab", 2))).expect("a good block");
    assert!(!device.has_self_token());
    rest(&mut device);
    assert_eq!(actions(&mut device), [Action::Release("ab"), Action::SelfTokenFreed]);

    let mut poor = waiting(None, 0);
    assert_eq!(poor.restore(&block, Some(("ab", 2))), Err(RestoreRefusal::NoSelfToken));
    assert!(!poor.begin_read(), "it still waits");
    let none = Block { write_size: 0, ..block };
    assert_eq!(poor.restore(&none, None), Ok(()), "no bytes, no token");
    assert!(poor.begin_read());
}

#[test]
fn restored_bytes_cost_what_they_cost_on_the_other_host() {
    let block = Block {
        connected: true,
        client_tokens: 4,
        write_size: 2,
        write_client_tokens: 6,
        ..Block::default()
    };
    let mut device = waiting(window(5, 10, 0), 0);
    device.restore(&block, Some(("ab", 2))).expect("a good block");
    rest(&mut device);
    assert_eq!(actions(&mut device), [Action::Release("ab"), Action::GrantTokens(1, 6)]);
}

#[test]
fn a_price_without_bytes_is_handed_back() {
    let block =
        Block { connected: true, client_tokens: 6, write_client_tokens: 3, ..Block::default() };
    let mut device = waiting(window(5, 10, 0), 0);
    device.restore(&block, None).expect("a good block");
    add_of(&mut device, 1, "a");
    rest(&mut device);
    assert_eq!(actions(&mut device), [Action::Release("a"), Action::GrantTokens(1, 5)]);
}

#[test]
fn a_restore_from_inside_a_write_starts_at_the_first_byte() {
    let block = Block { connected: true, write_size: 4, ..Block::default() };
    let mut device = running(0, 1);
    add_free(&mut device, "old");
    assert!(device.begin_write());
    assert_eq!(offered(&mut device), Some("old"));
    device.reset();
    device.client_add(1, None, true).expect("a new client");
    device.restore(&block, Some(("rest", 4))).expect("a good block");
    assert_eq!(device.handle_written(3), WriteStep::Again);
    assert_eq!(offered(&mut device), Some("rest"));
}

#[test]
fn blocks_that_do_not_fit_are_refused_and_change_nothing() {
    let good = Block { connected: true, client_tokens: 10, write_size: 1, ..Block::default() };
    let data = Some(("a", 1));
    let mut device = waiting(window(5, 10, 0), 1);
    let refuse = |device: &mut TestDevice, block: &Block, why| {
        assert_eq!(device.restore(block, data), Err(why));
        assert!(!device.begin_read(), "it still waits");
    };
    refuse(&mut device, &Block { connected: false, ..good }, RestoreRefusal::NotConnected);
    for write_size in [0, 2, u32::MAX] {
        refuse(&mut device, &Block { write_size, ..good }, RestoreRefusal::Size);
    }
    for client_tokens in [11, u32::MAX] {
        refuse(&mut device, &Block { client_tokens, ..good }, RestoreRefusal::Tokens);
    }
    for write_client_tokens in [1, u32::MAX] {
        refuse(&mut device, &Block { write_client_tokens, ..good }, RestoreRefusal::Tokens);
    }
    assert_eq!(device.restore(&good, data), Ok(()));
    assert_eq!(device.restore(&good, data), Err(RestoreRefusal::NotWaiting), "once only");
}

#[test]
fn only_an_idle_device_with_one_client_takes_a_block() {
    let block = Block { connected: true, ..Block::default() };
    let mut empty = running(0, 0);
    assert_eq!(empty.restore(&block, None), Err(RestoreRefusal::NotWaiting));
    let mut busy = waiting(None, 0);
    add_free(&mut busy, "a");
    assert_eq!(busy.restore(&block, None), Err(RestoreRefusal::NotWaiting));
    let mut several = waiting(None, 0);
    join(&mut several, 2, None);
    assert_eq!(several.restore(&block, None), Err(RestoreRefusal::NotWaiting));
}

#[test]
fn without_flow_control_no_counter_of_the_block_matters() {
    let block = Block {
        connected: true,
        client_tokens: 3,
        send_tokens: 0,
        write_size: 1,
        write_client_tokens: u32::MAX,
        write_data: 0,
    };
    let mut device = waiting(None, 0);
    device.restore(&block, Some(("a", 1))).expect("a good block");
    assert!(device.may_read());
    add_of(&mut device, 1, "b");
    let (block, _) = device.migrate_out().expect("one client");
    assert_eq!(block.write_client_tokens, u32::MAX, "prices add up without overflow");
}

#[test]
fn messages_that_came_before_the_block_leave_with_its_tokens() {
    let now = Instant::now();
    let mut device = running(5, 0);
    assert!(device.begin_read());
    // A client comes from inside the read, and its message with it.
    device.client_add(1, window(3, 5, 0), true).expect("a new client");
    for message in 1..=3 {
        device.handle_message(&message, now);
    }
    let block = Block { connected: true, client_tokens: 5, send_tokens: 2, ..Block::default() };
    device.restore(&block, None).expect("a good block");
    assert_eq!(actions(&mut device), [Action::Send(1, 1), Action::Send(1, 2)]);
    assert_eq!(device.poll_timeout(), Some(now + PATIENCE), "one waits still");
}

#[test]
fn nothing_moves_and_no_token_returns_while_the_client_leaves() {
    let mut device = running(1, 1);
    join(&mut device, 1, window(5, 10, 7));
    add_of(&mut device, 1, "abc");
    write(&mut device, &[1]);
    device.leave();
    assert!(device.is_leaving() && !device.begin_write() && !device.begin_read());
    assert!(!device.may_read() && !device.begin_direct());
    add_of(&mut device, 1, "late");
    device.take_client_token(1).expect("a token");
    device.release(Origin::Client(1), 1).expect("a client");
    assert_eq!(actions(&mut device), [], "nobody is told of its token");
    assert_eq!(device.grant_send_tokens(1, 3, false, Instant::now()), Ok(false));
    let (block, bytes) = device.migrate_out().expect("one client");
    assert_eq!((block.client_tokens, block.send_tokens), (7, 10));
    assert_eq!((block.write_size, block.write_client_tokens), (6, 2));
    let bytes: String = bytes.into_iter().map(|part| &part.buffer[part.from..part.to]).collect();
    assert_eq!(bytes, "bclate");
    assert_eq!(device.client_remove(1), Ok(true), "then it goes on");
    assert_eq!(rest(&mut device), ["bc"], "the client's other buffer is gone");

    let mut there = running(1, 0);
    there.client_add(1, window(5, 10, 0), true).expect("a new client");
    there.restore(&block, Some(("bclate", 6))).expect("a good block");
    assert_eq!(actions(&mut there), [Action::GrantTokens(1, 1)], "what it was not told of");
}

mod any_state {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    type AnyDevice = Device<u32, Bytes>;

    /// What the device takes when it is offered bytes, as long as it takes something.
    fn take(device: &mut AnyDevice, mut most: usize, taken: &mut Vec<u8>) {
        if !device.begin_write() {
            return;
        }
        while let Some(Write { buffer, from, to }) = device.poll_write() {
            let count = most.min(to - from);
            taken.extend_from_slice(&buffer[from..from + count]);
            most -= count;
            if device.handle_written(count as i32) == WriteStep::Full {
                break;
            }
        }
        device.end_write();
    }

    proptest! {
        /// Moved at any moment, as often as one likes, the device gets what the client sent,
        /// and the client in the end all its tokens.
        #[test]
        fn same_bytes_and_tokens_on_both_ends(
            steps in prop::collection::vec((0..4_u8, 0..200_usize), 0..80),
            flow: bool,
        ) {
            let parameters = Parameters { token_interval: 5, self_tokens: 1 };
            let flow = flow.then_some(FlowControl {
                max_send_queue: 5,
                client_tokens: 10,
                send_tokens: 7,
            });
            let mut device = AnyDevice::new(parameters);
            device.start();
            device.client_add(1, flow, false).expect("a new client");
            let (mut sent, mut taken, mut tokens) = (Vec::new(), Vec::new(), 10);
            let settle = |device: &mut AnyDevice, tokens: &mut u64| {
                while let Some(action) = device.poll_action() {
                    if let Action::GrantTokens(1, lot) = action {
                        *tokens += lot;
                    }
                }
            };
            for (step, size) in steps.into_iter().chain([(3, 0), (2, 1 << 20)]) {
                match step {
                    0 | 1 if flow.is_none() || tokens > 0 => {
                        let bytes: Vec<u8> = (0..=size).map(|at| (sent.len() + at) as u8).collect();
                        device.take_client_token(1).expect("both count alike");
                        tokens -= u64::from(flow.is_some());
                        sent.extend_from_slice(&bytes);
                        let length = bytes.len();
                        let pending = Pending {
                            buffer: bytes.into(), length, origin: Origin::Client(1), price: 1,
                        };
                        device.add(pending).expect("the client is there");
                    }
                    2 => take(&mut device, size, &mut taken),
                    3 => {
                        device.leave();
                        let (block, moving) = device.migrate_out().expect("one client");
                        let block = Block::parse(&block.encode()).expect("a good block");
                        let mut data = Vec::new();
                        for part in moving {
                            data.extend_from_slice(&part.buffer[part.from..part.to]);
                        }
                        let mut there = AnyDevice::new(parameters);
                        there.start();
                        there.client_add(1, flow, true).expect("a new client");
                        let length = data.len();
                        let data = (length > 0).then(|| (Bytes::from(data), length));
                        there.restore(&block, data).expect("a good block");
                        device = there;
                    }
                    _ => {}
                }
                settle(&mut device, &mut tokens);
            }
            prop_assert_eq!(taken, sent);
            let window = device.migrate_out().expect("one client").0.client_tokens;
            if flow.is_some() {
                prop_assert_eq!(u64::from(window), tokens);
                prop_assert!(tokens > 5, "but for less than a lot: {}", tokens);
            }
        }
    }
}
