//! At what pace and quality a client's network carries streams.
//!
//! One [`Budget`] for each client says how many bytes a second its streams may take: it
//! falls when frames do not get away or arrive late, and rises when all is well. One
//! [`Pace`] for each of its streams makes quality and time between frames of its share.

use std::time::{Duration, Instant};

use crate::config::limits;
use crate::wire::display::StreamReport;

/// Bytes a second for all streams of a client.
#[derive(Debug)]
pub struct Budget {
    rate: u64,
    /// When it was last raised or lowered.
    raised: Option<Instant>,
    lowered: Option<Instant>,
    /// What is really sent.
    flow: Flow,
}

/// Bytes of the current second and a second's worth of the time before.
#[derive(Debug, Default)]
struct Flow {
    since: Option<Instant>,
    bytes: u64,
    before: u64,
}

/// How the frames of one stream are made.
#[derive(Debug)]
pub struct Pace {
    /// Index into [`QUALITIES`].
    quality: usize,
    period: Duration,
    /// Bytes of a frame, of late.
    size: Option<u64>,
    /// When the quality last changed.
    changed: Option<Instant>,
    sent: Option<Instant>,
}

/// JPEG qualities, and how large frames are with them in comparison. The sizes are about
/// those of photographs; what is measured corrects them.
const QUALITIES: [(u8, u64); 7] =
    [(20, 32), (30, 40), (40, 47), (50, 54), (60, 62), (70, 74), (80, 100)];

/// Frames a second for which quality is given up, but not for more.
const SMOOTH: u64 = 20;

/// A frame that arrives so much before it is to be shown, and not more, is nearly late.
const NARROW: i32 = limits::MULTIMEDIA_DELAY_MS as i32 / 4;
/// A frame that arrives so much before it is to be shown is in good time.
const AMPLE: i32 = limits::MULTIMEDIA_DELAY_MS as i32 / 2;

/// After a change it takes so long until a report is about what came of it.
const SETTLING: Duration = Duration::from_secs(1);
/// See [`SETTLING`]: bad news is believed sooner.
const SETTLING_BAD: Duration = Duration::from_millis(500);
/// Without reports, the queue is the only witness, and a poor one.
const UNREPORTED: Duration = Duration::from_secs(3);

impl Budget {
    /// For a network of so many bits a second, if that is known.
    pub fn new(bit_rate: Option<u64>) -> Self {
        // Eight tenths of it: a part stays free for everything else.
        let rate = bit_rate.map_or(limits::STREAM_RATE, |bits| bits / 10);
        let rate = rate.clamp(limits::STREAM_RATE_LEAST, limits::STREAM_RATE_MOST);
        Self { rate, raised: None, lowered: None, flow: Flow::default() }
    }

    /// Bytes a second for one of so many streams.
    pub fn share(&self, streams: usize) -> u64 {
        self.rate / streams.max(1) as u64
    }

    /// A frame of so many bytes was sent. If the client makes no reports, that is how it is
    /// found out what its network carries.
    pub fn handle_sent(&mut self, bytes: usize, reports: bool, now: Instant) {
        self.flow.add(bytes as u64, now);
        if !reports && since(self.raised.max(self.lowered), now) >= UNREPORTED {
            self.raise(now);
        }
    }

    /// A frame was due, and what was sent before had not left.
    pub fn handle_blocked(&mut self, now: Instant) {
        self.lower(now);
    }

    /// The client tells how frames arrived.
    pub fn handle_report(&mut self, report: &StreamReport, now: Instant) {
        let many_lost = u64::from(report.drops) * 10 > u64::from(report.frames);
        if many_lost || report.delay < NARROW {
            self.lower(now);
        } else if report.drops == 0 && report.delay >= AMPLE {
            let settled = since(self.lowered, now) >= 2 * SETTLING;
            if settled && since(self.raised, now) >= SETTLING {
                self.raise(now);
            }
        }
    }

    fn lower(&mut self, now: Instant) {
        if since(self.lowered, now) < SETTLING_BAD {
            return;
        }
        self.lowered = Some(now);
        // A rate that was not made use of is no help.
        let used =
            self.flow.rate(now).map_or(self.rate, |flow| self.rate.min(flow.max(self.rate / 2)));
        self.rate = (used * 3 / 4).max(limits::STREAM_RATE_LEAST);
    }

