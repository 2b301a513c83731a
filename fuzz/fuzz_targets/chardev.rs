//! Operations on the char-device core, played from the fuzzer's bytes and compared
//! with the model after each step.
#![no_main]

#[path = "../../tests/chardev_model/machine.rs"]
mod machine;
#[path = "../../tests/chardev_model/model.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    machine::run(bytes);
});
