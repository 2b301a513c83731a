//! What the fuzz targets do with bytes. The same is played by `tests/fuzz_smoke.rs` with
//! random bytes and changed good ones, so that a stable compiler sees all of it run.
//!
//! A body panics where something is wrong. The bytes are read as a script by [`Input`]:
//! structure costs the fuzzer few of them, and any bytes are a script.

pub(crate) mod agent_from_client;
pub(crate) mod agent_from_guest;
mod agent_lane;
mod agent_seeds;
pub(crate) mod chardev;
pub(crate) mod common_messages;
pub(crate) mod config;
pub(crate) mod display_client;
pub(crate) mod framing;
pub(crate) mod graphics_messages;
mod input;
pub(crate) mod inputs_messages;
pub(crate) mod link;
pub(crate) mod lz4;
#[path = "../../tests/chardev_model/machine.rs"]
mod machine;
pub(crate) mod main_messages;
pub(crate) mod migration_block;
pub(crate) mod migration_data;
#[path = "../../tests/chardev_model/model.rs"]
mod model;
pub(crate) mod outbox;
pub(crate) mod quic;
pub(crate) mod qxl;
pub(crate) mod server;
pub(crate) mod smartcard;
pub(crate) mod sound_messages;
pub(crate) mod spicevmc_messages;
pub(crate) mod statistics;
pub(crate) mod stream_device;
pub(crate) mod tls;
pub(crate) mod websocket;

use std::io::Write;

use input::{Input, repeated};

/// The library contains panics; here each of them is a finding, on whichever thread. It puts
/// a hook of its own in place when the first server is made: this is to be called again then.
pub(crate) fn end_with_any_panic() {
    std::panic::set_hook(Box::new(|panic| {
        // Not by a macro, which the test runner would keep for later.
        let _ = writeln!(std::io::stderr(), "{panic}");
        std::process::abort();
    }));
}

/// One body.
pub(crate) struct Body {
    /// What `scripts/fuzz` calls it.
    pub(crate) name: &'static str,
    /// Plays these bytes.
    pub(crate) run: fn(&[u8]),
    /// Scripts that go deep.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub(crate) const ALL: &[Body] = &[
    agent_from_client::BODY,
    agent_from_guest::BODY,
    chardev::BODY,
    common_messages::BODY,
    config::BODY,
    display_client::BODY,
    framing::BODY,
    graphics_messages::BODY,
    inputs_messages::BODY,
    link::BODY,
    lz4::BODY,
    server::MACHINE,
    main_messages::BODY,
    migration_block::BODY,
    migration_data::BODY,
    outbox::BODY,
    quic::BODY,
    qxl::BODY,
    server::BODY,
    server::LIFE,
    smartcard::BODY,
    sound_messages::BODY,
    spicevmc_messages::BODY,
    statistics::BODY,
    stream_device::BODY,
    tls::BODY,
    websocket::BODY,
];
