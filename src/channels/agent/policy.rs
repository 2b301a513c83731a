//! What the operator lets pass between clients and the agent, and how those are answered
//! who ask for something else (docs/protocol/agent.md, "Policy").
//!
//! One [`Lane`] for each direction and client follows the messages that the filter did
//! not discard; [`Talk`] is what the lanes have in common. With nothing forbidden and no
//! audit everything goes on as it is.

#[cfg(test)]
mod tests;

use super::Side;
use super::audit::{Outcome, Record, What};
use super::capabilities::Capabilities;
use super::files::{File, Files, announced_size};
use super::filter::{Part, Verdict};
use crate::config::agent::AgentPolicy;
use crate::config::limits;
use crate::wire::agent::{
    CLIPBOARD_NONE, Head, capability, empty_clipboard, file_status, kind, message,
};

/// What is known of both sides.
#[derive(Clone, Debug, Default)]
pub struct Talk {
    /// What the agent announced, as clients got it.
    pub agent: Capabilities,
    /// What the client announced.
    pub client: Capabilities,
    files: Files,
}

/// The messages of one direction.
#[derive(Clone, Debug, Default)]
pub struct Lane {
    plan: Plan,
    head: Option<Head>,
    /// What the operator said when it began.
    policy: AgentPolicy,
    /// The first bytes of the message's body, as far as the plan needs them.
    start: Vec<u8>,
}

/// How the present message is dealt with. The number says how many bytes of its body are
/// needed to know more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Plan {
    /// It goes on as it is.
    #[default]
    Pass,
    /// It goes on, and is looked at.
    Watch(usize),
    /// It stays here until it is known whether it may go on.
    Hold(usize),
    /// It does not go on, and somebody is to be told.
    Refuse(usize),
    /// It does not go on.
    Swallow,
}

/// What is to be done after a piece.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// What becomes of the piece.
    pub forward: Forward,
    /// Messages of the server's in somebody's name, for when the stream towards that side
    /// is between two messages.
    pub answers: Vec<Answer>,
    /// For the audit log.
    pub record: Option<Record>,
}

/// What goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Forward {
    /// The piece.
    #[default]
    AsItIs,
    /// Nothing.
    Nothing,
    /// These bytes.
    Instead(Vec<u8>),
}

/// A message that the server makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who gets it.
    pub to: Side,
    /// Head and body.
    pub message: Vec<u8>,
}

/// The client's number of a file and the length of its part stand in front of the data.
const FILE_DATA_FIELDS: usize = 12;
/// The client's number of a file and the result.
const FILE_STATUS_FIELDS: usize = 8;

impl Talk {
    /// A talk that began on another host, which does not say what was announced.
    pub fn resumed() -> Self {
        let (agent, client) = (Capabilities::usual(), Capabilities::usual());
        Self { agent, client, files: Files::default() }
    }

    /// The client or the agent is gone. Returns what the audit says of the files that were
    /// passing.
    pub fn end(&mut self, audit: bool) -> Vec<Record> {
        let files = self.files.end_all().filter(|_| audit);
        files.map(|file| file_record(Some(file.moved), Outcome::Ended)).collect()
    }

    fn of(&self, side: Side) -> &Capabilities {
        match side {
            Side::Client => &self.client,
            Side::Guest => &self.agent,
        }
    }

    /// Whether clipboard messages to this side begin with the selection.
    fn names_selection(&self, to: Side) -> bool {
        self.of(to).has(capability::CLIPBOARD_SELECTION)
    }
}

