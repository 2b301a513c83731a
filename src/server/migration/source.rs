//! What the host that is left does with its clients, as a state machine.
//!
//! Pure: it is told what the host and the clients do and answers with what is to be done
//! (docs/protocol/migration.md). When a client has gone is for the caller to say.

use std::time::Instant;

use crate::config::limits;
use crate::net::io_thread::ConnectionId;
use crate::wire::main::MigrateAnswer as Answer;

/// Where the VM goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destination {
    /// Name or address.
    pub host: Vec<u8>,
    /// The plain port; `None`: there is none.
    pub port: Option<u16>,
    /// The port for TLS.
    pub secure_port: Option<u16>,
    /// Whom the certificate there belongs to, if it is not the host's name.
    pub subject: Option<Vec<u8>>,
}

/// A client of this server, newest first in lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Who {
    /// Its main channel.
    pub(super) id: ConnectionId,
    /// It can connect to the other host before it leaves this one.
    pub(super) semi: bool,
    /// It can take its session along.
    pub(super) seamless: bool,
    /// It has not arrived here yet itself.
    pub(super) arriving: bool,
}

/// What is to be done, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Tell the client to connect to the other host.
    Begin { id: ConnectionId, seamless: bool },
    /// Tell it to forget the other host.
    Cancel(ConnectionId),
    /// Tell it to go on at the other host.
    End(ConnectionId),
    /// Tell it to begin at the other host.
    SwitchHost(ConnectionId),
    /// Send each of its channels there.
    SendOff(ConnectionId),
    /// Cut it.
    Cut(ConnectionId),
    /// Tell the host that all have answered.
    ConnectComplete,
    /// Tell the host that all have left.
    EndComplete,
}

#[derive(Debug)]
struct Asked {
    id: ConnectionId,
    /// It was told; not while it is still arriving.
    told: bool,
    answer: Option<Answer>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wait {
    #[default]
    Nothing,
    /// For the answers of clients.
    Answers(Instant),
    /// For the clients to leave.
    Leaving(Instant),
}

/// The machine.
#[derive(Debug, Default)]
pub(super) struct Source {
    destination: Option<Destination>,
    /// Sessions are to go on at the other host.
    seamless: bool,
    asked: Vec<Asked>,
    wait: Wait,
}

impl Source {
    /// Where the VM goes, from the announcement to the end.
    pub(super) fn destination(&self) -> Option<&Destination> {
        self.destination.as_ref()
    }