    fn raise(&mut self, now: Instant) {
        if self.flow.rate(now).is_some_and(|flow| flow >= self.rate / 2) {
            self.raised = Some(now);
            self.rate = (self.rate * 5 / 4).min(limits::STREAM_RATE_MOST);
        }
    }
}

impl Flow {
    fn add(&mut self, bytes: u64, now: Instant) {
        self.turn(now);
        self.bytes += bytes;
    }

    fn turn(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let took = now.saturating_duration_since(since);
        if took >= Duration::from_secs(1) {
            self.before = self.bytes * 1000 / took.as_millis().max(1) as u64;
            self.bytes = 0;
            self.since = Some(now);
        }
    }

    /// Bytes a second; `None` before the first second is over.
    fn rate(&mut self, now: Instant) -> Option<u64> {
        self.turn(now);
        Some(self.before.max(self.bytes)).filter(|rate| *rate > 0)
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            quality: QUALITIES.len() - 1,
            period: limits::FRAME_PERIOD,
            size: None,
            changed: None,
            sent: None,
        }
    }
}

impl Pace {
    /// JPEG quality of the next frame.
    pub fn quality(&self) -> u8 {
        QUALITIES[self.quality].0
    }

    /// When the next frame may be sent; `None` for at once.
    pub fn due(&self) -> Option<Instant> {
        self.sent.map(|sent| sent + self.period)
    }

    /// A frame is made now.
    pub fn handle_begun(&mut self, now: Instant) {
        self.sent = Some(now);
    }

    /// It has `bytes` bytes, and the stream may take `share` bytes a second.
    pub fn handle_made(&mut self, bytes: usize, share: u64, now: Instant) {
        let bytes = bytes.max(1) as u64;
        let size = self.size.map_or(bytes, |size| (size * 3 + bytes) / 4).max(1);
        self.size = Some(size);
        let wanted = QUALITIES
            .iter()
            .rposition(|(_, relative)| share / SMOOTH >= self.size_with(size, *relative))
            .unwrap_or(0);
        // Down at once, up step by step.
        let quality = if wanted <= self.quality {
            wanted
        } else if since(self.changed, now) >= SETTLING {
            self.quality + 1
        } else {
            self.quality
        };
        if quality != self.quality {
            self.size = Some(self.size_with(size, QUALITIES[quality].1).max(1));
            self.quality = quality;
            self.changed = Some(now);
        }
        let period = Duration::from_micros(self.size.unwrap_or(1) * 1_000_000 / share.max(1));
        self.period = period.clamp(limits::FRAME_PERIOD, limits::FRAME_PERIOD_LONGEST);
    }

    /// What a frame that has `size` bytes now would have.
    fn size_with(&self, size: u64, relative: u64) -> u64 {
        size * relative / QUALITIES[self.quality].1
    }
}

