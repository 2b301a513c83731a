//! One direction of the agent's messages from the filter on, and the other end of it.

use spice_server::channels::agent::audit::Record;
use spice_server::channels::agent::capabilities::Change;
use spice_server::channels::agent::filter::{Filter, Verdict};
use spice_server::channels::agent::monitors::Monitors;
use spice_server::channels::agent::policy::{Answer, Forward, Lane, Talk};
use spice_server::channels::agent::{Side, Switches};
use spice_server::config::agent::{AgentPolicy, Clipboard, Files};

use super::Input;

/// The state of one direction.
pub(crate) struct Direction {
    from: Side,
    filter: Filter,
    lane: Lane,
    monitors: Monitors,
    talk: Talk,
    /// What the receiver makes of it.
    receiver: Filter,
}

/// Settings out of three bytes of the script.
pub(crate) fn settings(input: &mut Input<'_>) -> (Switches, AgentPolicy) {
    let (bits, clipboard, files) = (input.byte(), input.byte(), input.byte());
    let bit = |at: u8| bits >> at & 1 != 0;
    let limit = |byte: u8| (byte != 0).then(|| u64::from(byte));
    let switches =
        Switches { copy_paste: !bit(0), file_transfer: !bit(1), monitors_to_display: bit(2) };
    let clipboard = Clipboard { to_guest: !bit(3), to_client: !bit(4), max_size: limit(clipboard) };
    let files = Files { to_guest: !bit(5), max_size: limit(files) };
    (switches, AgentPolicy { clipboard, files, audit: bit(6) })
}

impl Direction {
    pub(crate) fn new(from: Side) -> Self {
        Self {
            from,
            filter: Filter::default(),
            lane: Lane::default(),
            monitors: Monitors::default(),
            talk: Talk::default(),
            receiver: Filter::default(),
        }
    }

    /// Takes a piece; false when the stream is broken and its sender is cut.
    pub(crate) fn handle(&mut self, piece: &[u8], switches: Switches, policy: AgentPolicy) -> bool {
        let Ok(part) = self.filter.handle(piece, true, switches) else {
            return false;
        };
        assert!(part.length() <= piece.len());
        match part.verdict {
            Verdict::Discard => panic!("somebody is there"),
            Verdict::Monitors => return self.monitors.handle(&part).is_ok(),
            Verdict::Pass | Verdict::Refuse => {}
        }
        let change = Change::by(switches);
        let capabilities = match self.from {
            Side::Client => &mut self.talk.client,
            Side::Guest => &mut self.talk.agent,
        };
        capabilities.handle(&part, change);
        let changed = capabilities.rewrite(&part, change);
        let decision = self.lane.handle(self.from, &part, || policy, &mut self.talk);
        let inside = self.lane.is_inside(&part);
        match decision.forward {
            Forward::AsItIs => {
                let bytes = changed.unwrap_or_else(|| piece[..part.length()].to_vec());
                assert_eq!(bytes.len(), part.length());
                self.receive(&bytes);
            }
            Forward::Nothing => {}
            Forward::Instead(bytes) => {
                for bytes in bytes.chunks(2048) {
                    self.receive(bytes);
                }
            }
        }
        // Whoever adds an answer relies on this.
        assert_eq!(self.receiver.is_inside(), inside);
        for Answer { message, .. } in decision.answers {
            whole(&message);
        }
        if let Some(record) = &decision.record {
            plain(record);
        }
        true
    }

    fn receive(&mut self, bytes: &[u8]) {
        let received = self.receiver.handle(bytes, true, Switches::default());
        received.expect("what goes on is well framed");
    }
}

fn whole(message: &[u8]) {
    let mut filter = Filter::default();
    let part = filter.handle(message, true, Switches::default()).expect("a message");
    assert!(part.ends && part.length() == message.len());
}

fn plain(record: &Record) {
    let line = record.to_string();
    assert!(line.is_ascii() && !line.contains('\n'));
}
