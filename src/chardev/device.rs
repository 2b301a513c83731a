//! One device: its write queue, its tokens, and who is inside which loop.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::config::limits;

/// No self token is left: the sender gets its bytes back and must wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoToken(pub Bytes);

/// What follows a write to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteStep {
    /// Ask [`Device::poll_write`] again.
    Again,
    /// The device takes no more now; leave the loop.
    Full,
}

/// What follows a read from the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStep {
    /// Read again: a wakeup came while the device was being read.
    Again,
    /// Leave the loop.
    Done,
}

/// How a loop that may be entered from inside itself stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loop {
    Idle,
    Inside,
    /// Inside, and asked to run once more.
    InsideAgain,
}

/// The state of one device.
#[derive(Debug)]
pub struct Device {
    running: bool,
    self_tokens: u64,
    queue: VecDeque<Bytes>,
    /// Bytes in `queue`.
    queued: usize,
    writing: Loop,
    reading: Loop,
}

impl Device {
    /// A stopped device that grants `self_tokens` buffers to the server at once.
    pub fn new(self_tokens: u64) -> Self {
        Self {
            running: false,
            self_tokens,
            queue: VecDeque::new(),
            queued: 0,
            writing: Loop::Idle,
            reading: Loop::Idle,
        }
    }

    /// Lets data flow. The caller then runs both loops.
    pub fn start(&mut self) {
        self.running = true;
    }

    /// Holds data back; the queue stays.
    pub fn stop(&mut self) {
        self.running = false;
    }

    /// Whether data may flow.
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// Whether a buffer would be accepted.
    pub fn has_token(&self) -> bool {
        self.self_tokens > 0 && self.queued < limits::CLIENT_TO_DEVICE
    }

    /// Whether bytes wait for the device.
    pub fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Queues bytes for the device, taking a self token. Empty data is dropped:
    /// a buffer without bytes would block the queue for ever.
    pub fn queue(&mut self, data: Bytes) -> Result<(), NoToken> {
        if data.is_empty() {
            return Ok(());
        }
        if !self.has_token() {
            return Err(NoToken(data));
        }
        self.self_tokens -= 1;
        self.queued += data.len();
        self.queue.push_back(data);
        Ok(())
    }

    /// Enters the write loop. False when it must not run now, or when it is
    /// running further up the stack: that one will go round once more.
    pub fn begin_write(&mut self) -> bool {
        self.running && enter(&mut self.writing)
    }

    /// The bytes to write next.
    pub fn poll_write(&mut self) -> Option<Bytes> {
        if self.running { self.queue.front().cloned() } else { None }
    }

    /// The device took `accepted` bytes of what [`Device::poll_write`] gave.
    /// Anything below 1 means "later".
    pub fn handle_written(&mut self, accepted: i32) -> WriteStep {
        let Some(first) = self.queue.front_mut() else {
            return WriteStep::Full;
        };
        let Ok(accepted @ 1..) = usize::try_from(accepted) else {
            return if again(&mut self.writing) { WriteStep::Again } else { WriteStep::Full };
        };
        let accepted = accepted.min(first.len());
        self.queued -= accepted;
        if accepted < first.len() {
            let _written = first.split_to(accepted);
        } else {
            self.queue.pop_front();
            self.self_tokens += 1;
        }
        WriteStep::Again
    }

    /// Leaves the write loop. True when bytes are left, so that a device which
    /// does not announce when it becomes writable must be tried again later.
    pub fn end_write(&mut self) -> bool {
        self.writing = Loop::Idle;
        self.running && !self.queue.is_empty()
    }

    /// Enters the read loop, as [`Device::begin_write`] does the other one.
    pub fn begin_read(&mut self) -> bool {
        self.running && enter(&mut self.reading)
    }

    /// A read delivered what there was, or found nothing.
    pub fn handle_read(&mut self) -> ReadStep {
        if self.running && again(&mut self.reading) { ReadStep::Again } else { ReadStep::Done }
    }

    /// Leaves the read loop.
    pub fn end_read(&mut self) {
        self.reading = Loop::Idle;
    }
}

fn enter(state: &mut Loop) -> bool {
    let outside = *state == Loop::Idle;
    *state = if outside { Loop::Inside } else { Loop::InsideAgain };
    outside
}

