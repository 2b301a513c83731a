//! Plays `fuzz/bodies/websocket.rs`.
#![no_main]
#![allow(dead_code, reason = "one of several bodies, without its seeds")]

#[path = "../bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (bodies::websocket::BODY.run)(bytes));
