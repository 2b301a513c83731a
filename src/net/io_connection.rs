//! An established connection whose home is the I/O thread.

use std::collections::VecDeque;
use std::sync::Arc;

use super::crossing::{Crossing, Delivered};
use super::endpoint::{Endpoint, Fill};
use super::press_thread::{Beside, PressThread};
use super::reactor::IoRegistration;
use crate::channel::ending::Ending;
use crate::channel::outbox::Outbox;
use crate::channel::run::Parcel;
use crate::config::limits;

/// The I/O thread's end of a connection.
#[derive(Debug)]
pub(super) struct IoConnection {
    endpoint: Endpoint<IoRegistration>,
    crossing: Arc<Crossing>,
    /// Fetched and not compressed yet.
    raw: Outbox,
    /// Where two threads can compress: what the other one is lent.
    beside: Option<(Arc<PressThread>, Beside)>,
    /// Nothing will be read after what is still to be delivered.
    end: Option<Ending>,
}

/// What the main thread must hear after a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// Messages wait, or the end.
    pub(super) arrived: bool,
    /// The device may be read again.
    pub(super) drained: bool,
}

impl IoConnection {
    pub(super) fn new(mut endpoint: Endpoint<IoRegistration>, crossing: Arc<Crossing>) -> Self {
        let raw = endpoint.outbox().like();
        Self { endpoint, crossing, raw, beside: None, end: None }
    }

    /// Has `thread` help with the compression.
    pub(super) fn share(&mut self, thread: Arc<PressThread>) {
        self.beside = Beside::of(self.endpoint.outbox()).map(|beside| (thread, beside));
    }

    /// Whether [`Self::share`] would be of use.
    pub(super) fn can_share(&mut self) -> bool {
        Beside::of(self.endpoint.outbox()).is_some()
    }

    /// Delivers what was read together with the link and sends what is queued.
    pub(super) fn begin(&mut self) -> Report {
        let arrived = self.deliver();
        let queued = self.handle_queued();
        Report { arrived: arrived || queued.arrived, ..queued }
    }

    /// The socket is ready.
    pub(super) fn handle_ready(&mut self, readable: bool, writable: bool) -> Report {
        let mut report = Report::default();
        if writable {
            report = self.handle_queued();
        }
        if readable {
            self.end = match self.endpoint.fill() {
                Ok(Fill::Open) => None,
                Ok(Fill::End) => Some(Ending::ByClient),
                Err(error) => Some(Ending::fault(error)),
            };
            report.arrived |= self.deliver();
        }
        report
    }

    /// The main thread queued something, or the socket has room. While the socket is
    /// full nothing is fetched: the other side gathers it in few chunks meanwhile.
    pub(super) fn handle_queued(&mut self) -> Report {
        let mut sent = 0;
        self.endpoint.counters().set_queued(self.crossing.unsent());
        loop {
            match self.endpoint.flush() {
                Ok(count) => sent += count,
                Err(error) => return self.break_off(Ending::fault(error)),
            }
            if !self.endpoint.outbox().is_empty() {
                break;
            }
            let Some(saved) = self.refill() else {
                return self.break_off(Ending::fault("internal error in its compression"));
            };
            sent += saved;
            if self.endpoint.outbox().is_empty() {
                break;
            }
        }
        let drained = self.crossing.sent(sent);
        self.endpoint.counters().set_queued(self.crossing.unsent());
        Report { drained, arrived: false }
    }

    fn break_off(&mut self, end: Ending) -> Report {
        self.endpoint.silence();
        let arrived = self.crossing.deliver(VecDeque::new(), Some(end)).tell;
        Report { arrived, drained: false }
    }

    /// Gets what is to be sent next, one chunk of it for each thread that compresses if it
    /// has to be: the socket is to have work while the rest waits. Returns the bytes that
    /// compression has saved; nobody has to wait for those. `None` if it has failed.
    fn refill(&mut self) -> Option<usize> {
        let outbox = self.endpoint.outbox();
        if !outbox.packs() {
            self.crossing.fetch(outbox);
            return Some(0);
        }
        if self.raw.is_empty() {
            self.crossing.fetch(&mut self.raw);
        }
        let Some((thread, mut beside)) = self.beside.take() else {
            return Some(outbox.press(&mut self.raw));
        };
        self.raw.lend_second(&mut beside.raw, &beside.wire, limits::PRESSED_BESIDE);
        if beside.raw.is_empty() {
            self.beside = Some((thread, beside));
            return Some(outbox.press(&mut self.raw));
        }
        let (pressed, saved) = thread.press(beside, || outbox.press(&mut self.raw));
        let (mut beside, more) = pressed?;
        beside.wire.drain_into(outbox);
        self.beside = Some((thread, beside));
        Some(saved + more)
    }