impl Lane {
    /// Takes a piece that comes from this side, of a message that the filter passes or
    /// refuses. `look` is called for what the operator says, when a message begins of
    /// which he may say something.
    pub fn handle(
        &mut self,
        from: Side,
        part: &Part<'_>,
        look: impl FnOnce() -> AgentPolicy,
        talk: &mut Talk,
    ) -> Decision {
        if let Some(head) = part.head {
            self.head = Some(head);
            self.start.clear();
            self.plan = if kind::is_transfer(head.kind) {
                self.policy = look();
                plan(from, &head, part.verdict == Verdict::Refuse, &self.policy, talk)
            } else {
                Plan::Pass
            };
        }
        let (Plan::Watch(need) | Plan::Hold(need) | Plan::Refuse(need)) = self.plan else {
            return match self.plan {
                Plan::Swallow => Decision { forward: Forward::Nothing, ..Decision::default() },
                _ => Decision::default(),
            };
        };
        let held = self.start.len();
        let wanted = part.body.len().min(need - held);
        self.start.extend_from_slice(&part.body[..wanted]);
        if self.start.len() < need && !part.ends {
            let forward = match self.plan {
                Plan::Watch(_) => Forward::AsItIs,
                _ => Forward::Nothing,
            };
            return Decision { forward, ..Decision::default() };
        }
        let Some(head) = self.head else {
            return Decision::default();
        };
        let message = Begun { from, head, start: &self.start, audit: self.policy.audit };
        match self.plan {
            Plan::Refuse(_) => {
                self.plan = Plan::Swallow;
                message.refuse(talk)
            }
            Plan::Hold(_) => {
                let refusal = message.check_file(&self.policy, talk);
                self.plan = if refusal.is_some() { Plan::Swallow } else { Plan::Pass };
                refusal.unwrap_or_else(|| Decision {
                    forward: self.let_go(part, held),
                    ..Decision::default()
                })
            }
            _ => {
                self.plan = Plan::Pass;
                Decision { record: message.look(talk), ..Decision::default() }
            }
        }
    }

    /// Whether the present message goes on as it comes.
    pub fn lets_pass(&self) -> bool {
        matches!(self.plan, Plan::Pass | Plan::Watch(_))
    }

    /// Whether what went on so far has to be continued.
    pub fn is_inside(&self, part: &Part<'_>) -> bool {
        !part.ends && self.lets_pass()
    }

    /// The piece, behind what was held of its message before.
    fn let_go(&self, part: &Part<'_>, held: usize) -> Forward {
        match self.head {
            Some(head) if part.head.is_none() => {
                let mut bytes = Vec::with_capacity(Head::BYTES + held + part.body.len());
                head.put(&mut bytes);
                bytes.extend_from_slice(&self.start[..held]);
                bytes.extend_from_slice(part.body);
                Forward::Instead(bytes)
            }
            _ => Forward::AsItIs,
        }
    }
}

fn plan(from: Side, head: &Head, off: bool, policy: &AgentPolicy, talk: &Talk) -> Plan {
    let size = head.size as usize;
    let may_go = |to| match to {
        Side::Guest => !off && policy.clipboard.to_guest,
        Side::Client => !off && policy.clipboard.to_client,
    };
    let (to, follow) = (from.other(), policy.audit || policy.files.max_size.is_some());
    match head.kind {
        kind::CLIPBOARD => {
            let fields = if talk.names_selection(to) { 8 } else { 4 };
            let data = head.size.saturating_sub(fields);
            let small = policy.clipboard.max_size.is_none_or(|most| u64::from(data) <= most);
            let need = size.min(fields as usize);
            match (may_go(to) && small, policy.audit && data > 0) {
                (false, _) => Plan::Refuse(need),
                (true, true) => Plan::Watch(need),
                (true, false) => Plan::Pass,
            }
        }
        kind::CLIPBOARD_REQUEST if !may_go(from) => Plan::Refuse(size.min(8)),
        kind::CLIPBOARD_GRAB | kind::CLIPBOARD_RELEASE if !may_go(to) => Plan::Swallow,
        kind::FILE_XFER_START if from == Side::Client => {
            let all = size.min(limits::FILE_START);
            if off || !policy.files.to_guest {
                Plan::Refuse(all)
            } else if follow {
                Plan::Hold(all)
            } else if talk.files.is_empty() {
                Plan::Pass
            } else {
                // A file of this number may have been refused before.
                Plan::Hold(size.min(4))
            }
        }
        kind::FILE_XFER_DATA if from == Side::Client => {
            let need = size.min(FILE_DATA_FIELDS);
            if off || !policy.files.to_guest {
                Plan::Refuse(need)
            } else if follow || !talk.files.is_empty() {
                Plan::Hold(need)
            } else {
                Plan::Pass
            }
        }
        kind::FILE_XFER_STATUS if !off && !talk.files.is_empty() => {
            Plan::Watch(size.min(FILE_STATUS_FIELDS))
        }
        _ if off => Plan::Swallow,
        _ => Plan::Pass,
    }
}

