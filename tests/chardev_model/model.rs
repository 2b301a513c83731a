//! What a char device must do, told a second time: ledgers and one line of buffers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use spice_server::chardev::{Action, Block, ClientKey, FlowControl, Origin, RestoreRefusal};

const PATIENCE: Duration = Duration::from_secs(30);

/// Messages and buffers are numbers.
pub(crate) type Wanted = Action<u32, u32>;

/// A buffer in the line.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) id: u32,
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) origin: Origin,
    pub(crate) price: u64,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Party {
    pub(crate) key: ClientKey,
    pub(crate) flow: Option<Ledger>,
    pub(crate) delivered: u32,
}

/// Both directions of a client with flow control.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) window: u64,
    /// From the client: taken for buffers, used up, and handed back.
    pub(crate) taken: u64,
    pub(crate) used: u64,
    pub(crate) returned: u64,
    /// To the client.
    pub(crate) allowance: u64,
    pub(crate) waiting: VecDeque<u32>,
    pub(crate) limit: usize,
    pub(crate) cut_at: Option<Instant>,
}

impl Ledger {
    pub(crate) fn new(flow: FlowControl) -> Self {
        Self {
            window: flow.client_tokens,
            taken: 0,
            used: 0,
            returned: 0,
            allowance: flow.send_tokens,
            waiting: VecDeque::new(),
            limit: flow.max_send_queue,
            cut_at: None,
        }
    }

    pub(crate) fn may_take(&self) -> u64 {
        self.window + self.returned - self.taken
    }

    pub(crate) fn not_returned(&self) -> u64 {
        self.used - self.returned
    }
}

/// The device.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a condition of its own")]
pub(crate) struct Model {
    pub(crate) interval: u64,
    pub(crate) self_tokens: u64,
    pub(crate) self_taken: u64,
    pub(crate) running: bool,
    pub(crate) active: bool,
    pub(crate) held_up: bool,
    pub(crate) destroyed: bool,
    pub(crate) parties: Vec<Party>,
    pub(crate) line: VecDeque<Piece>,
    /// The first of the line has been shown to the device.
    pub(crate) shown: bool,
    /// The device is inside the write of this buffer.
    pub(crate) inside: Option<u32>,
    pub(crate) writers: u32,
    pub(crate) readers: u32,
    pub(crate) wanted: VecDeque<Wanted>,
    /// Tokens that were taken and neither used nor given back.
    pub(crate) held: Vec<Origin>,
}

impl Model {
    pub(crate) fn new(interval: u64, self_tokens: u64) -> Self {
        Self {
            interval,
            self_tokens,
            self_taken: 0,
            running: false,
            active: false,
            held_up: false,
            destroyed: false,
            parties: Vec::new(),
            line: VecDeque::new(),
            shown: false,
            inside: None,
            writers: 0,
            readers: 0,
            wanted: VecDeque::new(),
            held: Vec::new(),
        }
    }

    pub(crate) fn party(&mut self, key: ClientKey) -> Option<&mut Party> {
        self.parties.iter_mut().find(|party| party.key == key)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.line.iter().map(|piece| piece.to - piece.from).sum()
    }

    pub(crate) fn stop(&mut self) {
        (self.running, self.active) = (false, false);
    }

    /// A buffer is done with, or its token is not needed.
    pub(crate) fn give_back(&mut self, origin: Origin, price: u64) {
        match origin {
            Origin::Nobody | Origin::ServerNoToken => {}
            Origin::Server => {
                self.self_taken -= 1;
                self.wanted.push_back(Action::SelfTokenFreed);
            }
            Origin::Client(key) => {
                let interval = self.interval;
                let party = self.party(key).expect("a buffer's client is known");
                let Some(flow) = &mut party.flow else { return };
                flow.used += price;
                let lot = flow.not_returned();
                if lot >= interval {
                    flow.returned += lot;
                    self.wanted.push_back(Action::GrantTokens(key, lot));
                }
            }
        }
    }

