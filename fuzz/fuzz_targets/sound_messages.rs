//! Plays `fuzz/bodies/sound_messages.rs`.
#![no_main]
#![allow(dead_code, reason = "one of several bodies, without its seeds")]

#[path = "../bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (bodies::sound_messages::BODY.run)(bytes));