/// A message of which enough is known.
struct Begun<'a> {
    from: Side,
    head: Head,
    start: &'a [u8],
    audit: bool,
}

impl Begun<'_> {
    fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.start.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    }

    fn number_of_file(&self) -> u32 {
        // A message that ends within it means no file; whoever sent it gets an answer.
        self.word(0).unwrap_or(0)
    }

    fn record(&self, record: Record) -> Option<Record> {
        self.audit.then_some(record)
    }

    /// What a clipboard message is about, if those to this side have that layout:
    /// selection, type, and length of these fields.
    fn clipboard(&self, talk: &Talk) -> (Option<u8>, u32, u32) {
        if talk.names_selection(self.from.other()) {
            let selection = self.start.first().copied().unwrap_or(0);
            (Some(selection), self.word(4).unwrap_or(CLIPBOARD_NONE), 8)
        } else {
            (None, self.word(0).unwrap_or(CLIPBOARD_NONE), 4)
        }
    }

    /// The message does not go on.
    fn refuse(&self, talk: &mut Talk) -> Decision {
        let nothing = Decision { forward: Forward::Nothing, ..Decision::default() };
        match self.head.kind {
            kind::CLIPBOARD => {
                // Whoever waits for it gets nothing instead, and goes on.
                let (selection, kind, fields) = self.clipboard(talk);
                let bytes = Some(self.head.size.saturating_sub(fields).into());
                let what = What::Clipboard { selection, kind };
                let to = self.from.other();
                let empty = message(kind::CLIPBOARD, &no_content(to, selection, kind));
                let record = Record { to, what, bytes, outcome: Outcome::Refused };
                Decision {
                    forward: Forward::Instead(empty),
                    record: self.record(record),
                    ..nothing
                }
            }
            kind::CLIPBOARD_REQUEST => {
                let (selection, kind, _) = self.clipboard(talk);
                let (to, what) = (self.from, What::Clipboard { selection, kind });
                let answered = talk.names_selection(to).then(|| selection.unwrap_or(0));
                let empty = message(kind::CLIPBOARD, &no_content(to, answered, kind));
                let record = Record { to, what, bytes: None, outcome: Outcome::Refused };
                Decision {
                    answers: vec![Answer { to, message: empty }],
                    record: self.record(record),
                    ..nothing
                }
            }
            kind::FILE_XFER_START => {
                let size = announced_size(self.start.get(4..).unwrap_or(&[]));
                self.refuse_file(refusal(talk), size, talk)
            }
            _ => self.refuse_data(talk),
        }
    }

    /// A file does not begin.
    fn refuse_file(&self, result: u32, bytes: Option<u64>, talk: &mut Talk) -> Decision {
        let id = self.number_of_file();
        // Remembered, because its bytes may be on their way.
        talk.files.begin(File { id, moved: 0, refused: true });
        Decision {
            forward: Forward::Nothing,
            answers: vec![status(Side::Client, id, result)],
            record: self.record(file_record(bytes, Outcome::Refused)),
        }
    }

    /// A part of a file does not go on, and with it the rest of the file.
    fn refuse_data(&self, talk: &mut Talk) -> Decision {
        let id = self.number_of_file();
        let nothing = Decision { forward: Forward::Nothing, ..Decision::default() };
        let before = talk.files.end(id);
        let moved = before.map(|file| file.moved);
        talk.files.begin(File { id, moved: 0, refused: true });
        if before.is_some_and(|file| file.refused) {
            return nothing;
        }
        Decision {
            answers: [Side::Client, Side::Guest]
                .map(|side| status(side, id, file_status::CANCELLED))
                .into(),
            record: self.record(file_record(moved, Outcome::Ended)),
            ..nothing
        }
    }

    /// Whether a file or a part of one must not go on.
    fn check_file(&self, policy: &AgentPolicy, talk: &mut Talk) -> Option<Decision> {
        let id = self.number_of_file();
        if self.head.kind == kind::FILE_XFER_START {
            let size = announced_size(self.start.get(4..).unwrap_or(&[]));
            let whole = self.start.len() == self.head.size as usize;
            let fits = policy.files.max_size.is_none_or(|most| {
                // The bytes are counted as well: what is not said here shows there.
                whole && size.is_none_or(|size| size <= most)
            });
            let begins = fits && talk.files.begin(File { id, moved: 0, refused: false });
            return (!begins).then(|| self.refuse_file(file_status::CANCELLED, size, talk));
        }
        if talk.files.find(id).is_none() {
            // It began before anybody counted.
            talk.files.begin(File { id, moved: 0, refused: false });
        }
        let data = self.head.size.saturating_sub(FILE_DATA_FIELDS as u32);
        // The agent believes the length in the message.
        let said =
            self.start.get(4..).and_then(<[u8]>::first_chunk).map(|b| u64::from_le_bytes(*b));
        let length = said.unwrap_or(0).max(data.into());
        let goes_on = talk.files.find(id).is_some_and(|file| {
            let moved = file.moved.saturating_add(length);
            let fits = !file.refused && policy.files.max_size.is_none_or(|most| moved <= most);
            if fits {
                file.moved = moved;
            }
            fits
        });
        (!goes_on).then(|| self.refuse_data(talk))
    }

    /// The message goes on.
    fn look(&self, talk: &mut Talk) -> Option<Record> {
        if self.head.kind == kind::CLIPBOARD {
            let (selection, kind, fields) = self.clipboard(talk);
            return self.record(Record {
                to: self.from.other(),
                what: What::Clipboard { selection, kind },
                bytes: Some(self.head.size.saturating_sub(fields).into()),
                outcome: Outcome::Passed,
            });
        }
        let result = self.word(4)?;
        if result == file_status::CAN_SEND_DATA {
            return None;
        }
        let file = talk.files.end(self.number_of_file()).filter(|file| !file.refused)?;
        let outcome = if result == file_status::SUCCESS { Outcome::Passed } else { Outcome::Ended };
        self.record(file_record(Some(file.moved), outcome))
    }
}

/// The result that a client understands.
fn refusal(talk: &Talk) -> u32 {
    if talk.client.has(capability::FILE_XFER_DETAILED_ERRORS) {
        file_status::DISABLED
    } else {
        file_status::ERROR
    }
}

/// The body of a CLIPBOARD without data. The guest's agent gives it to whoever asked for
/// this type, and takes no notice of type NONE; that is what it says itself to clients
/// when it has nothing.
fn no_content(to: Side, selection: Option<u8>, kind: u32) -> Vec<u8> {
    empty_clipboard(selection, if to == Side::Guest { kind } else { CLIPBOARD_NONE })
}

fn status(to: Side, id: u32, result: u32) -> Answer {
    Answer { to, message: message(kind::FILE_XFER_STATUS, &file_status(id, result)) }
}

fn file_record(bytes: Option<u64>, outcome: Outcome) -> Record {
    Record { to: Side::Guest, what: What::File, bytes, outcome }
}
