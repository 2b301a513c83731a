//! Messages per second through the char-device core, without any I/O:
//! `cargo bench --bench chardev`.
//!
//! "to device": a token, a filled buffer, add, and a write that takes everything.
//! "from device": a read that fills a buffer, and its delivery to one client. Both
//! copy each byte once, as a socket or a guest would.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use spice_server::chardev::{Action, Device, FlowControl, Origin, Parameters, Pending, ReadStep};

type BenchDevice = Device<Bytes, Bytes>;

const CLIENT: usize = 1;
const LENGTHS: [u32; 3] = [64, 1024, 64 * 1024];
/// Long enough for numbers that repeat within a few percent.
const ROUND: Duration = Duration::from_millis(500);
const ROUNDS: usize = 5;

fn device() -> BenchDevice {
    let mut device = Device::new(Parameters { token_interval: 5, self_tokens: 1 });
    let flow = FlowControl { max_send_queue: 5, client_tokens: 10, send_tokens: 10 };
    device.start();
    device.client_add(CLIENT, Some(flow), false).expect("the first client");
    device
}

/// Gets, fills, adds and writes one message.
fn to_device(device: &mut BenchDevice, memory: &mut BytesMut, source: &[u8]) {
    device.take_client_token(CLIENT).expect("tokens come back");
    memory.extend_from_slice(source);
    let buffer = memory.split().freeze();
    let origin = Origin::Client(CLIENT);
    let pending = Pending { length: buffer.len(), buffer, origin, price: 1 };
    device.add(pending).expect("a client");
    assert!(device.begin_write());
    while let Some(write) = device.poll_write() {
        let bytes = black_box(&write.buffer[write.from..write.to]);
        device.handle_written(bytes.len() as i32);
        while let Some(action) = device.poll_action() {
            black_box(action);
        }
    }
    device.end_write();
}

/// Reads and delivers one message, and takes the client's next token.
fn from_device(device: &mut BenchDevice, memory: &mut BytesMut, source: &[u8], now: Instant) {
    assert!(device.begin_read());
    let mut there = true;
    while device.may_read() {
        if !there {
            if device.handle_no_message() == ReadStep::Done {
                break;
            }
            continue;
        }
        there = false;
        memory.extend_from_slice(source);
        device.handle_message(&memory.split().freeze(), now);
        while let Some(action) = device.poll_action() {
            if let Action::Send(client, message) = black_box(action) {
                drop(message);
                device.grant_send_tokens(client, 1, false, now).expect("a client");
            }
        }
    }
    device.end_read();
}

/// Messages per second: the middle of several rounds.
fn measure(mut step: impl FnMut()) -> f64 {
    let mut rates: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let (begin, mut count) = (Instant::now(), 0_u32);
            while begin.elapsed() < ROUND {
                for _ in 0..64 {
                    step();
                }
                count += 64;
            }
            f64::from(count) / begin.elapsed().as_secs_f64()
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    rates[ROUNDS / 2]
}

fn main() {
    println!("{:<12} {:>8} {:>14} {:>10}", "path", "bytes", "messages/s", "MiB/s");
    for length in LENGTHS {
        let source = vec![0x5a; length as usize];
        let now = Instant::now();
        let (mut to, mut from) = (device(), device());
        // Memory that is used again as soon as its message is gone.
        let mut memory = BytesMut::with_capacity(2 * source.len());
        let mut other = BytesMut::with_capacity(2 * source.len());
        let rows = [
            ("to device", measure(|| to_device(&mut to, &mut memory, &source))),
            ("from device", measure(|| from_device(&mut from, &mut other, &source, now))),
        ];
        for (path, rate) in rows {
            let mib = rate * f64::from(length) / f64::from(1 << 20);
            println!("{path:<12} {length:>8} {rate:>14.0} {mib:>10.0}");
        }
    }
}
