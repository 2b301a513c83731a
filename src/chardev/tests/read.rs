//! Reading from the device: who gets what, when it is left alone, nested wakeups.

use super::*;

#[test]
fn nothing_is_read_unless_running() {
    let mut device = TestDevice::new(Parameters { token_interval: 0, self_tokens: 0 });
    assert!(!device.begin_read());
    device.start();
    assert!(device.begin_read());
    device.stop();
    assert!(!device.may_read());
}

#[test]
fn without_clients_data_are_read_and_dropped() {
    let mut device = running(0, 0);
    assert_eq!(read(&mut device, &[1, 2], Instant::now()), 2);
    assert_eq!(actions(&mut device), []);
    assert!(device.active);
}

#[test]
fn every_client_gets_each_message_newest_client_first() {
    let mut device = running(0, 0);
    join(&mut device, 1, None);
    join(&mut device, 2, None);
    read(&mut device, &[10, 11], Instant::now());
    let sent = [(2, 10), (1, 10), (2, 11), (1, 11)].map(|(key, msg)| Action::Send(key, msg));
    assert_eq!(actions(&mut device), sent);
}

#[test]
fn the_device_is_not_read_while_nobody_has_tokens() {
    let mut device = running(0, 0);
    join(&mut device, 1, window(5, 0, 2));
    join(&mut device, 2, window(5, 0, 0));
    let now = Instant::now();
    assert_eq!(read(&mut device, &[1, 2, 3], now), 2);
    assert!(!device.may_read());
    assert_eq!(read(&mut device, &[3], now), 0);
}

#[test]
fn a_client_without_flow_control_is_always_reason_to_read() {
    let mut device = running(0, 0);
    join(&mut device, 1, window(9, 0, 0));
    join(&mut device, 2, None);
    assert_eq!(read(&mut device, &[1, 2, 3], Instant::now()), 3);
    assert_eq!(actions(&mut device), [1, 2, 3].map(|msg| Action::Send(2, msg)));
}

#[test]
fn messages_wait_for_tokens_and_leave_in_order() {
    let mut device = running(0, 0);
    let now = Instant::now();
    join(&mut device, 1, window(3, 0, 0));
    join(&mut device, 2, window(3, 0, 3));
    read(&mut device, &[1, 2, 3], now);
    assert_eq!(actions(&mut device), [1, 2, 3].map(|msg| Action::Send(2, msg)));
    assert_eq!(device.grant_send_tokens(1, 2, false, now), Ok(false));
    assert_eq!(actions(&mut device), [1, 2].map(|msg| Action::Send(1, msg)));
    assert_eq!(device.grant_send_tokens(1, 2, false, now), Ok(true), "one token is left");
    assert_eq!(actions(&mut device), [Action::Send(1, 3)]);
}

#[test]
fn a_client_whose_queue_is_full_is_cut() {
    let mut device = running(0, 0);
    join(&mut device, 1, window(1, 0, 0));
    join(&mut device, 2, None);
    read(&mut device, &[1], Instant::now());
    assert_eq!(actions(&mut device), [Action::Send(2, 1)]);
    read(&mut device, &[2], Instant::now());
    assert_eq!(actions(&mut device), [Action::Send(2, 2), Action::RemoveClient(1)]);
}

#[test]
fn a_queue_of_no_length_cuts_at_once() {
    let mut device = running(0, 0);
    join(&mut device, 1, window(0, 0, 0));
    join(&mut device, 2, None);
    read(&mut device, &[1], Instant::now());
    assert_eq!(actions(&mut device), [Action::Send(2, 1), Action::RemoveClient(1)]);
    assert_eq!(device.poll_timeout(), None);
}

#[test]
fn a_nested_read_is_put_off_and_not_forgotten() {
    let mut device = running(0, 0);
    assert!(device.begin_read());
    assert!(!device.begin_read(), "a wakeup from inside the device's read");
    assert_eq!(device.handle_no_message(), ReadStep::Again);
    assert_eq!(device.handle_no_message(), ReadStep::Done);
    device.end_read();
    assert!(device.begin_read());
}

#[test]
fn a_stop_from_inside_the_read_ends_the_loop() {
    let mut device = running(0, 0);
    assert!(device.begin_read());
    assert!(!device.begin_read());
    device.handle_message(&1, Instant::now());
    device.stop();
    assert!(!device.may_read());
    assert_eq!(device.handle_no_message(), ReadStep::Done);
    device.note_activity();
    device.end_read();
    assert!(!device.active, "a stopped device has not moved anything");
}

#[test]
fn bytes_that_a_device_kind_delivers_itself_count_as_activity() {
    let mut device = running(0, 0);
    device.note_activity();
    assert!(device.active);
}

#[test]
fn both_loops_are_guarded_by_themselves() {
    let mut device = running(0, 0);
    assert!(device.begin_read());
    assert!(device.begin_write(), "writing from inside a read");
    assert_eq!(device.handle_no_message(), ReadStep::Done);
}
