//! Plays `fuzz/bodies/agent_from_guest.rs`.
#![no_main]
#![allow(dead_code, reason = "one of several bodies, without its seeds")]

#[path = "../bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (bodies::agent_from_guest::BODY.run)(bytes));