    /// When [`Self::handle_time`] is to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.wait {
            Wait::Nothing => None,
            Wait::Answers(when) | Wait::Leaving(when) => Some(when),
        }
    }

    /// The host announces where it goes; `None` if what it says is no place. `seamless`:
    /// sessions may go on there.
    pub(super) fn connect(
        &mut self,
        destination: Option<Destination>,
        all: &[Who],
        seamless: bool,
        now: Instant,
    ) -> Vec<Deed> {
        let mut deeds = self.take_back(all);
        self.wait = Wait::Nothing;
        self.destination = destination;
        if self.destination.is_none() {
            deeds.push(Deed::ConnectComplete);
            return deeds;
        }
        self.seamless = seamless && !all.is_empty() && all.iter().all(|who| who.seamless);
        let able = all.iter().filter(|who| who.semi || self.seamless);
        self.asked =
            able.map(|who| Asked { id: who.id, told: !who.arriving, answer: None }).collect();
        if self.asked.is_empty() {
            if all.is_empty() {
                self.destination = None;
            }
            deeds.push(Deed::ConnectComplete);
            return deeds;
        }
        self.wait = Wait::Answers(now + limits::MIGRATION);
        let seamless = self.seamless;
        let told = self.asked.iter().filter(|asked| asked.told);
        deeds.extend(told.map(|asked| Deed::Begin { id: asked.id, seamless }));
        deeds
    }

    /// A client that was arriving has arrived.
    pub(super) fn handle_arrived(&mut self, id: ConnectionId) -> Vec<Deed> {
        let waits = matches!(self.wait, Wait::Answers(_));
        let seamless = self.seamless;
        match self.asked.iter_mut().find(|asked| waits && asked.id == id && !asked.told) {
            Some(asked) => {
                asked.told = true;
                vec![Deed::Begin { id, seamless }]
            }
            None => Vec::new(),
        }
    }

    /// A client answers.
    pub(super) fn handle_answer(&mut self, id: ConnectionId, answer: Answer) -> Vec<Deed> {
        let waits = matches!(self.wait, Wait::Answers(_));
        let open = |asked: &&mut Asked| asked.id == id && asked.told && asked.answer.is_none();
        match self.asked.iter_mut().find(open) {
            Some(asked) if waits => {
                asked.answer = Some(answer);
                self.settle_answers()
            }
            // Too late: it is to leave the other host.
            _ if answer != Answer::Error => vec![Deed::Cancel(id)],
            _ => Vec::new(),
        }
    }

    /// A client is gone; `left` says how many there are still.
    pub(super) fn handle_gone(&mut self, id: ConnectionId, left: usize) -> Vec<Deed> {
        self.asked.retain(|asked| asked.id != id);
        match self.wait {
            Wait::Answers(_) => {
                let deeds = self.settle_answers();
                if left == 0 {
                    self.destination = None;
                }
                deeds
            }
            Wait::Leaving(_) if left == 0 => {
                self.wait = Wait::Nothing;
                vec![Deed::EndComplete]
            }
            Wait::Nothing | Wait::Leaving(_) => Vec::new(),
        }
    }

    fn settle_answers(&mut self) -> Vec<Deed> {
        if self.asked.iter().any(|asked| asked.answer.is_none()) {
            return Vec::new();
        }
        self.wait = Wait::Nothing;
        self.seamless &= self.asked.iter().all(|asked| asked.answer == Some(Answer::Seamless));
        vec![Deed::ConnectComplete]
    }

    /// Time has passed.
    pub(super) fn handle_time(&mut self, all: &[Who], now: Instant) -> Vec<Deed> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        let wait = std::mem::take(&mut self.wait);
        let mut deeds = Vec::new();
        if matches!(wait, Wait::Answers(_)) {
            // Who has not come by now is not waited for any longer; nobody's answer counts.
            deeds.extend(all.iter().filter(|who| who.arriving).map(|who| Deed::Cut(who.id)));
            self.seamless = false;
            self.asked.clear();
            deeds.push(Deed::ConnectComplete);
        } else {
            deeds.extend(all.iter().map(|who| Deed::Cut(who.id)));
            deeds.push(Deed::EndComplete);
        }
        deeds
    }

    /// The host's migration has ended. False if clients are there and nobody announced
    /// where to.
    pub(super) fn end(&mut self, completed: bool, all: &[Who], now: Instant) -> (bool, Vec<Deed>) {
        let announced = self.destination.is_some();
        let waited = matches!(self.wait, Wait::Answers(_));
        self.wait = Wait::Nothing;
        let mut deeds = Vec::new();
        if all.is_empty() {
            deeds.push(Deed::EndComplete);
        } else if completed && !announced {
            deeds.extend(all.iter().map(|who| Deed::Cut(who.id)));
            deeds.push(Deed::EndComplete);
        } else if completed {
            deeds.extend(all.iter().map(|who| self.way_of(who)));
            self.wait = Wait::Leaving(now + limits::MIGRATION);
        } else {
            deeds.extend(self.take_back(all));
            if waited {
                deeds.push(Deed::ConnectComplete);
            }
        }
        self.forget();
        (announced || all.is_empty() || !completed, deeds)
    }

    /// The host says where it will go, and nobody is asked: the old way.
    pub(super) fn head_for(&mut self, destination: Destination) {
        self.destination = Some(destination);
    }

    /// Sends all to the other host in the old way.
    pub(super) fn switch(&mut self, all: &[Who]) -> Vec<Deed> {
        if self.destination.is_none() {
            return Vec::new();
        }
        all.iter().map(|who| Deed::SwitchHost(who.id)).collect()
    }

    /// The destination is not needed any more.
    pub(super) fn forget(&mut self) {
        self.destination = None;
        self.asked.clear();
        self.seamless = false;
    }

    fn way_of(&self, who: &Who) -> Deed {
        match self.answer_of(who.id) {
            Some(Answer::Seamless) if self.seamless => Deed::SendOff(who.id),
            Some(Answer::Connected | Answer::Seamless) => Deed::End(who.id),
            _ => Deed::SwitchHost(who.id),
        }
    }

    /// Those who are connected to the other host are to leave it.
    fn take_back(&mut self, all: &[Who]) -> Vec<Deed> {
        let connected =
            |who: &&Who| self.answer_of(who.id).is_some_and(|answer| answer != Answer::Error);
        let deeds = all.iter().filter(connected).map(|who| Deed::Cancel(who.id)).collect();
        self.asked.clear();
        deeds
    }

    fn answer_of(&self, id: ConnectionId) -> Option<Answer> {
        self.asked.iter().find(|asked| asked.id == id)?.answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEAMLESS: Who = Who { id: 1, semi: true, seamless: true, arriving: false };
    const SEMI: Who = Who { id: 2, semi: true, seamless: false, arriving: false };
    const OLD: Who = Who { id: 3, semi: false, seamless: false, arriving: false };

    fn place() -> Destination {
        Destination { host: b"there".to_vec(), port: Some(1), ..Destination::default() }
    }

    fn connected(all: &[Who], seamless: bool) -> (Source, Vec<Deed>) {
        let mut source = Source::default();
        let deeds = source.connect(Some(place()), all, seamless, Instant::now());
        (source, deeds)
    }

    #[test]
    fn nobody_is_waited_for() {
        let (mut source, deeds) = connected(&[], true);
        assert_eq!(deeds, [Deed::ConnectComplete]);
        assert_eq!((source.destination(), source.deadline()), (None, None));
        let now = Instant::now();
        assert_eq!(source.end(true, &[], now), (true, vec![Deed::EndComplete]));
        assert_eq!(source.end(false, &[], now), (true, vec![Deed::EndComplete]));
        assert_eq!(source.connect(None, &[SEMI], true, now), [Deed::ConnectComplete]);
        let (mut source, deeds) = connected(&[OLD], true);
        assert_eq!(deeds, [Deed::ConnectComplete]);
        let (announced, deeds) = source.end(true, &[OLD], now);
        assert!(announced);
        assert_eq!(deeds, [Deed::SwitchHost(3)]);
    }

    #[test]
    fn a_session_goes_on() {
        let (mut source, deeds) = connected(&[SEAMLESS], true);
        assert_eq!(deeds, [Deed::Begin { id: 1, seamless: true }]);
        assert_eq!(source.handle_answer(1, Answer::Seamless), [Deed::ConnectComplete]);
        let (announced, deeds) = source.end(true, &[SEAMLESS], Instant::now());
        assert!(announced);
        assert_eq!(deeds, [Deed::SendOff(1)]);
        assert!(source.deadline().is_some());
        assert_eq!(source.handle_gone(1, 0), [Deed::EndComplete]);
        assert_eq!(source.deadline(), None);
    }

    #[test]
    fn a_target_that_cannot_makes_it_begin_anew() {
        for (answer, deed) in
            [(Answer::Connected, Deed::End(1)), (Answer::Error, Deed::SwitchHost(1))]
        {
            let (mut source, _) = connected(&[SEAMLESS], true);
            assert_eq!(source.handle_answer(1, answer), [Deed::ConnectComplete]);
            assert_eq!(source.end(true, &[SEAMLESS], Instant::now()).1, [deed]);
        }
    }

    #[test]
    fn one_client_that_cannot_makes_all_begin_anew() {
        let all = [SEMI, SEAMLESS, OLD];
        let (mut source, deeds) = connected(&all, true);
        let begin = |id| Deed::Begin { id, seamless: false };
        assert_eq!(deeds, [begin(2), begin(1)]);
        assert_eq!(source.handle_answer(1, Answer::Connected), []);
        assert_eq!(source.handle_answer(2, Answer::Error), [Deed::ConnectComplete]);
        let (_, deeds) = source.end(true, &all, Instant::now());
        assert_eq!(deeds, [Deed::SwitchHost(2), Deed::End(1), Deed::SwitchHost(3)]);
        assert_eq!(source.handle_gone(1, 2), []);
        assert_eq!(source.handle_gone(2, 1), []);
        assert_eq!(source.handle_gone(3, 0), [Deed::EndComplete]);
    }

    #[test]
    fn answers_are_waited_for_ten_seconds_and_leaving_is() {
        let before = Instant::now();
        let (mut source, _) = connected(&[SEMI], false);
        let deadline = source.deadline().expect("it waits");
        assert_eq!(source.handle_time(&[SEMI], before), []);
        assert_eq!(source.handle_time(&[SEMI], deadline), [Deed::ConnectComplete]);
        assert_eq!(source.handle_answer(2, Answer::Connected), [Deed::Cancel(2)], "too late");
        assert_eq!(source.end(true, &[SEMI], deadline).1, [Deed::SwitchHost(2)]);
        let deadline = source.deadline().expect("it waits");
        let cut = [Deed::Cut(2), Deed::EndComplete];
        assert_eq!(source.handle_time(&[SEMI], deadline), cut);
        assert_eq!(source.handle_gone(2, 0), [], "once");
    }

    #[test]
    fn a_failure_calls_clients_back() {
        let (mut source, _) = connected(&[SEAMLESS], true);
        source.handle_answer(1, Answer::Seamless);
        let ended = source.end(false, &[SEAMLESS], Instant::now());
        assert_eq!(ended, (true, vec![Deed::Cancel(1)]));
        assert_eq!(source.deadline(), None);
        let (mut source, _) = connected(&[SEAMLESS], true);
        assert_eq!(source.end(false, &[SEAMLESS], Instant::now()).1, [Deed::ConnectComplete]);
    }

    #[test]
    fn a_second_announcement_replaces_the_first() {
        let (mut source, _) = connected(&[SEMI], false);
        source.handle_answer(2, Answer::Connected);
        let deeds = source.connect(Some(place()), &[SEMI], false, Instant::now());
        assert_eq!(deeds, [Deed::Cancel(2), Deed::Begin { id: 2, seamless: false }]);
    }

    #[test]
    fn without_an_announcement_clients_are_cut() {
        let mut source = Source::default();
        let (announced, deeds) = source.end(true, &[SEMI], Instant::now());
        assert!(!announced);
        assert_eq!(deeds, [Deed::Cut(2), Deed::EndComplete]);
        assert_eq!(source.end(false, &[SEMI], Instant::now()), (true, vec![]));
    }

    #[test]
    fn who_still_arrives_is_told_when_he_has() {
        let late = Who { arriving: true, ..SEMI };
        let (mut source, deeds) = connected(&[late], false);
        assert_eq!(deeds, []);
        assert_eq!(source.handle_arrived(2), [Deed::Begin { id: 2, seamless: false }]);
        assert_eq!(source.handle_arrived(2), []);
        assert_eq!(source.handle_answer(2, Answer::Connected), [Deed::ConnectComplete]);
        let (mut source, _) = connected(&[late], false);
        let deadline = source.deadline().expect("it waits");
        let deeds = source.handle_time(&[late], deadline);
        assert_eq!(deeds, [Deed::Cut(2), Deed::ConnectComplete]);
    }

    #[test]
    fn who_leaves_is_not_waited_for() {
        let (mut source, _) = connected(&[SEMI, SEAMLESS], false);
        assert_eq!(source.handle_answer(1, Answer::Connected), []);
        assert_eq!(source.handle_gone(2, 1), [Deed::ConnectComplete]);
        let (mut source, _) = connected(&[SEMI], false);
        assert_eq!(source.handle_gone(2, 0), [Deed::ConnectComplete]);
        assert_eq!(source.destination(), None);
    }
}
