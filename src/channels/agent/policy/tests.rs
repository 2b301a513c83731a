//! Rules of the policy, on messages in pieces of any size.

use proptest::prelude::*;

use super::*;
use crate::channels::agent::Switches;
use crate::channels::agent::capabilities::Change;
use crate::channels::agent::filter::Filter;
use crate::config::agent::{Clipboard, Files as FilePolicy};

const OPEN: AgentPolicy = AgentPolicy {
    clipboard: Clipboard { to_guest: true, to_client: true, max_size: None },
    files: FilePolicy { to_guest: true, max_size: None },
    audit: false,
};
const AUDIT: AgentPolicy = AgentPolicy { audit: true, ..OPEN };
const NO_FILES: AgentPolicy =
    AgentPolicy { files: FilePolicy { to_guest: false, max_size: None }, ..AUDIT };
const SMALL: AgentPolicy = AgentPolicy {
    clipboard: Clipboard { to_guest: true, to_client: true, max_size: Some(10) },
    files: FilePolicy { to_guest: true, max_size: Some(10) },
    audit: true,
};

/// Nothing of the clipboard may go to this side.
fn closed_to(side: Side) -> AgentPolicy {
    let clipboard = match side {
        Side::Guest => Clipboard { to_guest: false, ..OPEN.clipboard },
        Side::Client => Clipboard { to_client: false, ..OPEN.clipboard },
    };
    AgentPolicy { clipboard, ..AUDIT }
}

/// Both ends and what went through.
#[derive(Default)]
struct Scene {
    talk: Talk,
    lanes: [(Filter, Lane); 2],
    /// Towards the guest and towards the client.
    out: [Vec<u8>; 2],
    answers: Vec<Answer>,
    records: Vec<String>,
    switches: Switches,
    /// Length of the pieces behind the first one, which has the head and `first` bytes.
    first: usize,
    pieces: usize,
}

impl Scene {
    fn new() -> Self {
        let mut scene = Self { first: 2000, pieces: 2000, ..Self::default() };
        let all = [[0; 4], [0xff, 0xdf, 0xff, 0xff]].concat();
        scene.say(Side::Guest, kind::ANNOUNCE_CAPABILITIES, &all, OPEN);
        scene.say(Side::Client, kind::ANNOUNCE_CAPABILITIES, &all, OPEN);
        scene.out = Default::default();
        scene
    }

    fn say(&mut self, from: Side, kind: u32, body: &[u8], policy: AgentPolicy) {
        let bytes = message(kind, body);
        let index = usize::from(from == Side::Guest);
        let (first, rest) = bytes.split_at((Head::BYTES + self.first).min(bytes.len()));
        for piece in std::iter::once(first).chain(rest.chunks(self.pieces)) {
            let (filter, lane) = &mut self.lanes[index];
            let part = filter.handle(piece, true, self.switches).expect("a good message");
            let capabilities = match from {
                Side::Client => &mut self.talk.client,
                Side::Guest => &mut self.talk.agent,
            };
            capabilities.handle(&part, Change::default());
            let decision = lane.handle(from, &part, || policy, &mut self.talk);
            match decision.forward {
                Forward::AsItIs => self.out[index].extend_from_slice(piece),
                Forward::Nothing => {}
                Forward::Instead(bytes) => self.out[index].extend(bytes),
            }
            if part.ends {
                assert!(!lane.is_inside(&part));
            }
            self.answers.extend(decision.answers);
            self.records.extend(decision.record.map(|record| record.to_string()));
        }
    }

    /// What has arrived at this side since it was last asked.
    fn heard(&mut self, side: Side) -> Vec<u8> {
        std::mem::take(&mut self.out[usize::from(side == Side::Client)])
    }

    fn answers(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.answers)
    }

    fn records(&mut self) -> Vec<String> {
        std::mem::take(&mut self.records)
    }

    fn start_file(&mut self, id: u8, text: &str, policy: AgentPolicy) {
        let body = [&[id, 0, 0, 0][..], b"[vdagent-file-xfer]\nname=x\n", text.as_bytes()].concat();
        self.say(Side::Client, kind::FILE_XFER_START, &body, policy);
    }

    fn send_data(&mut self, id: u8, length: u8, policy: AgentPolicy) {
        let fields = [id, 0, 0, 0, length, 0, 0, 0, 0, 0, 0, 0];
        let body = [&fields[..], &vec![7; length.into()]].concat();
        self.say(Side::Client, kind::FILE_XFER_DATA, &body, policy);
    }
}

