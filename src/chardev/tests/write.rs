//! Writing to the device: order, partial writes, nested wakeups, retries.

use super::*;

#[test]
fn nothing_is_written_unless_running() {
    let mut device = TestDevice::new(Parameters { token_interval: 0, self_tokens: 0 });
    add_free(&mut device, "a");
    assert!(!device.begin_write());
    device.start();
    assert_eq!(write(&mut device, &[1]), ["a"]);
}

#[test]
fn the_oldest_buffer_goes_first_and_comes_back_when_written() {
    let mut device = running(0, 0);
    add_free(&mut device, "one");
    add_free(&mut device, "two");
    assert_eq!(write(&mut device, &[3, 3]), ["one", "two"]);
    assert_eq!(actions(&mut device), [Action::Release("one"), Action::Release("two")]);
    assert_eq!(device.queued_bytes(), 0);
}

#[test]
fn a_partial_write_goes_on_where_it_stopped() {
    let mut device = running(0, 0);
    add_free(&mut device, "abcdef");
    assert_eq!(write(&mut device, &[2, 1]), ["abcdef", "cdef", "def"]);
    assert_eq!(actions(&mut device), []);
    assert_eq!(device.queued_bytes(), 3);
    assert_eq!(write(&mut device, &[3]), ["def"]);
    assert_eq!(actions(&mut device), [Action::Release("abcdef")]);
}

#[test]
fn any_answer_below_one_means_later() {
    for answer in [0, -1, i32::MIN] {
        let mut device = running(0, 0);
        add_free(&mut device, "a");
        assert_eq!(write(&mut device, &[answer, 1]), ["a"]);
        assert_eq!(write(&mut device, &[1]), ["a"]);
    }
}

#[test]
fn a_device_that_claims_more_than_it_was_given_got_what_it_was_given() {
    let mut device = running(0, 0);
    add_free(&mut device, "ab");
    add_free(&mut device, "cd");
    assert_eq!(write(&mut device, &[i32::MAX, 1]), ["ab", "cd", "d"]);
    assert_eq!(device.queued_bytes(), 1);
}

#[test]
fn a_nested_write_is_put_off_and_not_forgotten() {
    let mut device = running(0, 0);
    add_free(&mut device, "a");
    assert!(device.begin_write());
    assert_eq!(offered(&mut device), Some("a"));
    assert!(!device.begin_write(), "a wakeup from inside the device's write");
    assert_eq!(device.handle_written(0), WriteStep::Again);
    assert_eq!(offered(&mut device), Some("a"));
    assert_eq!(device.handle_written(0), WriteStep::Full, "one more try for any number of wakeups");
    assert!(device.end_write());
    assert!(device.begin_write(), "the loop can be entered again");
}

#[test]
fn a_wakeup_of_a_stopped_device_is_not_remembered() {
    let mut device = running(0, 0);
    add_free(&mut device, "a");
    assert!(device.begin_write());
    assert_eq!(offered(&mut device), Some("a"));
    device.stop();
    assert!(!device.begin_write());
    assert_eq!(device.handle_written(0), WriteStep::Full);
}

#[test]
fn a_stop_from_inside_the_write_ends_the_loop_and_keeps_the_rest() {
    let mut device = running(0, 0);
    add_free(&mut device, "abc");
    add_free(&mut device, "d");
    assert!(device.begin_write());
    assert_eq!(offered(&mut device), Some("abc"));
    device.stop();
    assert_eq!(device.handle_written(1), WriteStep::Again);
    assert_eq!(offered(&mut device), None);
    assert!(!device.end_write(), "no retry for a stopped device");
    assert!(!device.active, "a stopped device has not moved anything");
    device.start();
    assert_eq!(write(&mut device, &[2, 1]), ["bc", "d"]);
}

#[test]
fn a_retry_is_due_exactly_when_bytes_are_left() {
    let mut device = running(0, 0);
    assert!(device.begin_write());
    assert_eq!(offered(&mut device), None);
    assert!(!device.end_write());
    add_free(&mut device, "ab");
    assert!(device.begin_write());
    assert_eq!(offered(&mut device), Some("ab"));
    assert_eq!(device.handle_written(0), WriteStep::Full);
    assert!(device.end_write());
}