    /// The main thread has taken the messages: read on.
    pub(super) fn resume(&mut self) -> Report {
        self.endpoint.set_reading(true);
        Report { arrived: self.deliver(), drained: false }
    }

    /// A step panicked: tells the other side that nothing more will come.
    pub(super) fn abandon(self) {
        let reason = Ending::fault("internal error in a step of this connection");
        self.crossing.deliver(VecDeque::new(), Some(reason));
    }

    /// Cuts what was read into messages and hands them over, no more than the other
    /// side's inbox holds: what was read may be much more when it is decompressed.
    /// Returns whether the main thread must be told.
    fn deliver(&mut self) -> bool {
        let (mut parcels, mut bytes) = (VecDeque::<Parcel>::new(), 0);
        let mut end = None;
        while bytes < limits::INBOX {
            match self.endpoint.poll_parcel() {
                Ok(Some(parcel)) => {
                    bytes += parcel.len();
                    parcels.push_back(parcel);
                }
                Ok(None) => {
                    end = self.end.take();
                    break;
                }
                Err(refused) => {
                    end = Some(refused.into());
                    break;
                }
            }
        }
        let ended = end.is_some();
        let Delivered { tell, pause } = self.crossing.deliver(parcels, end);
        if ended {
            self.endpoint.silence();
        } else if pause {
            self.endpoint.set_reading(false);
        }
        tell
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::channel::framing::{BodyRule, Framer};
    use crate::channel::packer::Packer;
    use crate::net::poller::Poller;
    use crate::net::reactor::{Interest, IoReactor, Reactor};
    use crate::net::stream::Stream;
    use crate::wire::header::HeaderForm;

    #[test]
    fn a_client_that_is_gone_before_the_first_write_is_told_of() {
        let mut outbox = Outbox::new(HeaderForm::Mini, 1024);
        outbox.push_raw(&[0; 4]);
        let (mut connection, crossing, client) = connection(outbox);
        drop(client);
        assert!(connection.begin().arrived);
        assert!(crossing.take().ended.is_some());
    }

    fn connection(outbox: Outbox) -> (IoConnection, Arc<Crossing>, Socket) {
        let (ours, client) = Socket::pair(Domain::UNIX, Type::STREAM, None).expect("two sockets");
        let stream = Stream::new(ours).expect("a good socket");
        let reactor = IoReactor::new(Arc::new(Poller::new().expect("epoll")));
        let registration =
            reactor.register(stream.as_raw_fd(), 1, Interest::READ).expect("it is watched");
        let crossing = Arc::new(Crossing::new(outbox.like(), outbox.len(), 1024));
        let framer = Framer::new(HeaderForm::Mini, |_| BodyRule::Whole(0));
        let endpoint =
            Endpoint::new(stream, registration, framer, outbox, Arc::default(), Arc::default());
        (IoConnection::new(endpoint, Arc::clone(&crossing)), crossing, client)
    }

    /// A packer of which only the first does its work.
    #[derive(Debug)]
    struct First {
        is_first: bool,
    }

    impl Packer for First {
        fn would_try(&self, _kind: u16, _length: usize) -> bool {
            true
        }

        fn pack(&mut self, _kind: u16, _body: &[u8]) -> Option<(u16, &[u8])> {
            assert!(self.is_first, "made on purpose");
            None
        }

        fn pass(&mut self, _kind: u16, _length: usize) {}

        fn another(&self) -> Option<Box<dyn Packer>> {
            Some(Box::new(Self { is_first: false }))
        }
    }

    #[test]
    fn a_connection_ends_when_its_second_packer_panics() {
        let packer = Box::new(First { is_first: true });
        let outbox = Outbox::new(HeaderForm::Mini, 64 * 1024).with_packer(packer);
        let (mut connection, crossing, _client) = connection(outbox);
        connection.share(Arc::new(PressThread::start().expect("a thread")));
        assert!(!connection.begin().arrived);
        let block = vec![0; 60 * 1024];
        crossing.with_outbox(|outbox| outbox.push(101, &block));
        assert!(!connection.handle_queued().arrived, "alone it is not shared");
        crossing.with_outbox(|outbox| {
            outbox.push(101, &block);
            outbox.push(101, &block);
        });
        assert!(connection.handle_queued().arrived);
        assert!(crossing.take().ended.is_some());
    }
}