fn clipboard(selection: u8, kind: u8, data: &[u8]) -> Vec<u8> {
    [&[selection, 0, 0, 0, kind, 0, 0, 0][..], data].concat()
}

/// No content, for one who asked for this type.
fn empty(to: Side, selection: u8, kind: u8) -> Vec<u8> {
    let kind = if to == Side::Guest { kind } else { 0 };
    message(kind::CLIPBOARD, &clipboard(selection, kind, b""))
}

const SIDES: [Side; 2] = [Side::Client, Side::Guest];

#[test]
fn content_that_may_not_go_is_replaced_by_none() {
    for from in SIDES {
        for first in [0, 1, 3, 4, 7, 8, 9, 2000] {
            let mut scene = Scene { first, pieces: 1, ..Scene::new() };
            let (to, policy) = (from.other(), closed_to(from.other()));
            scene.say(from, kind::CLIPBOARD, &clipboard(1, 2, b"secret"), policy);
            assert_eq!(scene.heard(to), empty(to, 1, 2));
            let record = match to {
                Side::Guest => {
                    "clipboard to the guest, primary selection, type png, 6 bytes, refused"
                }
                Side::Client => {
                    "clipboard to the client, primary selection, type png, 6 bytes, refused"
                }
            };
            assert_eq!(scene.records(), [record]);
            assert_eq!(scene.answers(), []);
        }
    }
}

#[test]
fn a_request_that_may_not_be_is_answered_with_none() {
    for from in SIDES {
        let mut scene = Scene { first: 0, pieces: 1, ..Scene::new() };
        let policy = closed_to(from);
        scene.say(from, kind::CLIPBOARD_REQUEST, &clipboard(2, 1, b""), policy);
        assert_eq!(scene.heard(from.other()), []);
        assert_eq!(scene.answers(), [Answer { to: from, message: empty(from, 2, 1) }]);
        assert_eq!(scene.records().len(), 1);
        // The other way is free.
        scene.say(from.other(), kind::CLIPBOARD_REQUEST, &clipboard(2, 1, b""), policy);
        assert_eq!(scene.heard(from), message(kind::CLIPBOARD_REQUEST, &clipboard(2, 1, b"")));
        assert_eq!((scene.answers(), scene.records()), (vec![], vec![]));
    }
}

#[test]
fn without_selections_the_answers_have_none() {
    let mut scene = Scene { first: 0, pieces: 1, ..Scene::default() };
    scene.say(Side::Client, kind::CLIPBOARD_REQUEST, &[1, 0, 0, 0], closed_to(Side::Client));
    scene.say(Side::Client, kind::CLIPBOARD, &[1, 0, 0, 0, 5], closed_to(Side::Guest));
    let none = message(kind::CLIPBOARD, &[0; 4]);
    assert_eq!(scene.answers(), [Answer { to: Side::Client, message: none }]);
    assert_eq!(scene.heard(Side::Guest), message(kind::CLIPBOARD, &[1, 0, 0, 0]));
}

#[test]
fn a_refused_grab_and_its_release_are_swallowed() {
    for from in SIDES {
        for kind in [kind::CLIPBOARD_GRAB, kind::CLIPBOARD_RELEASE] {
            let mut scene = Scene::new();
            scene.say(from, kind, &clipboard(0, 1, b""), closed_to(from.other()));
            assert_eq!((scene.heard(from.other()), scene.answers()), (vec![], vec![]));
            scene.say(from, kind, &clipboard(0, 1, b""), closed_to(from));
            assert_eq!(scene.heard(from.other()), message(kind, &clipboard(0, 1, b"")));
        }
    }
}

