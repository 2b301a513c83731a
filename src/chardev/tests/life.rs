//! Start, stop, reset and the end.

use super::*;

#[test]
fn a_stop_keeps_the_queues() {
    let mut device = running(0, 0);
    add_free(&mut device, "a");
    device.stop();
    assert!(!device.is_running());
    assert_eq!(device.queued_bytes(), 1);
    device.start();
    assert!(device.is_running());
    assert_eq!(write(&mut device, &[1]), ["a"]);
}

#[test]
fn a_reset_gives_buffers_back_with_their_tokens() {
    let mut device = running(2, 1);
    join(&mut device, 1, window(0, 4, 0));
    add_of(&mut device, 1, "abc");
    write(&mut device, &[1]);
    device.take_self_token();
    device.add(pending("d", Origin::Server)).expect("room");
    add_of(&mut device, 1, "e");
    device.reset();
    let expected = [
        Action::Release("d"),
        Action::SelfTokenFreed,
        Action::Release("e"),
        Action::Release("abc"),
        Action::GrantTokens(1, 2),
    ];
    assert_eq!(actions(&mut device), expected);
    assert_eq!(device.queued_bytes(), 0);
    assert!(device.take_self_token());
    assert!(device.is_running(), "it does not stop");
}

#[test]
fn a_reset_hands_back_what_is_no_lot_without_a_word() {
    let mut device = running(5, 0);
    join(&mut device, 1, window(0, 2, 0));
    add_of(&mut device, 1, "a");
    write(&mut device, &[1]);
    add_of(&mut device, 1, "b");
    device.reset();
    assert_eq!(actions(&mut device), [Action::Release("a"), Action::Release("b")]);
    for _ in 0..2 {
        assert_eq!(device.take_client_token(1), Ok(()));
    }
    assert_eq!(device.take_client_token(1), Err(TokenRefusal::Violation));
}

#[test]
fn a_reset_drops_messages_and_counts_them_as_sent() {
    let mut device = running(0, 0);
    let now = Instant::now();
    join(&mut device, 1, window(5, 0, 0));
    join(&mut device, 2, None);
    read(&mut device, &[1, 2], now);
    actions(&mut device);
    device.reset();
    assert_eq!(device.poll_timeout(), None, "nothing waits");
    read(&mut device, &[3, 4, 5], now);
    let sent: Vec<_> = actions(&mut device)
        .into_iter()
        .filter(|action| matches!(action, Action::Send(1, _)))
        .collect();
    assert_eq!(sent, [Action::Send(1, 3), Action::Send(1, 4)]);
}

#[test]
fn a_reset_ends_the_wait_for_migration_data() {
    let mut device = running(0, 0);
    device.client_add(1, None, true).expect("a new client");
    device.reset();
    assert!(device.begin_read());
}

#[test]
fn the_end_returns_buffers_and_nothing_else() {
    let mut device = running(1, 1);
    let now = Instant::now();
    join(&mut device, 1, window(5, 5, 0));
    join(&mut device, 2, None);
    read(&mut device, &[1], now);
    add_of(&mut device, 1, "abc");
    add_of(&mut device, 1, "d");
    add_free(&mut device, "e");
    device.take_self_token();
    device.release(Origin::Server, 1).expect("the server");
    device.add(pending("f", Origin::Server)).expect("room");
    write(&mut device, &[3, 0]);
    device.destroy();
    let released = ["abc", "e", "f", "d"].map(Action::Release);
    assert_eq!(actions(&mut device), released);
    assert_eq!(device.client_count(), 0);
    assert_eq!(device.queued_bytes(), 0);
    assert_eq!(device.poll_timeout(), None);
    assert!(!device.is_running());
}

#[test]
fn the_end_from_inside_the_loops_leaves_them() {
    let mut device = running(0, 0);
    add_free(&mut device, "abc");
    assert!(device.begin_read());
    assert!(device.begin_write());
    assert_eq!(offered(&mut device), Some("abc"));
    device.destroy();
    assert_eq!(device.handle_written(1), WriteStep::Again);
    assert_eq!(offered(&mut device), None);
    assert!(!device.end_write());
    assert!(!device.may_read());
    device.end_read();
    assert!(!device.begin_write());
}
