//! Each fuzz body (`fuzz/bodies`) with its seeds, the seeds changed a little, and random
//! bytes: a stable compiler sees all of it run. `scripts/fuzz` looks further.

#[path = "../fuzz/bodies/mod.rs"]
mod bodies;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use bodies::{ALL, Body};

/// So much for each body; whoever waits for the tests should not notice.
const TIME: Duration = Duration::from_millis(700);
/// Runs after which it is enough.
const RUNS: u64 = 20_000;
/// Runs that there must be on the slowest machine.
const LEAST: u64 = 100;

#[test]
fn agent_from_client() {
    smoke("agent_from_client");
}

#[test]
fn agent_from_guest() {
    smoke("agent_from_guest");
}

#[test]
fn common_messages() {
    smoke("common_messages");
}

#[test]
fn framing() {
    smoke("framing");
}

#[test]
fn display_client() {
    smoke("display_client");
}

#[test]
fn graphics_messages() {
    smoke("graphics_messages");
}

#[test]
fn inputs_messages() {
    smoke("inputs_messages");
}

#[test]
fn link() {
    smoke("link");
}

#[test]
fn lz4() {
    smoke("lz4");
}

#[test]
fn main_messages() {
    smoke("main_messages");
}

#[test]
fn migration_block() {
    smoke("migration_block");
}

#[test]
fn outbox() {
    smoke("outbox");
}

#[test]
fn smartcard() {
    smoke("smartcard");
}

#[test]
fn sound_messages() {
    smoke("sound_messages");
}

#[test]
fn spicevmc_messages() {
    smoke("spicevmc_messages");
}

#[test]
fn stream_device() {
    smoke("stream_device");
}

#[test]
fn websocket() {
    smoke("websocket");
}

#[test]
fn each_body_has_its_target() {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let files: BTreeSet<_> = std::fs::read_dir(targets)
        .expect("it is there")
        .map(|file| file.expect("readable").path().file_stem().expect("a name").to_owned())
        .collect();
    // The last one plays tests/chardev_model.
    let names = ALL.iter().map(|body| body.name).chain(["chardev"]);
    assert_eq!(files, names.map(Into::into).collect());
}

fn smoke(name: &str) {
    let body = ALL.iter().find(|body| body.name == name).expect("a body of that name");
    let runs = play(body);
    println!("{name}: {runs} runs");
    assert!(runs >= LEAST, "{runs} runs");
}

fn play(body: &Body) -> u64 {
    let seeds = (body.seeds)();
    for seed in &seeds {
        (body.run)(seed);
    }
    let begin = Instant::now();
    let mut random = Random(1);
    let mut runs = seeds.len() as u64;
    while runs < LEAST || (runs < RUNS && begin.elapsed() < TIME) {
        let bytes = if random.below(3) == 0 {
            let length = random.below(400);
            random.bytes(length)
        } else {
            changed(&seeds, &mut random)
        };
        (body.run)(&bytes);
        runs += 1;
    }
    runs
}

/// A seed with some changes, perhaps with the end of another one.
fn changed(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] = random.next() as u8,
            1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => bytes.insert(at, random.next() as u8),
            4 => bytes.truncate(at),
            _ => {
                let other = &seeds[random.below(seeds.len())];
                bytes.truncate(at);
                bytes.extend_from_slice(&other[random.below(other.len() + 1)..]);
            }
        }
    }
    bytes
}

/// Marsaglia's xorshift: the same bytes each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 8
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}