#[test]
fn what_the_host_switches_off_is_answered_too() {
    let mut scene = Scene::new();
    scene.switches = Switches { copy_paste: false, file_transfer: false, ..Switches::default() };
    scene.say(Side::Client, kind::CLIPBOARD_REQUEST, &clipboard(0, 1, b""), OPEN);
    scene.say(Side::Guest, kind::CLIPBOARD, &clipboard(0, 1, b"text"), OPEN);
    scene.say(Side::Guest, kind::CLIPBOARD_GRAB, &clipboard(0, 1, b""), OPEN);
    scene.start_file(3, "size=1", OPEN);
    scene.send_data(3, 1, OPEN);
    scene.say(Side::Client, kind::FILE_XFER_STATUS, &[3, 0, 0, 0, 1, 0, 0, 0], OPEN);
    assert_eq!(scene.heard(Side::Guest), []);
    assert_eq!(scene.heard(Side::Client), empty(Side::Client, 0, 1));
    let refused = status(Side::Client, 3, file_status::DISABLED);
    assert_eq!(
        scene.answers(),
        [Answer { to: Side::Client, message: empty(Side::Client, 0, 1) }, refused]
    );
    // On again, and the same number begins anew.
    scene.switches = Switches::default();
    scene.send_data(3, 1, OPEN);
    assert_eq!(scene.heard(Side::Guest), [], "the rest of what was refused");
    scene.start_file(3, "size=1", OPEN);
    scene.heard(Side::Guest);
    scene.send_data(3, 1, OPEN);
    assert_eq!(scene.heard(Side::Guest).len(), 33);
    assert_eq!((scene.answers(), scene.records()), (vec![], vec![]));
}

#[test]
fn large_contents_are_replaced_by_none() {
    for from in SIDES {
        let mut scene = Scene { first: 1, pieces: 3, ..Scene::new() };
        scene.say(from, kind::CLIPBOARD, &clipboard(0, 1, &[5; 10]), SMALL);
        assert_eq!(scene.heard(from.other()).len(), 38);
        scene.say(from, kind::CLIPBOARD, &clipboard(0, 1, &[5; 11]), SMALL);
        assert_eq!(scene.heard(from.other()), empty(from.other(), 0, 1));
        let records = scene.records().join("; ");
        assert!(records.contains("10 bytes, passed") && records.contains("11 bytes, refused"));
    }
}

#[test]
fn refused_files_are_answered_as_the_client_understands() {
    for (word, result) in [(0, file_status::ERROR), (1 << 14, file_status::DISABLED)] {
        let mut scene = Scene { first: 3, pieces: 5, ..Scene::new() };
        let body = [[0; 4], u32::to_le_bytes(word)].concat();
        scene.say(Side::Client, kind::ANNOUNCE_CAPABILITIES, &body, OPEN);
        scene.heard(Side::Guest);
        scene.start_file(9, "size=77\n", NO_FILES);
        scene.send_data(9, 5, NO_FILES);
        scene.send_data(9, 5, NO_FILES);
        assert_eq!(scene.heard(Side::Guest), []);
        assert_eq!(scene.answers(), [status(Side::Client, 9, result)]);
        assert_eq!(scene.records(), ["file to the guest, 77 bytes, refused"]);
    }
}

#[test]
fn a_file_that_says_it_is_too_large_does_not_begin() {
    let mut scene = Scene { first: 0, pieces: 1, ..Scene::new() };
    scene.start_file(1, "size=11\n", SMALL);
    assert_eq!(scene.heard(Side::Guest), []);
    assert_eq!(scene.answers(), [status(Side::Client, 1, file_status::CANCELLED)]);
    scene.start_file(2, "size=10\n", SMALL);
    assert_eq!(scene.heard(Side::Guest).len(), 20 + 4 + 27 + 8);
    assert_eq!(scene.answers(), []);
}

#[test]
fn a_file_that_becomes_too_large_is_cancelled_on_both_sides() {
    let mut scene = Scene { first: 0, pieces: 1, ..Scene::new() };
    scene.start_file(1, "size=2\n", SMALL);
    scene.send_data(1, 6, SMALL);
    scene.heard(Side::Guest);
    scene.send_data(1, 5, SMALL);
    assert_eq!(scene.heard(Side::Guest), []);
    let cancelled = |side| status(side, 1, file_status::CANCELLED);
    assert_eq!(scene.answers(), [cancelled(Side::Client), cancelled(Side::Guest)]);
    assert_eq!(scene.records(), ["file to the guest, 6 bytes, not completed"]);
    scene.send_data(1, 1, SMALL);
    assert_eq!((scene.heard(Side::Guest), scene.answers()), (vec![], vec![]));
}

