//! Each fuzz body (`fuzz/bodies`) with its seeds, the seeds changed a little, and random
//! bytes: a stable compiler sees all of it run. `scripts/fuzz` looks further.

#[path = "../fuzz/bodies/mod.rs"]
mod bodies;

use std::sync::Once;
use std::time::{Duration, Instant};

use bodies::{ALL, Body, end_with_any_panic};

/// So much for each body; whoever waits for the tests should not notice.
const TIME: Duration = Duration::from_millis(700);
/// Runs after which it is enough.
const RUNS: u64 = 20_000;
/// Runs that there must be on the slowest machine.
const LEAST: u64 = 40;

/// A test for each body.
macro_rules! smoke {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            smoke(stringify!($name));
        })*

        #[test]
        fn each_body_has_its_test() {
            let names: Vec<_> = ALL.iter().map(|body| body.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

smoke! {
    agent_from_client
    agent_from_guest
    chardev
    common_messages
    config
    display_client
    framing
    graphics_messages
    inputs_messages
    link
    lz4
    machine
    main_messages
    migration_block
    migration_data
    outbox
    quic
    qxl
    server
    server_life
    smartcard
    sound_messages
    spicevmc_messages
    statistics
    stream_device
    tls
    websocket
}

fn smoke(name: &str) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        spice_server::log::install(|_, _| ());
        end_with_any_panic();
    });
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
