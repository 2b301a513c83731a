//! Plays one of `fuzz/bodies`: the one that `FUZZ_BODY` names. With `FUZZ_SEEDS=DIRECTORY`
//! its seeds are written there instead. `scripts/fuzz` does both. With `FUZZ_LOG` the library's
//! lines are shown.
#![no_main]

#[path = "../bodies/mod.rs"]
mod bodies;

use std::path::Path;
use std::process::exit;
use std::sync::LazyLock;

use bodies::{ALL, Body};

static CHOSEN: LazyLock<&'static Body> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_BODY").unwrap_or_default();
    ALL.iter().find(|body| body.name == name).unwrap_or_else(|| {
        for body in ALL {
            println!("{}", body.name);
        }
        exit(2)
    })
});

fn begin() {
    let body = *CHOSEN;
    if let Some(directory) = std::env::var_os("FUZZ_SEEDS") {
        for (number, seed) in (body.seeds)().iter().enumerate() {
            let path = Path::new(&directory).join(format!("seed-{number:03}"));
            std::fs::write(&path, seed).expect("a directory that can be written");
        }
        exit(0);
    }
    // Lines are formatted and thrown away: thousands a second would be all that is done.
    if std::env::var_os("FUZZ_LOG").is_none() {
        spice_server::log::install(|_, _| ());
    }
}

libfuzzer_sys::fuzz_target!(init: begin(), |bytes: &[u8]| (CHOSEN.run)(bytes));