#[test]
fn a_part_counts_as_long_as_it_says() {
    let mut scene = Scene::new();
    scene.start_file(1, "size=2\n", SMALL);
    scene.heard(Side::Guest);
    let body = [[1, 0, 0, 0], [0xff; 4], [0xff; 4], [7; 4]].concat();
    scene.say(Side::Client, kind::FILE_XFER_DATA, &body, SMALL);
    assert_eq!(scene.heard(Side::Guest), []);
    assert_eq!(scene.answers().len(), 2);
}

#[test]
fn a_file_whose_beginning_nobody_saw_is_counted_from_now() {
    let mut scene = Scene::new();
    scene.send_data(1, 9, SMALL);
    assert_eq!(scene.heard(Side::Guest).len(), 20 + 12 + 9);
    scene.send_data(1, 2, SMALL);
    assert_eq!(scene.answers().len(), 2);
}

#[test]
fn the_audit_tells_of_each_file_at_its_end() {
    for (result, outcome) in [(3, "passed"), (1, "not completed"), (2, "not completed")] {
        for from in SIDES {
            let mut scene = Scene { first: 3, pieces: 1, ..Scene::new() };
            scene.start_file(1, "size=300\n", AUDIT);
            scene.say(Side::Guest, kind::FILE_XFER_STATUS, &[1, 0, 0, 0, 0, 0, 0, 0], AUDIT);
            scene.send_data(1, 200, AUDIT);
            scene.send_data(1, 100, AUDIT);
            assert_eq!(scene.records(), Vec::<String>::new());
            scene.say(from, kind::FILE_XFER_STATUS, &[1, 0, 0, 0, result, 0, 0, 0], AUDIT);
            assert_eq!(scene.records(), [format!("file to the guest, 300 bytes, {outcome}")]);
        }
    }
    let mut scene = Scene::new();
    scene.start_file(1, "size=300\n", AUDIT);
    assert_eq!(scene.talk.end(true).len(), 1);
    assert_eq!(scene.talk.end(true).len(), 0);
}

#[test]
fn the_audit_tells_of_each_content_once() {
    for first in [0, 5, 8, 2000] {
        let mut scene = Scene { first, pieces: 4, ..Scene::new() };
        scene.say(Side::Client, kind::CLIPBOARD, &clipboard(0, 1, b"text"), AUDIT);
        scene.say(Side::Client, kind::CLIPBOARD, &clipboard(0, 0, b""), AUDIT);
        scene.say(Side::Client, kind::CLIPBOARD_GRAB, &clipboard(0, 1, b""), AUDIT);
        assert_eq!(scene.records(), ["clipboard to the guest, type text, 4 bytes, passed"]);
    }
}

proptest! {
    #[test]
    fn with_nothing_forbidden_everything_goes_on_as_it_is(
        messages in prop::collection::vec(
            (any::<bool>(), 0..18_u32, prop::collection::vec(any::<u8>(), 0..60)), 0..20),
        first in 0..40_usize,
        pieces in 1..40_usize,
        audit in any::<bool>(),
    ) {
        let mut scene = Scene { first, pieces, ..Scene::new() };
        for (from_guest, kind, body) in messages {
            let from = if from_guest { Side::Guest } else { Side::Client };
            scene.say(from, kind, &body, if audit { AUDIT } else { OPEN });
            prop_assert_eq!(scene.heard(from.other()), message(kind, &body));
            prop_assert_eq!(scene.answers(), vec![]);
        }
        prop_assert!(audit || scene.records().is_empty());
    }

    #[test]
    fn any_split_has_the_same_outcome(
        messages in prop::collection::vec(
            (any::<bool>(), 0..18_u32, prop::collection::vec(0..3_u8, 0..60)), 0..20),
        first in 0..40_usize,
        pieces in 1..40_usize,
        which in 0..5_usize,
        off in any::<bool>(),
    ) {
        let policy = [SMALL, NO_FILES, closed_to(Side::Guest), closed_to(Side::Client), OPEN][which];
        let mut split = Scene { first, pieces, ..Scene::new() };
        let mut whole = Scene::new();
        for (from_guest, kind, body) in messages {
            let from = if from_guest { Side::Guest } else { Side::Client };
            for scene in [&mut split, &mut whole] {
                scene.switches.copy_paste = !off;
                scene.switches.file_transfer = !off;
                scene.say(from, kind, &body, policy);
            }
        }
        prop_assert_eq!(split.out, whole.out);
        prop_assert_eq!(split.answers, whole.answers);
        prop_assert_eq!(split.records, whole.records);
    }
}
