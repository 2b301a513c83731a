//! Operations on the char-device core, compared with the model of `tests/chardev_model`
//! after each step.

use super::{Body, machine};

pub(crate) const BODY: Body = Body { name: "chardev", run, seeds };

fn run(bytes: &[u8]) {
    machine::run(bytes);
}

/// Any bytes are operations: three runs of them.
fn seeds() -> Vec<Vec<u8>> {
    let mixed = |seed: u32| {
        let byte = move |at: u32| (at.wrapping_mul(2_654_435_761).rotate_left(seed) >> 13) as u8;
        (1..200).map(byte).collect()
    };
    (1..4).map(mixed).collect()
}
