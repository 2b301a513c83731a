//! Tokens in both directions, and the time that messages may wait for them.

use super::*;

/// Writes everything that is queued.
fn write_all(device: &mut TestDevice) {
    write(device, &[i32::MAX; 32]);
}

#[test]
fn tokens_go_back_in_lots() {
    let mut device = running(2, 0);
    join(&mut device, 1, window(0, 3, 0));
    add_of(&mut device, 1, "a");
    write_all(&mut device);
    assert_eq!(actions(&mut device), [Action::Release("a")], "one is less than a lot");
    add_of(&mut device, 1, "b");
    write_all(&mut device);
    assert_eq!(actions(&mut device), [Action::Release("b"), Action::GrantTokens(1, 2)]);
}

#[test]
fn without_an_interval_every_token_goes_back_at_once() {
    let mut device = running(0, 0);
    join(&mut device, 1, window(0, 1, 0));
    add_of(&mut device, 1, "a");
    write_all(&mut device);
    assert_eq!(actions(&mut device), [Action::Release("a"), Action::GrantTokens(1, 1)]);
    assert_eq!(device.take_client_token(1), Ok(()));
}

#[test]
fn a_client_that_sends_without_tokens_breaks_the_rules() {
    let mut device = running(5, 0);
    join(&mut device, 1, window(0, 1, 0));
    assert_eq!(device.take_client_token(1), Ok(()));
    assert_eq!(device.take_client_token(1), Err(TokenRefusal::Violation));
    assert_eq!(device.take_client_token(2), Err(TokenRefusal::Unknown));
}

#[test]
fn without_flow_control_a_client_sends_what_it_likes() {
    let mut device = running(0, 0);
    join(&mut device, 1, None);
    for _ in 0..1000 {
        assert_eq!(device.take_client_token(1), Ok(()));
    }
    device.release(Origin::Client(1), 1).expect("a client");
    assert_eq!(actions(&mut device), []);
}

#[test]
fn a_buffer_that_is_not_used_gives_its_token_back() {
    let mut device = running(1, 1);
    join(&mut device, 1, window(0, 1, 0));
    device.take_client_token(1).expect("a token");
    device.release(Origin::Client(1), 1).expect("a client");
    assert_eq!(actions(&mut device), [Action::GrantTokens(1, 1)]);
    assert!(device.take_self_token());
    device.release(Origin::Server, 1).expect("the server");
    assert_eq!(actions(&mut device), [Action::SelfTokenFreed]);
    for origin in [Origin::Nobody, Origin::ServerNoToken] {
        assert_eq!(device.release(origin, 1), Ok(()));
    }
    assert_eq!(actions(&mut device), []);
    assert_eq!(device.release(Origin::Client(7), 1), Err(UnknownClient));
}

#[test]
fn self_tokens_run_out_and_come_back() {
    let mut device = running(0, 1);
    assert!(device.has_self_token());
    assert!(device.take_self_token());
    assert!(!device.has_self_token());
    assert!(!device.take_self_token());
    device.add(pending("a", Origin::Server)).expect("room");
    write_all(&mut device);
    assert_eq!(actions(&mut device), [Action::Release("a"), Action::SelfTokenFreed]);
    assert!(device.take_self_token());
    assert!(!device.take_self_token(), "a refusal has not made a second one");
}

#[test]
fn the_largest_number_of_self_tokens_does_not_overflow() {
    let mut device = running(0, u64::MAX);
    device.release(Origin::Server, 1).expect("the server");
    assert!(device.take_self_token());
    assert_eq!(device.self_tokens, u64::MAX - 1);
}

#[test]
fn a_client_that_does_not_grant_tokens_is_cut_after_its_time() {
    let mut device = running(0, 0);
    let start = Instant::now();
    join(&mut device, 1, window(5, 0, 0));
    join(&mut device, 2, None);
    assert_eq!(device.poll_timeout(), None, "nothing waits");
    read(&mut device, &[1], start);
    read(&mut device, &[2], start + PATIENCE / 2);
    actions(&mut device);
    assert_eq!(device.poll_timeout(), Some(start + PATIENCE), "the first message's clock counts");
    device.handle_timeout(start + PATIENCE.saturating_sub(Duration::from_nanos(1)));
    assert_eq!(actions(&mut device), []);
    device.handle_timeout(start + PATIENCE);
    assert_eq!(actions(&mut device), [Action::RemoveClient(1)]);
    assert_eq!(device.poll_timeout(), None, "it is cut once");
}

#[test]
fn tokens_for_everything_stop_the_clock() {
    let mut device = running(0, 0);
    let start = Instant::now();
    join(&mut device, 1, window(5, 0, 0));
    join(&mut device, 2, None);
    read(&mut device, &[1, 2], start);
    assert_eq!(device.grant_send_tokens(1, 2, false, start), Ok(false));
    assert_eq!(device.poll_timeout(), None);
}

#[test]
fn too_few_tokens_start_the_clock_anew() {
    let mut device = running(0, 0);
    let start = Instant::now();
    let later = start + Duration::from_secs(29);
    join(&mut device, 1, window(5, 0, 0));
    join(&mut device, 2, None);
    read(&mut device, &[1, 2], start);
    assert_eq!(device.grant_send_tokens(1, 1, false, later), Ok(false));
    assert_eq!(device.poll_timeout(), Some(later + PATIENCE));
}

#[test]
fn the_earliest_of_several_clocks_counts() {
    let mut device = running(0, 0);
    let start = Instant::now();
    join(&mut device, 1, None);
    join(&mut device, 2, window(5, 0, 0));
    join(&mut device, 3, window(5, 0, 1));
    read(&mut device, &[1], start);
    read(&mut device, &[2], start + Duration::from_secs(1));
    actions(&mut device);
    assert_eq!(device.poll_timeout(), Some(start + PATIENCE));
    device.handle_timeout(start + PATIENCE * 2);
    assert_eq!(actions(&mut device), [Action::RemoveClient(3), Action::RemoveClient(2)]);
}

#[test]
fn set_replaces_and_add_adds() {
    let mut device = running(0, 0);
    let now = Instant::now();
    join(&mut device, 1, window(5, 0, 3));
    assert_eq!(device.grant_send_tokens(1, 1, true, now), Ok(true));
    assert_eq!(read(&mut device, &[1, 2], now), 1);
    assert_eq!(device.grant_send_tokens(1, 1, false, now), Ok(true));
    assert_eq!(device.grant_send_tokens(1, 2, false, now), Ok(true));
    assert_eq!(read(&mut device, &[1, 2, 3, 4], now), 3);
    assert_eq!(device.grant_send_tokens(1, 0, true, now), Ok(false));
    assert_eq!(device.poll_timeout(), None, "nothing waits");
}

#[test]
fn tokens_beyond_all_bounds_are_many_tokens() {
    let mut device = running(0, 0);
    let now = Instant::now();
    join(&mut device, 1, window(5, 0, u64::MAX));
    assert_eq!(device.grant_send_tokens(1, u64::MAX, false, now), Ok(true));
    assert_eq!(read(&mut device, &[1], now), 1);
}

#[test]
fn tokens_of_strangers_are_refused_and_needless_ones_ignored() {
    let mut device = running(0, 0);
    let now = Instant::now();
    assert_eq!(device.grant_send_tokens(1, 5, false, now), Err(UnknownClient));
    join(&mut device, 1, None);
    assert_eq!(device.grant_send_tokens(1, 0, true, now), Ok(true));
    assert!(device.may_read());
}
