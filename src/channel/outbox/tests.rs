use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::channel::decompressor::Decompressor;
use crate::channel::framing::{BodyRule, Framer};
use crate::wire::spicevmc::{COMPRESSED_DATA, DATA};

fn outbox() -> Outbox {
    Outbox::new(HeaderForm::Mini, 256)
}

/// Sends up to `max` bytes the way a socket does.
fn send(outbox: &mut Outbox, max: usize) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let used = outbox.slices(&mut slices, false);
    let bytes: Vec<u8> = slices[..used].iter().flat_map(|s| s.iter().copied()).take(max).collect();
    outbox.consume(bytes.len());
    bytes
}

fn send_all(outbox: &mut Outbox) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let bytes = send(outbox, usize::MAX);
        if bytes.is_empty() {
            return all;
        }
        all.extend(bytes);
    }
}

#[test]
fn what_is_pushed_during_a_loan_leaves_after_it() {
    let mut outbox = outbox();
    outbox.push(1, b"a");
    let mut loan = outbox.lend(10).expect("no other loan");
    assert!(outbox.lend(10).is_none());
    outbox.push(3, b"c");
    loan.body()[..1].copy_from_slice(b"b");
    outbox.settle(loan, 2, 1);
    assert_eq!(outbox.len(), 21);
    assert_eq!(
        send_all(&mut outbox),
        [1, 0, 1, 0, 0, 0, b'a', 2, 0, 1, 0, 0, 0, b'b', 3, 0, 1, 0, 0, 0, b'c']
    );
    assert!(outbox.is_empty());
}

#[test]
fn an_unused_loan_leaves_no_trace() {
    let mut outbox = Outbox::new(HeaderForm::Full, 256);
    let loan = outbox.lend(10).expect("no other loan");
    outbox.settle(loan, 101, 0);
    assert!(outbox.is_empty());
    outbox.push(4, &[]);
    assert_eq!(send_all(&mut outbox)[0], 1, "the first serial");
}

#[test]
fn what_is_pushed_during_an_unused_loan_leaves_no_gap() {
    let mut outbox = Outbox::new(HeaderForm::Full, 256);
    outbox.push(101, b"first");
    let loan = outbox.lend(10).expect("no other loan");
    outbox.push(202, &[0]);
    outbox.push(202, &[1; 300]);
    outbox.settle(loan, 101, 0);
    outbox.push(202, &[2]);
    let bytes = send_all(&mut outbox);
    let serials: Vec<_> = messages(HeaderForm::Full, &bytes).map(|(head, _)| head[0]).collect();
    assert_eq!(serials, [1, 2, 3, 4]);
}

#[test]
fn the_last_message_of_a_chunk_stands_apart() {
    let parts = |outbox: &Outbox| {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let used = outbox.slices(&mut slices, true);
        slices[..used].iter().map(|slice| slice.len()).collect::<Vec<_>>()
    };
    let mut outbox = outbox();
    outbox.push(1, b"one");
    assert_eq!(parts(&outbox), [9]);
    outbox.push(1, b"two");
    outbox.push(1, b"three");
    assert_eq!(parts(&outbox), [18, 11]);
    outbox.consume(8);
    assert_eq!(parts(&outbox), [10, 11]);
    outbox.consume(12);
    assert_eq!(parts(&outbox), [9]);
    let mut loan = outbox.lend(10).expect("nothing is lent");
    loan.body()[..4].copy_from_slice(b"four");
    outbox.settle(loan, 1, 4);
    assert_eq!(parts(&outbox), [9, 10]);
    let mut other = outbox.like();
    outbox.drain_into(&mut other);
    assert_eq!(parts(&other), [9, 10]);
    other.consume(19);
    other.push(1, b"five");
    assert_eq!(parts(&other), [10]);
}

#[test]
fn a_steady_stream_reuses_its_chunk() {
    let mut outbox = outbox();
    outbox.push(1, &[0; 200]);
    let place = outbox.chunks[0].own().as_ptr();
    for _ in 0..5 {
        send_all(&mut outbox);
        outbox.push(1, &[0; 200]);
        assert_eq!(outbox.chunks[0].own().as_ptr(), place);
    }
}

fn compressing(form: HeaderForm) -> Outbox {
    Outbox::new(form, 4096).with_compressor(Compressor::new(Arc::default()))
}

/// What the client makes of these bytes: types and bodies, decompressed.
fn received(form: HeaderForm, bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let decompressor = Decompressor::new(Arc::default());
    let mut framer =
        Framer::new(form, |_| BodyRule::Whole(1 << 20)).with_decompressor(decompressor);
    framer.input().extend_from_slice(bytes);
    let next = || framer.poll_message().expect("good messages");
    joined(std::iter::from_fn(next).map(|message| (message.kind, message.body.to_vec())))
}