#[test]
fn only_moved_bytes_make_it_active() {
    let mut device = running(0, 0);
    add_free(&mut device, "a");
    write(&mut device, &[0]);
    assert!(!device.active);
    write(&mut device, &[1]);
    assert!(device.active);
    device.stop();
    assert!(!device.active);
}

#[test]
fn a_buffer_without_bytes_is_refused() {
    let mut device = running(0, 1);
    let empty = pending("", Origin::Server);
    assert_eq!(device.add(empty.clone()), Err(empty));
    assert_eq!(device.queued_bytes(), 0);
}

#[test]
fn a_reset_from_inside_the_write_takes_the_buffer_away() {
    let mut device = running(0, 0);
    add_free(&mut device, "abc");
    assert!(device.begin_write());
    assert_eq!(offered(&mut device), Some("abc"));
    device.reset();
    add_free(&mut device, "new");
    assert_eq!(device.handle_written(2), WriteStep::Again);
    assert!(device.active, "bytes have moved all the same");
    assert_eq!(offered(&mut device), Some("new"), "from its first byte on");
    assert_eq!(device.handle_written(3), WriteStep::Again);
    assert_eq!(actions(&mut device), [Action::Release("abc"), Action::Release("new")]);
}

#[test]
fn bytes_go_straight_to_a_device_for_which_nothing_waits() {
    let mut device = running(0, 1);
    assert!(device.has_nothing_to_write());
    assert!(device.begin_direct());
    assert!(!device.begin_direct(), "somebody is inside");
    assert!(!device.has_nothing_to_write());
    for length in [1, 5] {
        assert!(device.offer_direct());
        assert!(device.handle_direct(length as i32, length), "nothing is left");
    }
    assert!(!device.end_write());
    add_free(&mut device, "a");
    assert!(!device.begin_direct(), "others wait");
}

#[test]
fn what_was_not_taken_directly_is_the_current_buffer() {
    let mut device = running(0, 1);
    for (accepted, step) in [(2, WriteStep::Again), (0, WriteStep::Full), (-1, WriteStep::Full)] {
        assert!(device.begin_direct() && device.offer_direct());
        assert!(!device.handle_direct(accepted, 4));
        assert_eq!(device.keep_direct("rest", 4, accepted), step);
        assert!(!device.has_self_token() && !device.offer_direct());
        assert!(device.end_write());
        assert_eq!(device.queued_bytes(), 4);
        assert_eq!(write(&mut device, &[4]), ["rest"]);
        assert_eq!(actions(&mut device), [Action::Release("rest"), Action::SelfTokenFreed]);
    }
    device.take_self_token();
    assert!(device.begin_direct() && device.offer_direct());
    assert!(!device.begin_write(), "a wakeup from inside");
    assert!(!device.handle_direct(0, 4));
    assert_eq!(device.keep_direct("rest", 4, 0), WriteStep::Again, "it is offered once more");
}

#[test]
fn bytes_on_their_way_to_the_device_go_with_a_reset_and_with_the_device() {
    let ends: [fn(&mut TestDevice); 2] = [TestDevice::reset, TestDevice::destroy];
    for end in ends {
        let mut device = running(0, 1);
        assert!(device.begin_direct() && device.offer_direct());
        end(&mut device);
        assert!(device.handle_direct(1, 4), "the rest is gone");
    }
    let mut device = running(0, 1);
    assert!(device.begin_direct());
    device.stop();
    assert!(!device.offer_direct());
}

#[test]
fn a_device_destroyed_inside_the_write_owes_nothing_for_what_comes_afterwards() {
    let mut device = running(0, 1);
    add_free(&mut device, "abc");
    assert!(device.begin_write());
    assert_eq!(offered(&mut device), Some("abc"));
    device.destroy();
    device.start();
    device.client_add(1, None, true).expect("a new client");
    let block = Block { connected: true, write_size: 3, ..Block::default() };
    device.restore(&block, Some(("new", 3))).expect("a good block");
    assert_eq!(device.handle_written(2), WriteStep::Again);
    assert_eq!(device.queued_bytes(), 3);
    assert_eq!(offered(&mut device), Some("new"), "from its first byte on");
}
