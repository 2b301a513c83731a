//! Rules of the device, one a test; random sequences against a model are in
//! `tests/chardev_model.rs`. Time is a number here: nothing waits.

mod clients;
mod life;
mod migration;
mod read;
mod tokens;
mod write;

use std::time::{Duration, Instant};

use super::{
    Action, AddRefusal, Block, BlockError, ClientKey, Device, FlowControl, MigrateRefusal, Origin,
    Parameters, Pending, ReadStep, RestoreRefusal, TokenRefusal, UnknownClient, Write, WriteStep,
};

/// Messages are numbers, buffers are names.
type TestDevice = Device<u32, &'static str>;
type TestAction = Action<u32, &'static str>;

/// The limit on how long a message may wait for tokens.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running device whose tokens go back in lots of `interval`.
fn running(interval: u64, self_tokens: u64) -> TestDevice {
    let mut device = TestDevice::new(Parameters { token_interval: interval, self_tokens });
    device.start();
    device
}

#[expect(clippy::unnecessary_wraps, reason = "what clients are added with")]
fn window(max_send_queue: usize, client_tokens: u64, send_tokens: u64) -> Option<FlowControl> {
    Some(FlowControl { max_send_queue, client_tokens, send_tokens })
}

/// Adds a client that need not wait for anything.
fn join(device: &mut TestDevice, key: ClientKey, flow: Option<FlowControl>) {
    device.client_add(key, flow, false).expect("a new client");
}

fn pending(buffer: &'static str, origin: Origin) -> Pending<&'static str> {
    Pending { buffer, length: buffer.len(), origin, price: 1 }
}

/// Queues a client's buffer, token and all.
fn add_of(device: &mut TestDevice, key: ClientKey, buffer: &'static str) {
    device.take_client_token(key).expect("a token");
    device.add(pending(buffer, Origin::Client(key))).expect("room");
}

/// Queues a buffer of the server's that costs nothing.
fn add_free(device: &mut TestDevice, buffer: &'static str) {
    device.add(pending(buffer, Origin::ServerNoToken)).expect("room");
}

/// What is to be done outside.
fn actions(device: &mut TestDevice) -> Vec<TestAction> {
    std::iter::from_fn(|| device.poll_action()).collect()
}

/// What would be written next.
fn offered(device: &mut TestDevice) -> Option<&'static str> {
    device.poll_write().map(|Write { buffer, from, to }| &buffer[from..to])
}

/// Runs the write loop on a device that answers like this, and then takes nothing.
/// Returns what it was offered.
fn write(device: &mut TestDevice, answers: &[i32]) -> Vec<&'static str> {
    let mut seen = Vec::new();
    if !device.begin_write() {
        return seen;
    }
    let mut answers = answers.iter().copied();
    while let Some(bytes) = offered(device) {
        seen.push(bytes);
        if device.handle_written(answers.next().unwrap_or(0)) == WriteStep::Full {
            break;
        }
    }
    device.end_write();
    seen
}

/// Runs the read loop on a device that has these messages. Returns how many were read.
fn read(device: &mut TestDevice, messages: &[u32], now: Instant) -> usize {
    let mut count = 0;
    if !device.begin_read() {
        return count;
    }
    while device.may_read() {
        if let Some(message) = messages.get(count) {
            count += 1;
            device.handle_message(message, now);
        } else if device.handle_no_message() == ReadStep::Done {
            break;
        }
    }
    device.end_read();
    count
}