/// Neighbouring data are one run: short compressed messages come out together.
fn joined(messages: impl IntoIterator<Item = (u16, Vec<u8>)>) -> Vec<(u16, Vec<u8>)> {
    let mut runs: Vec<(u16, Vec<u8>)> = Vec::new();
    for (kind, body) in messages {
        match runs.last_mut() {
            Some((DATA, before)) if kind == DATA => before.extend(body),
            _ => runs.push((kind, body)),
        }
    }
    runs
}

#[test]
fn a_device_read_is_compressed_where_it_lies() {
    let mut outbox = compressing(HeaderForm::Mini);
    let mut loan = outbox.lend(3000).expect("no other loan");
    loan.body().fill(b'x');
    outbox.settle(loan, DATA, 3000);
    assert!(outbox.len() < 100);
    let bytes = send_all(&mut outbox);
    assert_eq!(bytes[..2], COMPRESSED_DATA.to_le_bytes());
    assert_eq!(received(HeaderForm::Mini, &bytes), [(DATA, vec![b'x'; 3000])]);
}

#[test]
fn a_chunk_without_anything_to_compress_moves_as_it_is() {
    let mut wire = compressing(HeaderForm::Mini);
    let mut raw = wire.like();
    raw.push(202, &[0; 2000]);
    raw.push(DATA, &[7; 900]);
    let place = raw.chunks[0].own().as_ptr();
    assert_eq!(wire.press(&mut raw), 0);
    assert!(raw.is_empty());
    assert_eq!(wire.chunks[0].own().as_ptr(), place);
    assert_eq!(wire.len(), 900 + 2000 + 12);
}

#[test]
fn the_serials_stay_those_of_the_messages() {
    let mut wire = compressing(HeaderForm::Full);
    wire.push(101, b"first");
    let mut raw = wire.like();
    raw.push(DATA, &[7; 2000]);
    raw.push(202, &[0]);
    assert!(wire.press(&mut raw) > 1900);
    let bytes = send_all(&mut wire);
    let serials: Vec<_> = messages(HeaderForm::Full, &bytes).map(|(head, _)| head[0]).collect();
    assert_eq!(serials, [1, 2, 3]);
}

#[test]
fn what_is_shared_is_not_copied_and_not_compressed() {
    let shared = Bytes::from(vec![7; 5000]);
    let mut wire = compressing(HeaderForm::Mini);
    let mut raw = wire.like();
    raw.push(DATA, &[1; 100]);
    raw.push_shared(DATA, b"head", shared.clone());
    raw.push(202, b"x");
    assert_eq!(raw.len(), 6 + 100 + 6 + 5004 + 6 + 1);
    while !raw.is_empty() {
        assert_eq!(wire.press(&mut raw), 0);
    }
    let mut slices = [IoSlice::new(&[]); SLICES];
    let used = wire.slices(&mut slices, false);
    assert!(slices[..used].iter().any(|slice| slice.as_ptr() == shared.as_ptr()));
    let bytes = send_all(&mut wire);
    let expected =
        [(DATA, vec![1; 100]), (DATA, [&b"head"[..], &shared].concat()), (202, b"x".to_vec())];
    assert_eq!(received(HeaderForm::Mini, &bytes), joined(expected));
    assert!(shared.is_unique(), "forgotten when it was sent");
}

#[test]
fn what_is_shared_keeps_its_place_behind_a_loan() {
    let mut outbox = Outbox::new(HeaderForm::Full, 256);
    let loan = outbox.lend(10).expect("no other loan");
    // Looks like a header whose serial must not be touched.
    outbox.push_shared(7, b"", Bytes::from_static(&[9; 40]));
    outbox.push(8, b"");
    outbox.settle(loan, 101, 0);
    let bytes = send_all(&mut outbox);
    assert_eq!((bytes[0], bytes[58]), (1, 2), "serials");
    assert_eq!(bytes[18..58], [9; 40]);
}

