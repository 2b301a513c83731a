//! Random operations on the char-device core, against a small model of it. The fuzz
//! target `chardev` plays the same from a fuzzer's bytes.

#[path = "chardev_model/machine.rs"]
mod machine;
#[path = "chardev_model/model.rs"]
mod model;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_does_what_the_model_does(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
        machine::run(&bytes);
    }
}

/// Random sequences are worth something only if they reach what is to be tested.
#[test]
fn the_sequences_reach_every_kind_of_event() {
    let mut state = 1_u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        // Marsaglia's xorshift: the same sequence each time.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(200_000)
    .collect();
    let played = machine::run(&bytes);
    let machine::Played {
        operations,
        nested,
        bytes_written,
        sent,
        granted,
        cut,
        migrated,
        restored,
    } = played;
    assert!(operations > 20_000 && nested > 1000, "{played:?}");
    let least = [bytes_written, sent, granted, cut, migrated, restored].into_iter().min();
    assert!(least > Some(100), "{played:?}");
}