fn since(then: Option<Instant>, now: Instant) -> Duration {
    then.map_or(Duration::MAX, |then| now.saturating_duration_since(then))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: StreamReport =
        StreamReport { stream: 0, unique: 1, frames: 5, drops: 0, delay: 390 };

    /// Frames of photographs of `full` bytes at the best quality on a network of `network`
    /// bytes a second, for some seconds: what the client gets in the last one. Reports come
    /// each five frames and tell how late frames were. The network test has been made if
    /// `tested`.
    fn play(full: u64, network: u64, tested: bool, seconds: u64) -> (u64, u8, Duration) {
        let bit_rate = tested.then_some(network * 8);
        let (mut budget, mut pace) = (Budget::new(bit_rate), Pace::default());
        let begin = Instant::now();
        let (mut free, mut frames, mut count) = (begin, 0, 0);
        let mut now = begin;
        while now < begin + Duration::from_secs(seconds) {
            if pace.due().is_none_or(|due| due <= now) {
                pace.handle_begun(now);
                let relative = QUALITIES.iter().find(|(q, _)| *q == pace.quality()).expect("one");
                let bytes = full * relative.1 / 100;
                budget.handle_sent(bytes as usize, true, now);
                pace.handle_made(bytes as usize, budget.share(1), now);
                free = free.max(now) + Duration::from_micros(bytes * 1_000_000 / network);
                let on_its_way = free.saturating_duration_since(now).as_millis() as i32;
                frames += 1;
                if now > begin + Duration::from_secs(seconds - 1) {
                    count += 1;
                }
                if frames % 5 == 0 {
                    let delay = limits::MULTIMEDIA_DELAY_MS as i32 - on_its_way;
                    let drops = if delay < 0 { 5 } else { 0 };
                    budget.handle_report(&StreamReport { drops, delay, ..GOOD }, now);
                }
            }
            now += Duration::from_millis(1);
        }
        (count, pace.quality(), free.saturating_duration_since(now))
    }

    #[test]
    fn a_fast_network_gets_all_frames_at_the_best_quality() {
        let (frames, quality, late) = play(40_000, 100_000_000, false, 20);
        assert!(frames >= 28 && quality == 80 && late < FRAME, "{frames} {quality} {late:?}");
    }

    const FRAME: Duration = Duration::from_millis(40);

    #[test]
    fn a_slower_network_gets_a_lower_quality_and_a_slow_one_fewer_frames() {
        let (frames, quality, late) = play(40_000, 500_000, false, 30);
        assert!(frames >= 15 && quality < 80, "{frames} {quality} {late:?}");
        assert!(late < 2 * Duration::from_millis(400), "{late:?}");
        let (frames, quality, late) = play(40_000, 60_000, true, 30);
        assert!(quality == 20 && (1..8).contains(&frames), "{frames} {quality} {late:?}");
        assert!(late < Duration::from_secs(1), "{late:?}");
        let (.., late) = play(40_000, 60_000, false, 60);
        assert!(late < Duration::from_secs(1), "it was told too much at first: {late:?}");
    }

    #[test]
    fn the_network_test_says_where_to_begin() {
        assert_eq!(Budget::new(None).share(1), limits::STREAM_RATE);
        assert_eq!(Budget::new(Some(8_000_000)).share(2), 400_000);
        assert_eq!(Budget::new(Some(1)).share(1), limits::STREAM_RATE_LEAST);
        assert_eq!(Budget::new(Some(u64::MAX)).share(0), limits::STREAM_RATE_MOST);
    }

    #[test]
    fn who_makes_no_reports_is_known_by_his_queue() {
        let (mut budget, mut now) = (Budget::new(None), Instant::now());
        let mut play = |budget: &mut Budget, blocked| {
            for _ in 0..300 {
                now += FRAME;
                if blocked {
                    budget.handle_blocked(now);
                } else {
                    let bytes = budget.share(25) as usize;
                    budget.handle_sent(bytes, false, now);
                }
            }
            budget.share(1)
        };
        let low = play(&mut budget, true);
        assert!(low < limits::STREAM_RATE / 10, "{low}");
        assert!(play(&mut budget, false) > low);
    }

    proptest! {
        /// Whatever a client says, rates and times stay within their limits.
        #[test]
        fn limits_hold(acts in prop::collection::vec(
            (any::<u32>(), any::<u32>(), any::<i32>(), 0usize..100_000_000, 0u64..3000, any::<bool>()),
            0..200,
        )) {
            let (mut budget, mut pace) = (Budget::new(None), Pace::default());
            let mut now = Instant::now();
            for (frames, drops, delay, bytes, pass, reports) in acts {
                now += Duration::from_millis(pass);
                budget.handle_report(&StreamReport { frames, drops, delay, ..GOOD }, now);
                budget.handle_sent(bytes, reports, now);
                pace.handle_begun(now);
                pace.handle_made(bytes, budget.share(1), now);
                if bytes % 3 == 0 {
                    budget.handle_blocked(now);
                }
                let rate = budget.share(1);
                prop_assert!((limits::STREAM_RATE_LEAST..=limits::STREAM_RATE_MOST).contains(&rate));
                let period = pace.due().expect("sent").saturating_duration_since(now);
                prop_assert!(period >= limits::FRAME_PERIOD && period <= limits::FRAME_PERIOD_LONGEST);
                prop_assert!(QUALITIES.iter().any(|(quality, _)| *quality == pace.quality()));
            }
        }
    }
}