proptest! {
    #[test]
    fn pressing_changes_no_data(
        sizes in prop::collection::vec((0u8..3, 1usize..6000), 1..40),
        full in any::<bool>(),
    ) {
        let form = if full { HeaderForm::Full } else { HeaderForm::Mini };
        let mut wire = compressing(form);
        let mut raw = wire.like();
        let (mut expected, mut queued, mut saved) = (Vec::new(), 0, 0);
        for (number, &(sort, size)) in sizes.iter().enumerate() {
            let body: Vec<u8> = match sort {
                0 => vec![number as u8; size],
                _ => (0..size).map(|i| ((i * i * 31) >> 3) as u8).collect(),
            };
            let kind = if sort == 2 { 202 } else { DATA };
            raw.push(kind, &body);
            queued += form.bytes() + size;
            expected.push((kind, body));
        }
        while !raw.is_empty() {
            saved += wire.press(&mut raw);
        }
        prop_assert_eq!(wire.len() + saved, queued);
        prop_assert!(received(form, &send_all(&mut wire)) == joined(expected));
    }

    #[test]
    fn bytes_leave_in_order_whatever_the_socket_takes(
        steps in prop::collection::vec((0u8..5, 0usize..600), 1..60),
    ) {
        let mut outbox = outbox();
        let mut crossing = self::outbox();
        let (mut expected, mut sent) = (Vec::new(), Vec::new());
        for (i, &(step, size)) in steps.iter().enumerate() {
            let body = vec![i as u8; size];
            let mut header = [0; 6];
            let fields = Header { kind: 7, size: size as u32 };
            HeaderForm::Mini.write(&mut header, fields, 0);
            match step {
                0 => {
                    outbox.push(7, &body);
                    expected.extend_from_slice(&header);
                    expected.extend_from_slice(&body);
                }
                1 => {
                    let mut loan = outbox.lend(600).expect("no other loan");
                    loan.body()[..size].copy_from_slice(&body);
                    outbox.settle(loan, 7, size);
                    if size > 0 {
                        expected.extend_from_slice(&header);
                        expected.extend_from_slice(&body);
                    }
                }
                2 => sent.extend(send(&mut crossing, size)),
                3 => {
                    let (head, shared) = body.split_at(size / 3);
                    outbox.push_shared(7, head, Bytes::copy_from_slice(shared));
                    expected.extend_from_slice(&header);
                    expected.extend_from_slice(&body);
                }
                _ => outbox.drain_into(&mut crossing),
            }
            prop_assert_eq!(outbox.len() + crossing.len() + sent.len(), expected.len());
        }
        outbox.drain_into(&mut crossing);
        sent.extend(send_all(&mut crossing));
        prop_assert_eq!(sent, expected);
    }
}

#[test]
fn two_may_rewrite_and_the_order_stays() {
    let mut wire = compressing(HeaderForm::Full);
    let mut beside = wire.beside().expect("compression can be shared");
    let mut raw = wire.like();
    let mut expected = Vec::new();
    for number in 0..40u8 {
        let kind = if number % 5 == 4 { 202 } else { DATA };
        let body = vec![number; 1200];
        raw.push(kind, &body);
        expected.push((kind, body));
    }
    let (mut lent, mut bytes) = (0, Vec::new());
    while !raw.is_empty() {
        let mut second = raw.like();
        raw.lend_second(&mut second, &beside, 2000);
        lent += usize::from(!second.is_empty());
        wire.press(&mut raw);
        beside.press(&mut second);
        beside.drain_into(&mut wire);
        bytes.extend(send_all(&mut wire));
    }
    assert!(lent > 3, "{lent} chunks were lent");
    assert_eq!(received(HeaderForm::Full, &bytes), joined(expected));
    let serials: Vec<_> = messages(HeaderForm::Full, &bytes).map(|(head, _)| head[0]).collect();
    assert!(serials.iter().copied().eq(1..=40), "{serials:?}");
    assert_eq!((wire.len(), raw.len(), beside.len()), (0, 0, 0));
}

#[test]
fn what_is_not_work_is_not_lent() {
    let wire = compressing(HeaderForm::Mini);
    let beside = wire.beside().expect("compression can be shared");
    let mut raw = wire.like();
    for _ in 0..10 {
        raw.push(202, &[0; 1200]);
    }
    let mut second = raw.like();
    raw.lend_second(&mut second, &beside, 1);
    assert!(second.is_empty(), "no data");
    let mut one = wire.like();
    one.push(DATA, &[0; 1200]);
    one.lend_second(&mut second, &beside, 1);
    assert!(second.is_empty() && !one.is_empty(), "there is no second chunk");
    assert!(outbox().beside().is_none(), "it rewrites nothing");
}

#[test]
fn descriptors_leave_with_a_byte_of_their_own() {
    let mut outbox = outbox();
    outbox.push(1, b"a");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let descriptors = Descriptors::new(vec![writer.into()]);
    outbox.push_outgoing(Outgoing { descriptors, ..Outgoing::small(320, vec![7]) });
    outbox.push(2, b"b");
    assert_eq!(outbox.len(), 7 + 7 + 1 + 7);
    assert!(outbox.passed().is_none());
    assert_eq!(send(&mut outbox, usize::MAX).len(), 14, "up to the byte");
    let mut other = outbox.like();
    outbox.drain_into(&mut other);
    assert_eq!(other.slices(&mut [IoSlice::new(&[]); SLICES], false), 0);
    assert_eq!(other.passed().map(|(byte, _)| byte), Some(&b"@"[..]));
    other.consume(1);
    let mut rest = Vec::new();
    assert_eq!(std::io::Read::read_to_end(&mut &reader, &mut rest).expect("an end"), 0, "closed");
    assert_eq!(send_all(&mut other).len(), 7);
}
