//! Clients that come and go, at any moment.

use super::*;

#[test]
fn a_client_is_known_until_it_is_removed() {
    let mut device = running(0, 0);
    assert!(!device.has_client(1));
    join(&mut device, 1, None);
    assert!(device.has_client(1));
    assert_eq!(device.client_add(1, None, false), Err(AddRefusal::Known));
    assert_eq!(device.client_count(), 1);
    assert_eq!(device.client_remove(1), Ok(false));
    assert_eq!(device.client_count(), 0);
    assert_eq!(device.client_remove(1), Err(UnknownClient));
}

#[test]
fn a_client_that_leaves_takes_its_queued_buffers_along() {
    let mut device = running(1, 1);
    join(&mut device, 1, window(0, 5, 0));
    join(&mut device, 2, window(0, 5, 0));
    add_of(&mut device, 1, "one");
    add_of(&mut device, 2, "two");
    add_of(&mut device, 1, "three");
    add_free(&mut device, "four");
    device.client_remove(1).expect("a client");
    assert_eq!(actions(&mut device), [Action::Release("one"), Action::Release("three")]);
    assert_eq!(device.queued_bytes(), 7);
    assert_eq!(write(&mut device, &[3, 4]), ["two", "four"]);
}

#[test]
fn the_buffer_being_written_goes_on_without_its_client() {
    let mut device = running(1, 0);
    join(&mut device, 1, window(0, 5, 0));
    add_of(&mut device, 1, "abc");
    write(&mut device, &[1]);
    device.client_remove(1).expect("a client");
    assert_eq!(actions(&mut device), []);
    join(&mut device, 1, window(0, 0, 0));
    assert_eq!(write(&mut device, &[2]), ["bc"]);
    assert_eq!(actions(&mut device), [Action::Release("abc")], "no token for its namesake");
}

#[test]
fn another_clients_buffer_keeps_its_owner() {
    let mut device = running(1, 0);
    join(&mut device, 1, window(0, 5, 0));
    join(&mut device, 2, None);
    add_of(&mut device, 1, "abc");
    write(&mut device, &[1]);
    device.client_remove(2).expect("a client");
    write(&mut device, &[2]);
    assert_eq!(actions(&mut device), [Action::Release("abc"), Action::GrantTokens(1, 1)]);
}

#[test]
fn buffers_of_a_client_that_has_left_are_refused() {
    let mut device = running(0, 0);
    let late = pending("a", Origin::Client(1));
    assert_eq!(device.add(late.clone()), Err(late));
    assert_eq!(device.queued_bytes(), 0);
}

#[test]
fn what_was_to_be_done_for_a_client_goes_with_it() {
    let mut device = running(1, 1);
    let now = Instant::now();
    join(&mut device, 1, window(1, 5, 0));
    join(&mut device, 2, None);
    device.take_self_token();
    device.release(Origin::Client(1), 1).expect("a client");
    device.release(Origin::Server, 1).expect("the server");
    read(&mut device, &[1, 2], now);
    device.grant_send_tokens(1, 1, false, now).expect("a client");
    device.client_remove(1).expect("a client");
    // The host may give the name of one client to the next.
    join(&mut device, 1, None);
    let kept = [Action::SelfTokenFreed, Action::Send(2, 1), Action::Send(2, 2)];
    assert_eq!(actions(&mut device), kept);
}

#[test]
fn a_clients_clock_goes_with_it() {
    let mut device = running(0, 0);
    join(&mut device, 1, window(5, 0, 0));
    join(&mut device, 2, None);
    read(&mut device, &[1], Instant::now());
    device.client_remove(1).expect("a client");
    assert_eq!(device.poll_timeout(), None);
}

#[test]
fn a_client_that_leaves_from_inside_the_read_gets_no_more() {
    let mut device = running(0, 0);
    join(&mut device, 1, None);
    assert!(device.begin_read());
    device.handle_message(&1, Instant::now());
    device.client_remove(1).expect("a client");
    assert_eq!(actions(&mut device), []);
    assert!(device.may_read(), "nobody is there: data are dropped");
    device.handle_message(&2, Instant::now());
    assert_eq!(actions(&mut device), []);
}

#[test]
fn nothing_moves_before_the_migration_data() {
    let mut device = running(0, 0);
    device.client_add(1, None, true).expect("a new client");
    add_free(&mut device, "a");
    assert!(!device.begin_write());
    assert!(!device.begin_read());
    assert_eq!(device.client_remove(1), Ok(true), "the device is to be read now");
    assert!(device.begin_write());
    assert!(device.begin_read());
}

#[test]
fn a_device_in_use_cannot_wait_for_migration_data() {
    let mut device = running(0, 0);
    join(&mut device, 1, None);
    assert_eq!(device.client_add(2, None, true), Err(AddRefusal::InUse));
    device.client_remove(1).expect("a client");
    device.note_activity();
    assert_eq!(device.client_add(2, None, true), Err(AddRefusal::InUse));
    device.stop();
    assert_eq!(device.client_add(2, None, true), Ok(()), "a stop forgets the activity");
}

#[test]
fn the_next_clients_wish_replaces_the_wait() {
    let mut device = running(0, 0);
    device.client_add(1, None, true).expect("a new client");
    join(&mut device, 2, None);
    assert!(device.begin_read());
}
