//! The main channel's network test and the watch over a silent client
//! (docs/protocol/channel.md, "Pings").
//!
//! Sans-IO: [`Liveness::poll`] says what to send and when to ask again. Not used
//! on unix sockets, where a dead peer shows itself at once.

use std::time::{Duration, Instant};

use crate::config::limits;

/// A PING to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Echoed in the PONG.
    pub id: u32,
    /// Echoed in the PONG: microseconds since the connection began.
    pub time: u64,
    /// Zero bytes after the fixed part.
    pub padding: usize,
}

/// What [`Liveness::poll`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to do before this moment.
    WaitUntil(Instant),
    /// Send this, then ask again.
    Send(Ping),
    /// The client owes an answer and has been silent for too long.
    Dead,
}

/// What a finished network test measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Round trip of a small message.
    pub latency: Duration,
    /// Bits a second; `None` when the test could not tell (then it is fast).
    pub bitrate: Option<u64>,
}

/// One connection's state.
#[derive(Debug)]
pub struct Liveness {
    start: Instant,
    next_id: u32,
    test: Vec<Ping>,
    latency: Option<Duration>,
    /// The first id of the test; the ids are consecutive.
    test_id: u32,
    /// The unanswered ping, if any, and when it was sent.
    owed: Option<(u32, Instant)>,
    last_heard: Instant,
    next_ping: Instant,
}

impl Liveness {
    /// Begins with the network test: two small pings, then a large one. `seed`
    /// makes the ids unguessable for nobody: it only keeps connections apart.
    pub fn new(now: Instant, seed: u32) -> Self {
        let ping = |step: u32, padding| Ping { id: seed.wrapping_add(step), time: 0, padding };
        Self {
            start: now,
            next_id: seed.wrapping_add(3),
            test: vec![ping(2, limits::NET_TEST_BYTES), ping(1, 0), ping(0, 0)],
            latency: None,
            test_id: seed,
            owed: None,
            last_heard: now,
            next_ping: now + limits::PING_PERIOD,
        }
    }

    /// Without the network test: for a client that comes from another host.
    pub fn without_test(now: Instant, seed: u32) -> Self {
        Self { test: Vec::new(), ..Self::new(now, seed) }
    }

    /// Something arrived from the client.
    pub fn handle_traffic(&mut self, now: Instant) {
        self.last_heard = now;
    }

    /// A PONG arrived. The last one of the network test returns what it measured.
    pub fn handle_pong(&mut self, id: u32, time: u64, now: Instant) -> Option<Measured> {
        if self.owed.is_some_and(|(owed, _)| owed == id) {
            self.owed = None;
        }
        let round_trip = (now - self.start).checked_sub(Duration::from_micros(time))?;
        match id.wrapping_sub(self.test_id) {
            0 => {
                self.latency = Some(round_trip);
                None
            }
            1 => {
                self.latency = self.latency.map(|earlier| earlier.min(round_trip));
                None
            }
            2 => self
                .latency
                .map(|latency| Measured { latency, bitrate: bitrate(latency, round_trip) }),
            _ => None,
        }
    }

    /// What to do now.
    pub fn poll(&mut self, now: Instant) -> Verdict {
        if let Some(ping) = self.test.pop() {
            return self.send(ping, now);
        }
        if let Some((_, sent)) = self.owed {
            let silent_since = self.last_heard.max(sent);
            let deadline = silent_since + limits::CONNECTIVITY;
            return if now >= deadline { Verdict::Dead } else { Verdict::WaitUntil(deadline) };
        }
        if now < self.next_ping {
            return Verdict::WaitUntil(self.next_ping);
        }
        let ping = Ping { id: self.next_id, time: 0, padding: 0 };
        self.next_id = self.next_id.wrapping_add(1);
        self.send(ping, now)
    }

    fn send(&mut self, ping: Ping, now: Instant) -> Verdict {
        self.owed = Some((ping.id, now));
        self.next_ping = now + limits::PING_PERIOD;
        Verdict::Send(Ping { time: (now - self.start).as_micros() as u64, ..ping })
    }
}

fn bitrate(latency: Duration, round_trip: Duration) -> Option<u64> {
    let micros = u64::try_from(round_trip.checked_sub(latency)?.as_micros()).ok()?;
    (limits::NET_TEST_BYTES as u64 * 8 * 1_000_000).checked_div(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ping(verdict: Verdict) -> Ping {
        match verdict {
            Verdict::Send(ping) => ping,
            other => panic!("expected a ping, got {other:?}"),
        }
    }

    #[test]
    fn the_test_is_three_pings_and_measures() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start, 100);
        let pings = [0; 3].map(|_| ping(liveness.poll(start)));
        assert_eq!(pings.map(|p| p.padding), [0, 0, 256_000]);
        assert_eq!(pings.map(|p| p.id), [100, 101, 102]);
        let after = |ms| start + Duration::from_millis(ms);
        assert_eq!(liveness.handle_pong(100, 0, after(2)), None);
        assert_eq!(liveness.handle_pong(101, 0, after(1)), None);
        let measured = liveness.handle_pong(102, 0, after(11)).expect("the last pong");
        assert_eq!(measured.latency, Duration::from_millis(1));
        assert_eq!(measured.bitrate, Some(204_800_000));
    }

    #[test]
    fn a_client_that_owes_a_pong_is_dead_after_silence_only() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start, 0);
        for _ in 0..3 {
            ping(liveness.poll(start));
        }
        let almost = start + limits::CONNECTIVITY.saturating_sub(Duration::from_millis(1));
        assert!(matches!(liveness.poll(almost), Verdict::WaitUntil(_)));
        liveness.handle_traffic(almost);
        let later = start + limits::CONNECTIVITY;
        assert!(matches!(liveness.poll(later), Verdict::WaitUntil(_)));
        assert_eq!(liveness.poll(almost + limits::CONNECTIVITY), Verdict::Dead);
    }

    #[test]
    fn an_answering_client_is_asked_again_each_period() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start, 0);
        let mut last = 0;
        for _ in 0..3 {
            last = ping(liveness.poll(start)).id;
        }
        liveness.handle_pong(last, 0, start);
        assert_eq!(liveness.poll(start), Verdict::WaitUntil(start + limits::PING_PERIOD));
        assert_eq!(ping(liveness.poll(start + limits::PING_PERIOD)).id, 3);
    }

    #[test]
    fn strange_pongs_do_no_harm() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start, 0);
        assert_eq!(liveness.handle_pong(77, 0, start), None);
        assert_eq!(liveness.handle_pong(0, u64::MAX, start), None);
        assert_eq!(liveness.handle_pong(2, 0, start), None);
    }
}