    /// Takes the whole line out: what was not shown first.
    fn clear_line(&mut self) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = self.line.drain(..).collect();
        if std::mem::take(&mut self.shown) {
            pieces.rotate_left(1);
        }
        self.inside = None;
        pieces
    }

    pub(crate) fn reset(&mut self) {
        self.held_up = false;
        for piece in self.clear_line() {
            self.wanted.push_back(Action::Release(piece.id));
            self.give_back(piece.origin, piece.price);
        }
        for flow in self.parties.iter_mut().filter_map(|party| party.flow.as_mut()) {
            flow.allowance += flow.waiting.len() as u64;
            flow.waiting.clear();
            flow.cut_at = None;
            flow.returned = flow.used;
        }
    }

    pub(crate) fn destroy(&mut self) {
        self.stop();
        self.destroyed = true;
        self.wanted.retain(|action| matches!(action, Action::Release(_)));
        for piece in self.clear_line() {
            self.wanted.push_back(Action::Release(piece.id));
        }
        self.parties.clear();
        self.held.retain(|origin| !matches!(origin, Origin::Client(_)));
    }

    pub(crate) fn remove(&mut self, key: ClientKey) {
        self.parties.retain(|party| party.key != key);
        self.held.retain(|origin| *origin != Origin::Client(key));
        self.wanted.retain(|action| match action {
            Action::Send(who, _) | Action::GrantTokens(who, _) | Action::RemoveClient(who) => {
                *who != key
            }
            _ => true,
        });
        let mut kept = VecDeque::new();
        for (index, mut piece) in std::mem::take(&mut self.line).into_iter().enumerate() {
            let theirs = piece.origin == Origin::Client(key);
            if theirs && !(index == 0 && self.shown) {
                self.wanted.push_back(Action::Release(piece.id));
                continue;
            }
            if theirs {
                piece.origin = Origin::Nobody;
            }
            kept.push_back(piece);
        }
        self.line = kept;
        self.held_up = false;
    }

    // --- to the device ---

    pub(crate) fn begin_write(&mut self) -> bool {
        if !self.running || self.held_up {
            return false;
        }
        self.writers += 1;
        self.writers == 1
    }

    pub(crate) fn next_write(&mut self) -> Option<(u32, usize, usize)> {
        if !self.running {
            return None;
        }
        let first = self.line.front()?;
        self.shown = true;
        self.inside = Some(first.id);
        Some((first.id, first.from, first.to))
    }

    /// Whether the loop goes on.
    pub(crate) fn written(&mut self, answer: i32) -> bool {
        let inside = self.inside.take();
        if answer <= 0 {
            let again = self.writers > 1;
            self.writers = 1;
            return again;
        }
        self.active = true;
        if inside.is_none() {
            return true;
        }
        let first = self.line.front_mut().expect("the buffer being written");
        first.from += (answer as usize).min(first.to - first.from);
        if first.from == first.to {
            let done = self.line.pop_front().expect("it is there");
            self.shown = false;
            self.wanted.push_back(Action::Release(done.id));
            self.give_back(done.origin, done.price);
        }
        true
    }

    /// Whether a retry is due.
    pub(crate) fn end_write(&mut self) -> bool {
        self.writers = 0;
        self.active &= self.running;
        self.running && self.shown
    }

    // --- from the device ---

    pub(crate) fn begin_read(&mut self) -> bool {
        if !self.running || self.held_up {
            return false;
        }
        self.readers += 1;
        self.readers == 1
    }

    pub(crate) fn may_read(&self) -> bool {
        let open = |party: &Party| party.flow.as_ref().is_none_or(|flow| flow.allowance > 0);
        self.running && (self.parties.is_empty() || self.parties.iter().any(open))
    }

    pub(crate) fn message(&mut self, message: u32, now: Instant) {
        self.active = true;
        for party in &mut self.parties {
            let action = match &mut party.flow {
                None => {
                    party.delivered += 1;
                    Action::Send(party.key, message)
                }
                Some(flow) if flow.allowance > 0 => {
                    assert!(flow.waiting.is_empty(), "tokens and a queue at once");
                    flow.allowance -= 1;
                    Action::Send(party.key, message)
                }
                Some(flow) if flow.waiting.len() < flow.limit => {
                    flow.waiting.push_back(message);
                    flow.cut_at = flow.cut_at.or(Some(now + PATIENCE));
                    continue;
                }
                Some(_) => Action::RemoveClient(party.key),
            };
            self.wanted.push_back(action);
        }
    }

    /// Whether the loop goes on after a read that gave nothing.
    pub(crate) fn no_message(&mut self) -> bool {
        let again = self.running && self.readers > 1;
        if again {
            self.readers = 1;
        }
        again
    }

    pub(crate) fn end_read(&mut self) {
        self.readers = 0;
        self.active &= self.running;
    }

    /// Whether the device is to be read.
    pub(crate) fn grant(&mut self, key: ClientKey, tokens: u64, set: bool, now: Instant) -> bool {
        let mut sent = Vec::new();
        let party = self.party(key).expect("asked before");
        let Some(flow) = &mut party.flow else { return true };
        flow.allowance = if set { tokens } else { flow.allowance + tokens };
        while flow.allowance > 0 && !flow.waiting.is_empty() {
            flow.allowance -= 1;
            sent.extend(flow.waiting.pop_front());
        }
        flow.cut_at = (!flow.waiting.is_empty()).then_some(now + PATIENCE);
        let read = flow.allowance > 0;
        self.wanted.extend(sent.into_iter().map(|message| Action::Send(key, message)));
        read
    }

    pub(crate) fn next_cut(&self) -> Option<Instant> {
        self.parties.iter().filter_map(|party| party.flow.as_ref()?.cut_at).min()
    }

    pub(crate) fn timeout(&mut self, now: Instant) {
        for party in &mut self.parties {
            let Some(flow) = &mut party.flow else { continue };
            if flow.cut_at.take_if(|at| *at <= now).is_some() {
                self.wanted.push_back(Action::RemoveClient(party.key));
            }
        }
    }

    // --- migration ---

    pub(crate) fn judge(&self, block: &Block, length: usize) -> Result<(), RestoreRefusal> {
        if self.parties.len() != 1 || !self.held_up || !self.line.is_empty() {
            return Err(RestoreRefusal::NotWaiting);
        }
        if !block.connected {
            return Err(RestoreRefusal::NotConnected);
        }
        if length as u64 != u64::from(block.write_size) {
            return Err(RestoreRefusal::Size);
        }
        let claimed = u64::from(block.client_tokens) + u64::from(block.write_client_tokens);
        if self.parties[0].flow.as_ref().is_some_and(|flow| flow.window < claimed) {
            return Err(RestoreRefusal::Tokens);
        }
        if length > 0 && block.write_client_tokens == 0 && self.self_taken >= self.self_tokens {
            return Err(RestoreRefusal::NoSelfToken);
        }
        Ok(())
    }

    /// Takes a block that was judged good.
    pub(crate) fn restore(&mut self, block: &Block, id: u32) {
        let length = block.write_size as usize;
        let price = u64::from(block.write_client_tokens);
        let interval = self.interval;
        let party = &mut self.parties[0];
        let key = party.key;
        if let Some(flow) = &mut party.flow {
            flow.taken = flow.window - u64::from(block.client_tokens);
            flow.used = flow.taken - if length > 0 { price } else { 0 };
            // Whoever it was that used them up has told the client nothing.
            let lot = if flow.used >= interval { flow.used } else { 0 };
            flow.returned = lot;
            self.wanted.extend((lot > 0).then_some(Action::GrantTokens(key, lot)));
            flow.allowance = block.send_tokens.into();
            while flow.allowance > 0
                && let Some(message) = flow.waiting.pop_front()
            {
                flow.allowance -= 1;
                self.wanted.push_back(Action::Send(key, message));
            }
            flow.cut_at = flow.cut_at.filter(|_| !flow.waiting.is_empty());
        }
        if length > 0 {
            let origin = if price > 0 { Origin::Client(key) } else { Origin::Server };
            self.self_taken += u64::from(price == 0);
            self.line.push_back(Piece { id, from: 0, to: length, origin, price: price.max(1) });
            self.shown = true;
        }
        self.held_up = false;
    }

    /// Tokens neither vanish nor multiply.
    pub(crate) fn check_conservation(&self) {
        let of = |wanted: Origin| {
            let line = self.line.iter().filter(|piece| piece.origin == wanted);
            let held = self.held.iter().filter(|origin| **origin == wanted).count() as u64;
            line.map(|piece| piece.price).sum::<u64>() + held
        };
        for party in &self.parties {
            let Some(flow) = &party.flow else { continue };
            let out = of(Origin::Client(party.key));
            assert_eq!(flow.may_take() + flow.not_returned() + out, flow.window, "{party:?}");
            assert!(flow.waiting.len() <= flow.limit);
        }
        if !self.destroyed {
            assert_eq!(of(Origin::Server), self.self_taken);
        }
    }
}
