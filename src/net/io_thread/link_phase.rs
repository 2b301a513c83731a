//! Links under way: accepting, who makes way, who waits, keys, deadlines, and what is said
//! about it.
//!
//! The decisions are [`Shield`](crate::link::shield::Shield)'s, the steps
//! [`PendingLink`]'s.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Instant;

use socket2::Socket;

use super::{ACCEPT_PAUSE, ConnectionId, Notice, Publisher, Thread};
use crate::config::limits;
use crate::link::LinkOptions;
use crate::link::shield::Source;
use crate::log::quota::Quota;
use crate::log::{self, Category, Level, Subject};
use crate::net::pending_link::{Ended, Need, PendingLink, Progress};
use crate::net::reactor::{Interest, Registration};
use crate::net::stream::Stream;
use crate::stats::LinkEvent;

impl Thread {
    /// Accepts what waits, a turn's worth at most: links that have begun have their turn
    /// before newer ones.
    pub(super) fn accept(&mut self, key: u64) {
        for _ in 0..limits::ACCEPT_TURN {
            if self.notices.len() >= limits::NOTICES {
                return;
            }
            let Some((_, listener)) = self.listeners.get(&key) else {
                return;
            };
            match listener.accept() {
                Ok(Some((socket, address))) => {
                    let secured = listener.is_secured();
                    self.accepted(socket, address, secured);
                }
                Ok(None) => return,
                Err(error) => {
                    let why = format!("cannot accept a connection: {error}");
                    self.note(LinkEvent::Failed, None, &why, Instant::now());
                    self.listen_again = Some(Instant::now() + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    fn accepted(&mut self, socket: Socket, address: Option<IpAddr>, secured: bool) {
        match Stream::new(socket) {
            Ok(stream) => {
                let id = self.new_id();
                let addresses = stream.addresses();
                let peer = addresses.peer_text.clone();
                self.told.begin(id, addresses);
                self.tell_links(Instant::now());
                let options = LinkOptions { secured, skip_auth: false };
                let source = Source::of(address);
                self.step(id, "accept", |this| this.begin_link(id, stream, options, source, peer));
            }
            Err((_, error)) => {
                let why = format!("cannot use an accepted connection: {error}");
                self.note(LinkEvent::Failed, None, &why, Instant::now());
            }
        }
    }

    pub(super) fn begin_link(
        &mut self,
        id: ConnectionId,
        stream: Stream,
        options: LinkOptions,
        source: Source,
        peer: String,
    ) {
        let now = Instant::now();
        self.counters.count(LinkEvent::Begun);
        if let Some((victim, event)) = self.shield.victim_for(source) {
            let from = match event {
                LinkEvent::TooManyOfAddress => format!(" from {source}"),
                _ => String::new(),
            };
            let why = format!("it makes way for a newer one, there are too many{from}");
            self.after_link_step(victim, Progress::Close(Ended::new(event, why)));
        }
        self.shield.enter(id, source);
        match self.new_link(id, stream, peer, options, now) {
            Ok(link) => {
                self.links.insert(id, link);
                // A client that has spoken already is not taken for a silent one.
                self.step(id, "first step of a link", |this| this.step_link(id));
            }
            Err(error) => {
                self.note(
                    LinkEvent::Failed,
                    None,
                    &format!("cannot serve a new connection: {error}"),
                    now,
                );
                self.forget_link(id);
                self.tell_link_ended(id);
            }
        }
    }

    fn new_link(
        &self,
        id: ConnectionId,
        mut stream: Stream,
        peer: String,
        options: LinkOptions,
        now: Instant,
    ) -> io::Result<PendingLink> {
        if options.secured {
            let tls = self.tls.as_ref().ok_or_else(|| io::Error::other("TLS is not set up"))?;
            stream.begin_tls(&tls.context(now))?;
        }
        let deadline = now + self.link_policy.deadline;
        PendingLink::new(&self.reactor, id, stream, peer, options, deadline)
    }

    /// The socket of a link may be ready.
    pub(super) fn step_link(&mut self, id: ConnectionId) {
        if let Some(link) = self.links.get_mut(&id) {
            let progress = link.handle_ready(&self.policy.snapshot(), Instant::now());
            self.after_link_step(id, progress);
        }
    }

    pub(super) fn after_link_step(&mut self, id: ConnectionId, progress: Progress) {
        match progress {
            Progress::Waiting => self.weigh(id),
            Progress::Authenticating(need) => {
                self.weigh(id);
                if !self.has_to_wait(id, need, Instant::now()) {
                    self.authenticate(id, need);
                }
            }
            Progress::Authenticated(request) => {
                if let Some(source) = self.shield.source(id) {
                    self.shield.succeeded(source);
                }
                if let Some(link) = self.forget_link(id) {
                    self.counters.count(LinkEvent::Authenticated);
                    if let Some(addresses) = self.told.take(id) {
                        self.notify(Notice::Connected(id, addresses));
                    }
                    self.notify(Notice::Linked(id, Box::new(link.into_linked(request))));
                }
            }
            Progress::Close(Ended { event, why }) => {
                let now = Instant::now();
                let source = self.shield.source(id);
                if let (LinkEvent::WrongPassword, Some(source)) = (event, source) {
                    self.shield.failed(source, now);
                }
                if let Some(link) = self.forget_link(id) {
                    let line = format!("link from {} refused: {why}", link.peer());
                    self.note(event, Some(link.peer()), &line, now);
                }
                self.tell_link_ended(id);
            }
        }
    }

    /// Says how far a link has come, and closes those that hold too much.
    fn weigh(&mut self, id: ConnectionId) {
        let Some(link) = self.links.get(&id) else { return };
        self.shield.advance(id, link.stage(), link.held_bytes());
        while let Some(heavy) = self.shield.too_heavy() {
            let why = format!("all links together hold more than {} bytes", limits::LINK_BYTES);
            let ended = Ended::new(LinkEvent::TooManyBytes, why);
            self.after_link_step(heavy, Progress::Close(ended));
        }
    }

    /// Whether the client waits because its address has failed to authenticate.
    fn has_to_wait(&mut self, id: ConnectionId, need: Need, now: Instant) -> bool {
        let Some((link, source)) = self.links.get_mut(&id).zip(self.shield.source(id)) else {
            return false;
        };
        let policy = self.policy.snapshot();
        // Who knows a session's number has one, and its other channels must not suffer.
        let known = link.session().is_some_and(|session| policy.sessions.contains(&session));
        if known || (need == Need::Key && !link.wants_fresh_key(&policy)) {
            return false;
        }
        let delay = self.shield.delay(source, now);
        if delay.is_zero() {
            return false;
        }
        link.hold(delay, need, now);
        let why = format!(
            "link from {} waits for {} ms: {source} has failed to authenticate",
            link.peer(),
            delay.as_millis()
        );
        let peer = link.peer().to_owned();
        self.note(LinkEvent::Delayed, Some(&peer), &why, now);
        true
    }

    fn authenticate(&mut self, id: ConnectionId, need: Need) {
        let Some((link, source)) = self.links.get_mut(&id).zip(self.shield.source(id)) else {
            return;
        };
        match need {
            Need::Sasl => {
                let progress = link.begin_sasl(&self.policy.snapshot(), Instant::now());
                self.after_link_step(id, progress);
            }
            Need::Key => {
                self.waiting_for_key.push(source, id);
                self.serve_keys();
            }
        }
    }

    /// Hands out keys to the links that wait for one.
    pub(super) fn serve_keys(&mut self) {
        let policy = self.policy.snapshot();
        while let Some(id) = self.waiting_for_key.next() {
            let mut is_dry = false;
            self.step(id, "link key", |this| {
                let Some(link) = this.links.get_mut(&id) else {
                    return this.waiting_for_key.pop();
                };
                let Some(key) = this.keys.take(link.wants_fresh_key(&policy)) else {
                    is_dry = true;
                    return;
                };
                this.waiting_for_key.pop();
                let progress = link.handle_key(key, &policy, Instant::now());
                this.after_link_step(id, progress);
            });
            if is_dry {
                return;
            }
        }
    }

    /// Deadlines, ends of delays, and what is to be told by now.
    pub(super) fn handle_link_times(&mut self, now: Instant) {
        if self.next_time().is_none_or(|next| next > now) {
            return;
        }
        let is_late = |link: &PendingLink| link.deadline() <= now;
        let late: Vec<_> =
            self.links.iter().filter(|(_, link)| is_late(link)).map(|(id, _)| *id).collect();
        for id in late {
            let why = format!("not finished within {} s", self.link_policy.deadline.as_secs());
            self.step(id, "link deadline", |this| {
                this.after_link_step(id, Progress::Close(Ended::new(LinkEvent::Late, why)));
            });
        }
        let released: Vec<_> = self
            .links
            .iter_mut()
            .filter_map(|(id, link)| link.release(now).map(|need| (*id, need)))
            .collect();
        for (id, need) in released {
            self.step(id, "end of a delay", |this| this.authenticate(id, need));
        }
        self.tell_links(now);
        self.tell_dropped(now);
    }

    pub(super) fn watch_listeners(&mut self) {
        if self.listen_again.is_some_and(|when| when <= Instant::now()) {
            self.listen_again = None;
        }
        if self.notices.len() >= limits::NOTICES {
            self.listen_again = Some(Instant::now() + ACCEPT_PAUSE);
        }
        let listen = self.listen_again.is_none();
        if listen != self.listening {
            self.listening = listen;
            for (registration, _) in self.listeners.values_mut() {
                registration.set_interest(Interest { read: listen, write: false });
            }
        }
    }

    /// When something needs to be done, unless something happens.
    pub(super) fn next_time(&self) -> Option<Instant> {
        let links = self.links.values();
        let times = links.flat_map(|link| [Some(link.deadline()), link.held_until()]).flatten();
        let lines = self.quotas.iter().filter_map(Quota::due);
        let published = self.publisher.as_ref().and_then(Publisher::due);
        times.chain(lines).chain(self.listen_again).chain(self.told.due()).chain(published).min()
    }

    /// A link has ended, in whatever way.
    pub(super) fn forget_link(&mut self, id: ConnectionId) -> Option<PendingLink> {
        if let Some(source) = self.shield.source(id) {
            self.waiting_for_key.remove(source, id);
        }
        self.shield.leave(id);
        self.links.remove(&id)
    }

    /// Tells the host of links, as many as there is time for.
    fn tell_links(&mut self, now: Instant) {
        while let Some((id, addresses)) = self.told.poll(now) {
            self.notify(Notice::Connected(id, addresses));
        }
    }

    /// Tells the host that a link has ended, if it knows it.
    pub(super) fn tell_link_ended(&mut self, id: ConnectionId) {
        if self.told.take(id).is_some() {
            self.counters.count(LinkEvent::Untold);
        } else {
            self.notify(Notice::LinkEnded(id));
        }
    }

    /// Counts, and writes a line about `peer` if there have not been too many like it.
    fn note(&mut self, event: LinkEvent, peer: Option<&str>, line: &str, now: Instant) {
        self.counters.count(event);
        self.tell_dropped(now);
        if self.quotas[event as usize].admit(now) {
            say(&peer.map_or_else(Subject::default, Subject::peer), format_args!("{line}"));
        }
    }

    /// Says how many lines were left out, where it is time to.
    pub(super) fn tell_dropped(&mut self, now: Instant) {
        for (event, quota) in LinkEvent::ALL.iter().zip(&mut self.quotas) {
            if let Some(count) = quota.take_dropped(now) {
                say(
                    &Subject::default(),
                    format_args!("... and {count} more links: {}", event.name()),
                );
            }
        }
    }

    fn new_id(&self) -> ConnectionId {
        self.next_id.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }
}

/// Writes a line that has been counted.
fn say(about: &Subject, message: fmt::Arguments<'_>) {
    log::write_counted(Level::Warning, Category::Connection, (file!(), line!()), about, message);
}
