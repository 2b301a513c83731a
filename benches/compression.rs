//! What compressing a device's data costs on the sending thread, without any I/O:
//! `cargo bench --bench compression`.
//!
//! Blocks of 64 KiB, as a device is read. "always" looks at each block, "as served" is the
//! library's compressor, which pauses where nothing shrinks. The JPEG is one of those in
//! the Rust documentation, or the file that `BENCH_JPEG` names.

#![allow(clippy::cast_precision_loss, reason = "figures of three digits")]

use std::hint::black_box;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use spice_server::channel::compressor::Compressor;
use spice_server::stats::Counters;

const BLOCK: usize = 64 * 1024;
const ROUND: Duration = Duration::from_millis(500);
const ROUNDS: usize = 5;

fn main() {
    println!("{:<8} {:>16} {:>16} {:>10}", "content", "always, s/GB", "as served, s/GB", "sent, %");
    for (name, data) in contents() {
        let always = median(|| always(&data));
        let served = median(|| as_served(&data).0);
        let (_, share) = as_served(&data);
        println!("{name:<8} {always:>16.3} {served:>16.3} {share:>10.1}");
    }
}

fn contents() -> Vec<(&'static str, Vec<u8>)> {
    let mut contents =
        vec![("text", text()), ("zeros", vec![0; 16 * BLOCK]), ("random", noise(16 * BLOCK))];
    match jpeg() {
        Some(data) => contents.insert(2, ("JPEG", data)),
        None => println!("no JPEG: BENCH_JPEG names none and the Rust documentation is not here"),
    }
    contents
}

/// This project's own documents and sources.
fn text() -> Vec<u8> {
    let mut text = Vec::new();
    let mut directories = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(directory) = directories.pop() {
        let mut entries: Vec<_> =
            std::fs::read_dir(directory).expect("readable").flatten().map(|e| e.path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                directories.push(path);
            } else {
                text.extend(std::fs::read(path).expect("readable"));
            }
        }
    }
    text
}

fn jpeg() -> Option<Vec<u8>> {
    if let Some(path) = std::env::var_os("BENCH_JPEG") {
        return std::fs::read(path).ok();
    }
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    let root = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    std::fs::read(root.join("share/doc/rust/html/embedded-book/assets/f3.jpg")).ok()
}

/// Bytes without repetitions.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(next).collect()
}

/// Seconds for a gigabyte when every block is looked at.
fn always(data: &[u8]) -> f64 {
    let mut table = CompressTable::default();
    let mut room = vec![0; get_maximum_output_size(BLOCK)];
    per_gigabyte(data, |block| {
        black_box(compress_into_with_table(block, &mut room, &mut table).ok());
    })
}

/// Seconds for a gigabyte by the library's compressor, and how much of it is sent.
fn as_served(data: &[u8]) -> (f64, f64) {
    let counters = Arc::new(Counters::default());
    let mut compressor = Compressor::new(Arc::clone(&counters));
    let mut total = 0;
    let seconds = per_gigabyte(data, |block| {
        total += block.len() as u64;
        black_box(compressor.squeeze(block));
    });
    let totals = counters.totals(0);
    let sent = total - totals.out_uncompressed + totals.out_compressed;
    (seconds, 100.0 * sent as f64 / total as f64)
}

fn per_gigabyte(data: &[u8], mut work: impl FnMut(&[u8])) -> f64 {
    let (begin, mut bytes) = (Instant::now(), 0u64);
    while begin.elapsed() < ROUND {
        for block in data.chunks(BLOCK) {
            work(black_box(block));
            bytes += block.len() as u64;
        }
    }
    begin.elapsed().as_secs_f64() * 1e9 / bytes as f64
}

fn median(mut measure: impl FnMut() -> f64) -> f64 {
    let mut rounds: Vec<_> = (0..ROUNDS).map(|_| measure()).collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}
