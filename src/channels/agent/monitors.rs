//! A client's MONITORS_CONFIG for the graphics devices, collected from its pieces.

use super::filter::Part;
use crate::config::limits;
use crate::wire::Truncated;
use crate::wire::agent::MonitorsConfig;

/// The bytes of one message so far.
#[derive(Debug, Default)]
pub struct Monitors {
    body: Vec<u8>,
}

/// Why a client's monitors cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMonitors {
    /// More than any client has.
    #[error("the client's monitors take {0} bytes")]
    TooLarge(u32),
    /// The message is shorter than what it announces.
    #[error("the list of the client's monitors ends too early")]
    Truncated(#[from] Truncated),
}

impl Monitors {
    /// Takes a piece. Returns the monitors with the last one.
    pub fn handle(&mut self, part: &Part<'_>) -> Result<Option<MonitorsConfig>, BadMonitors> {
        if let Some(head) = part.head {
            if head.size > limits::MONITORS_CONFIG {
                return Err(BadMonitors::TooLarge(head.size));
            }
            self.body.clear();
        }
        // The filter lets no more than the announced size come.
        self.body.extend_from_slice(part.body);
        if !part.ends {
            return Ok(None);
        }
        let body = std::mem::take(&mut self.body);
        Ok(Some(MonitorsConfig::parse(&body)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels::agent::Switches;
    use crate::channels::agent::filter::Filter;
    use crate::wire::agent::{Head, Monitor, kind, message};

    fn feed(bytes: &[u8], pieces: usize) -> Result<Option<MonitorsConfig>, BadMonitors> {
        let switches = Switches { monitors_to_display: true, ..Switches::default() };
        let (mut filter, mut monitors) = (Filter::default(), Monitors::default());
        let (head, rest) = bytes.split_at(Head::BYTES);
        let mut result = Ok(None);
        for piece in std::iter::once(head).chain(rest.chunks(pieces)) {
            let part = filter.handle(piece, true, switches).expect("good");
            result = monitors.handle(&part);
            if result.is_err() {
                break;
            }
        }
        result
    }

    fn config(count: i32) -> MonitorsConfig {
        let monitor = |x| Monitor { height: 600, width: 800, depth: 32, x, y: 0 };
        let sizes_mm = Some(vec![(1, 2); count as usize]);
        MonitorsConfig { flags: 3, monitors: (0..count).map(monitor).collect(), sizes_mm }
    }

    #[test]
    fn any_split_gives_the_same_monitors() {
        for pieces in [1, 7, 24, 2048] {
            for count in [0, 1, 256] {
                let bytes = message(kind::MONITORS_CONFIG, &config(count).encode());
                assert_eq!(feed(&bytes, pieces), Ok(Some(config(count))));
            }
        }
    }

    #[test]
    fn too_many_are_refused_at_the_head() {
        let bytes = message(kind::MONITORS_CONFIG, &config(257).encode());
        assert_eq!(feed(&bytes[..Head::BYTES], 1), Err(BadMonitors::TooLarge(6176)));
    }

    #[test]
    fn announced_monitors_have_to_be_there() {
        let body = config(3).encode();
        let bytes = message(kind::MONITORS_CONFIG, &body[..body.len() - 1]);
        assert_eq!(feed(&bytes, 100), Err(BadMonitors::Truncated(Truncated)));
        assert_eq!(
            feed(&message(kind::MONITORS_CONFIG, &[]), 1),
            Err(BadMonitors::Truncated(Truncated))
        );
    }
}
