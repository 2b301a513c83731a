//! Plays operations made from bytes on a device and on the model, and compares after
//! each step. The same bytes always play the same operations; time is virtual.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use spice_server::chardev::{
    Action, AddRefusal, Block, ClientKey, Device, FlowControl, MigrateRefusal, Origin, Parameters,
    Pending, ReadStep, TokenRefusal, UnknownClient, Write, WriteStep,
};

use super::model::{Ledger, Model, Party, Piece};

/// Calls inside calls inside calls: deeper ones show nothing new.
const DEPTH: usize = 4;

/// What was played, so that a test can tell that something happened.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Played {
    pub(crate) operations: u64,
    pub(crate) nested: u64,
    pub(crate) bytes_written: u64,
    pub(crate) sent: u64,
    pub(crate) granted: u64,
    pub(crate) cut: u64,
    pub(crate) migrated: u64,
    pub(crate) restored: u64,
}

/// Plays `bytes`; panics where device and model differ.
pub(crate) fn run(bytes: &[u8]) -> Played {
    let mut machine = Machine::new(bytes);
    while !machine.input.is_empty() {
        machine.operation();
        machine.check();
        if machine.model.destroyed {
            machine.renew();
        }
    }
    machine.played
}

struct Machine<'a> {
    device: Device<u32, u32>,
    model: Model,
    input: VecDeque<&'a u8>,
    now: Instant,
    depth: usize,
    next_id: u32,
    /// Messages that the device would give.
    readable: u32,
    /// Where the last write ended: buffer and offset.
    last: (u32, usize),
    /// The last message each client saw.
    seen: [u32; 4],
    played: Played,
}

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let mut input: VecDeque<&u8> = bytes.iter().collect();
        let mut take = || u64::from(input.pop_front().copied().unwrap_or(0));
        let (token_interval, self_tokens) = (take() % 6, take() % 4);
        Self {
            device: Device::new(Parameters { token_interval, self_tokens }),
            model: Model::new(token_interval, self_tokens),
            input,
            now: Instant::now(),
            depth: 0,
            next_id: 1,
            readable: 0,
            last: (0, 0),
            seen: [0; 4],
            played: Played::default(),
        }
    }

    /// Another device, perhaps of another kind.
    fn renew(&mut self) {
        let (interval, self_tokens) = (u64::from(self.byte() % 6), u64::from(self.byte() % 4));
        self.device = Device::new(Parameters { token_interval: interval, self_tokens });
        self.model = Model::new(interval, self_tokens);
    }

    fn byte(&mut self) -> u8 {
        self.input.pop_front().copied().unwrap_or(0)
    }

    fn key(&mut self) -> ClientKey {
        usize::from(self.byte() % 4)
    }

    /// Mostly a client that is there.
    fn known_key(&mut self) -> ClientKey {
        let byte = usize::from(self.byte());
        match self.model.parties.len() {
            present @ 1.. if byte < 240 => self.model.parties[byte % present].key,
            _ => byte % 4,
        }
    }

    fn id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    fn operation(&mut self) {
        self.played.operations += 1;
        self.played.nested += u64::from(self.depth > 0);
        match self.byte() % 26 {
            0 => {
                self.device.start();
                self.model.running = true;
                self.pump();
            }
            1 => {
                self.device.stop();
                self.model.stop();
            }
            2 | 3 => self.pump(),
            4 => {
                self.device.reset();
                self.model.reset();
                self.act();
            }
            5..=7 => self.client_add(),
            8 if self.byte().is_multiple_of(2) => {
                let key = self.key();
                self.client_remove(key);
            }
            9..=12 => self.client_buffer(),
            13 => self.server_buffer(),
            14 => {
                let id = self.id();
                self.add(id, Origin::ServerNoToken);
            }
            15 => self.release_held(),
            16 | 17 => self.grant(),
            18 => self.pass_time(),
            19..=21 => {
                self.readable += u32::from(self.byte() % 4);
                self.read();
            }
            22 => self.migrate(),
            23 => self.restore(),
            24 if self.byte().is_multiple_of(4) => {
                self.device.destroy();
                self.model.destroy();
                self.act();
            }
            _ => self.refused_buffers(),
        }
    }

    /// Perhaps some operations from inside a callback.
    fn nest(&mut self) {
        if self.depth == DEPTH || self.input.is_empty() {
            return;
        }
        self.depth += 1;
        for _ in 0..self.byte().saturating_sub(200) % 5 {
            self.operation();
        }
        self.depth -= 1;
    }

    fn pump(&mut self) {
        self.write();
        self.read();
    }

    fn client_add(&mut self) {
        let (key, bits) = (self.key(), self.byte());
        let flow = (bits & 3 != 0).then(|| FlowControl {
            max_send_queue: usize::from(bits >> 2 & 3),
            client_tokens: u64::from(self.byte() % 12),
            send_tokens: u64::from(bits >> 4 & 3),
        });
        let wait = bits >> 6 == 3;
        let expected = if self.model.party(key).is_some() {
            Err(AddRefusal::Known)
        } else if wait && (self.model.active || !self.model.parties.is_empty()) {
            Err(AddRefusal::InUse)
        } else {
            Ok(())
        };
        assert_eq!(self.device.client_add(key, flow, wait), expected);
        if expected.is_ok() {
            self.model.held_up = wait;
            let party = Party { key, flow: flow.map(Ledger::new), delivered: 0 };
            self.model.parties.insert(0, party);
            self.seen[key] = 0;
            self.pump();
        }
    }

    fn client_remove(&mut self, key: ClientKey) {
        let known = self.model.party(key).is_some();
        let waited = self.model.held_up;
        let result = self.device.client_remove(key);
        if !known {
            assert_eq!(result, Err(UnknownClient));
            return;
        }
        assert_eq!(result, Ok(waited));
        self.model.remove(key);
        self.act();
        if waited {
            self.read();
        }
    }

    /// A client sends something, or only begins to.
    fn client_buffer(&mut self) {
        let key = self.known_key();
        if self.model.held_up {
            // Messages before the migration data are not the core's business.
            return;
        }
        let expected = match self.model.party(key).map(|party| &mut party.flow) {
            None => Err(TokenRefusal::Unknown),
            Some(Some(flow)) if flow.may_take() == 0 => Err(TokenRefusal::Violation),
            Some(Some(flow)) => {
                flow.taken += 1;
                Ok(())
            }
            Some(None) => Ok(()),
        };
        assert_eq!(self.device.take_client_token(key), expected);
        match expected {
            Err(TokenRefusal::Violation) => self.client_remove(key),
            Ok(()) => self.use_or_hold(Origin::Client(key)),
            Err(TokenRefusal::Unknown) => {}
        }
    }

    fn server_buffer(&mut self) {
        let free = self.model.self_taken < self.model.self_tokens || self.model.destroyed;
        if self.model.destroyed {
            // Its tokens are not counted any more.
            return;
        }
        assert_eq!(self.device.take_self_token(), free);
        if free {
            self.model.self_taken += 1;
            self.use_or_hold(Origin::Server);
        }
    }

    fn use_or_hold(&mut self, origin: Origin) {
        if self.byte().is_multiple_of(4) {
            self.model.held.push(origin);
        } else {
            let id = self.id();
            self.add(id, origin);
        }
    }

    fn release_held(&mut self) {
        if self.model.held.is_empty() || self.model.destroyed {
            return;
        }
        let at = usize::from(self.byte()) % self.model.held.len();
        let origin = self.model.held.remove(at);
        self.model.give_back(origin, 1);
        assert_eq!(self.device.release(origin, 1), Ok(()));
        self.act();
    }

    fn add(&mut self, id: u32, origin: Origin) {
        let length = usize::from(self.byte() % 9) + 1;
        assert_eq!(self.device.add(Pending { buffer: id, length, origin, price: 1 }), Ok(()));
        self.model.line.push_back(Piece { id, from: 0, to: length, origin, price: 1 });
        self.write();
    }

    fn refused_buffers(&mut self) {
        let empty = Pending { buffer: 0, length: 0, origin: Origin::ServerNoToken, price: 1 };
        assert_eq!(self.device.add(empty.clone()), Err(empty));
        let strange = Pending { buffer: 0, length: 1, origin: Origin::Client(99), price: 1 };
        assert_eq!(self.device.add(strange.clone()), Err(strange));
        assert_eq!(self.device.release(Origin::Client(99), 1), Err(UnknownClient));
        let now = self.now;
        assert_eq!(self.device.grant_send_tokens(99, 1, false, now), Err(UnknownClient));
        assert_eq!(self.device.client_remove(99), Err(UnknownClient));
    }

    fn grant(&mut self) {
        let (key, bits) = (self.known_key(), self.byte());
        let (tokens, set) = (u64::from(bits % 5), bits & 0x80 != 0);
        if self.model.party(key).is_none() {
            return;
        }
        let read = self.model.grant(key, tokens, set, self.now);
        assert_eq!(self.device.grant_send_tokens(key, tokens, set, self.now), Ok(read));
        self.act();
        if read {
            self.read();
        }
    }

    fn pass_time(&mut self) {
        let quarters = u32::from(self.byte());
        self.now += Duration::from_millis(250) * quarters;
        self.device.handle_timeout(self.now);
        self.model.timeout(self.now);
        self.act();
    }

    fn write(&mut self) {
        let enter = self.model.begin_write();
        assert_eq!(self.device.begin_write(), enter);
        if !enter {
            return;
        }
        loop {
            let wanted = self.model.next_write();
            let got = self.device.poll_write().map(|Write { buffer, from, to }| (buffer, from, to));
            assert_eq!(got, wanted);
            let Some((id, from, to)) = wanted else { break };
            // Each byte once and in order, whatever happens in between.
            assert_eq!(from, if self.last.0 == id { self.last.1 } else { 0 });
            assert!(id >= self.last.0, "an older buffer after a newer one");
            self.nest();
            let answer = match self.byte() {
                255 => i32::MAX,
                254 => i32::MIN,
                byte => i32::from(byte % 7) - 1,
            };
            let taken = usize::try_from(answer).unwrap_or(0).min(to - from);
            self.last = (id, from + taken);
            self.played.bytes_written += taken as u64;
            let again = self.model.written(answer);
            assert_eq!(self.device.handle_written(answer) == WriteStep::Again, again);
            self.act();
            if !again {
                break;
            }
        }
        assert_eq!(self.device.end_write(), self.model.end_write());
    }

    fn read(&mut self) {
        let enter = self.model.begin_read();
        assert_eq!(self.device.begin_read(), enter);
        if !enter {
            return;
        }
        loop {
            assert_eq!(self.device.may_read(), self.model.may_read());
            if !self.model.may_read() {
                break;
            }
            let message = self.readable > 0;
            self.readable -= u32::from(message);
            let id = self.id();
            self.nest();
            if message {
                self.model.message(id, self.now);
                self.device.handle_message(&id, self.now);
                self.act();
                continue;
            }
            let again = self.model.no_message();
            assert_eq!(self.device.handle_no_message() == ReadStep::Again, again);
            if !again {
                break;
            }
        }
        self.model.end_read();
        self.device.end_read();
    }

    /// Does what is to be done outside, and checks that it is what should be done.
    fn act(&mut self) {
        loop {
            let wanted = self.model.wanted.pop_front();
            assert_eq!(self.device.poll_action(), wanted);
            match wanted {
                None => break,
                Some(Action::Send(key, message)) => {
                    self.played.sent += 1;
                    // Nested reads number messages before the outer one's are sent.
                    assert_ne!(self.seen[key], message, "a message twice");
                    self.seen[key] = message;
                    self.nest();
                }
                Some(Action::RemoveClient(key)) => {
                    self.played.cut += 1;
                    if self.byte().is_multiple_of(2) {
                        self.client_remove(key);
                    }
                }
                Some(Action::GrantTokens(..)) => {
                    self.played.granted += 1;
                    self.nest();
                }
                Some(Action::SelfTokenFreed | Action::Release(_)) => self.nest(),
            }
        }
    }

    // --- migration ---

    /// Moves to another host and goes on there.
    fn migrate(&mut self) {
        let result = self.device.migrate_out();
        let clients = self.model.parties.len();
        if clients != 1 {
            assert_eq!(result, Err(MigrateRefusal::Clients(clients)));
            return;
        }
        let party = &self.model.parties[0];
        if party.flow.as_ref().is_some_and(|flow| !flow.waiting.is_empty()) {
            assert_eq!(result, Err(MigrateRefusal::Waiting));
            return;
        }
        let (block, data) = result.expect("one client and nothing waits");
        let data: Vec<_> = data.into_iter().map(|part| (part.buffer, part.from, part.to)).collect();
        let line: Vec<_> = self.model.line.iter().map(|p| (p.id, p.from, p.to)).collect();
        assert_eq!(data, line);
        assert_eq!(block.write_size as usize, self.model.bytes());
        let of_client = |piece: &&Piece| matches!(piece.origin, Origin::Client(_));
        let price: u64 = self.model.line.iter().filter(of_client).map(|piece| piece.price).sum();
        assert_eq!(u64::from(block.write_client_tokens), price);
        let sent = party.flow.as_ref().map_or_else(
            || u64::from(u32::MAX - party.delivered),
            |flow| flow.allowance.min(u64::from(u32::MAX)),
        );
        assert_eq!(u64::from(block.send_tokens), sent);
        let sends = party.flow.as_ref().map_or(u64::from(u32::MAX), Ledger::may_take);
        assert_eq!(u64::from(block.client_tokens), sends);
        assert_eq!(Block::parse(&block.encode()), Ok(block));
        if self.depth > 0 || !self.model.held.is_empty() || self.model.held_up {
            return;
        }
        let flow = party.flow.as_ref().map(|flow| FlowControl {
            max_send_queue: flow.limit,
            client_tokens: flow.window,
            send_tokens: 0,
        });
        let key = party.key;
        self.renew();
        self.device.start();
        self.model.running = true;
        self.device.client_add(key, flow, true).expect("the first client");
        self.model.held_up = true;
        self.model.parties = vec![Party { key, flow: flow.map(Ledger::new), delivered: 0 }];
        self.played.migrated += 1;
        self.take_block(&block, block.write_size as usize);
    }

    /// Somebody sends a block that may be anything.
    fn restore(&mut self) {
        let mut word = |large: u32| match self.byte() {
            255 => large,
            byte => u32::from(byte % 8),
        };
        let block = Block {
            client_tokens: word(u32::MAX),
            send_tokens: word(u32::MAX),
            write_size: word(u32::MAX),
            write_client_tokens: word(u32::MAX),
            write_data: word(u32::MAX),
            connected: word(0) != 0,
        };
        let length = if block.write_size < 8 { block.write_size as usize } else { 7 };
        self.take_block(&block, length);
    }

    fn take_block(&mut self, block: &Block, length: usize) {
        let id = self.id();
        let verdict = self.model.judge(block, length);
        assert_eq!(self.device.check_restore(block, length), verdict);
        let data = (length > 0).then_some((id, length));
        assert_eq!(self.device.restore(block, data), verdict);
        if verdict.is_ok() {
            self.played.restored += 1;
            self.model.restore(block, id);
            self.act();
            self.pump();
        }
    }

    fn check(&mut self) {
        assert_eq!(self.device.is_running(), self.model.running);
        assert_eq!(self.device.client_count(), self.model.parties.len());
        for key in 0..4 {
            assert_eq!(self.device.has_client(key), self.model.party(key).is_some());
        }
        assert_eq!(self.device.queued_bytes(), self.model.bytes());
        assert_eq!(self.device.poll_timeout(), self.model.next_cut());
        if !self.model.destroyed {
            let free = self.model.self_taken < self.model.self_tokens;
            assert_eq!(self.device.has_self_token(), free);
        }
        self.model.check_conservation();
    }
}