fn again(state: &mut Loop) -> bool {
    let asked = *state == Loop::InsideAgain;
    if asked {
        *state = Loop::Inside;
    }
    asked
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn running(tokens: u64) -> Device {
        let mut device = Device::new(tokens);
        device.start();
        device
    }

    #[test]
    fn a_stopped_device_is_neither_written_nor_read() {
        let mut device = Device::new(1);
        device.queue(Bytes::from_static(b"x")).expect("a token");
        assert!(!device.begin_write());
        assert!(!device.begin_read());
        device.start();
        assert!(device.begin_write());
        assert_eq!(device.poll_write().as_deref(), Some(&b"x"[..]));
    }

    #[test]
    fn tokens_come_back_when_the_last_byte_is_taken() {
        let mut device = running(1);
        device.queue(Bytes::from_static(b"abc")).expect("a token");
        let refused = Bytes::from_static(b"d");
        assert_eq!(device.queue(refused.clone()), Err(NoToken(refused)));
        assert!(device.begin_write());
        assert_eq!(device.handle_written(2), WriteStep::Again);
        assert!(!device.has_token());
        assert_eq!(device.poll_write().as_deref(), Some(&b"c"[..]));
        assert_eq!(device.handle_written(1), WriteStep::Again);
        assert!(device.has_token());
        assert!(!device.end_write());
    }

    #[test]
    fn a_wakeup_inside_a_refused_write_is_not_lost() {
        let mut device = running(1);
        device.queue(Bytes::from_static(b"x")).expect("a token");
        assert!(device.begin_write());
        assert!(!device.begin_write(), "nested");
        assert_eq!(device.handle_written(0), WriteStep::Again);
        assert_eq!(device.handle_written(-1), WriteStep::Full);
        assert!(device.end_write(), "try again later");
    }

    #[test]
    fn a_wakeup_inside_a_read_means_one_more_read() {
        let mut device = running(0);
        assert!(device.begin_read());
        assert!(!device.begin_read());
        assert!(!device.begin_read());
        assert_eq!(device.handle_read(), ReadStep::Again);
        assert_eq!(device.handle_read(), ReadStep::Done);
        device.end_read();
        assert!(device.begin_read());
    }

    #[test]
    fn a_stop_inside_a_callback_ends_both_loops() {
        let mut device = running(1);
        device.queue(Bytes::from_static(b"x")).expect("a token");
        assert!(device.begin_write() && device.begin_read() && !device.begin_read());
        device.stop();
        assert_eq!(device.poll_write(), None);
        assert_eq!(device.handle_read(), ReadStep::Done);
        assert!(!device.end_write());
        assert!(device.has_queued(), "the queue stays");
    }

    #[test]
    fn empty_data_is_never_queued() {
        let mut device = running(1);
        assert_eq!(device.queue(Bytes::new()), Ok(()));
        assert!(!device.has_queued() && device.has_token());
    }

    #[test]
    fn a_device_that_lies_about_its_count_is_clamped() {
        let mut device = running(2);
        device.queue(Bytes::from_static(b"ab")).expect("a token");
        device.queue(Bytes::from_static(b"cd")).expect("a token");
        assert!(device.begin_write());
        assert_eq!(device.handle_written(1000), WriteStep::Again);
        assert_eq!(device.poll_write().as_deref(), Some(&b"cd"[..]));
    }

    proptest! {
        #[test]
        fn every_byte_arrives_once_and_in_order(
            steps in prop::collection::vec((0u8..4, 0usize..40), 1..200),
            tokens in 1u64..6,
        ) {
            let mut device = running(tokens);
            let (mut given, mut taken) = (Vec::new(), Vec::new());
            let mut next = 0u8;
            for (step, size) in steps {
                match step {
                    0 | 1 => {
                        let data: Vec<u8> = (0..size).map(|i| next.wrapping_add(i as u8)).collect();
                        if device.queue(Bytes::from(data.clone())).is_ok() {
                            next = next.wrapping_add(size as u8);
                            given.extend(data);
                        }
                    }
                    2 => {
                        if device.begin_write() {
                            while let Some(bytes) = device.poll_write() {
                                let n = size.min(bytes.len());
                                taken.extend_from_slice(&bytes[..n]);
                                if device.handle_written(n as i32) == WriteStep::Full { break; }
                            }
                            device.end_write();
                        }
                    }
                    _ => if size % 2 == 0 { device.stop() } else { device.start() },
                }
                prop_assert!(device.queue.len() as u64 + device.self_tokens == tokens);
                prop_assert_eq!(device.queued, device.queue.iter().map(Bytes::len).sum::<usize>());
            }
            prop_assert_eq!(&given[..taken.len()], &taken[..]);
            prop_assert_eq!(given.len() - taken.len(), device.queued);
        }
    }
}
