//! Standard input to the port and the port to standard output, until one of them ends.
//!
//! Neither end is read while the other is full, so nothing is lost and memory is bounded;
//! the main channel is served all the time, however slow standard output is.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use rustix::event::{PollFd, PollFlags};

use spice_server::wire::spicevmc::event;

use crate::channel::Said;
use crate::connection::Reading;
use crate::messages::{BREAK, OfPort, PORT_EVENT, of_port};
use crate::options::Flags;
use crate::progress::Progress;
use crate::session::{Port, Session, interest, lost, wait};
use crate::{Failure, complain, status};

/// A transfer under way.
pub(crate) struct Transfer<'a> {
    session: Session<'a>,
    port: Port,
    flags: &'a Flags,
    stdin: File,
    stdout: File,
    /// So many bytes standard output takes without waiting, when it is ready.
    output_at_once: usize,
    /// For standard output.
    output: BytesMut,
    /// A block of standard input.
    block: Box<[u8]>,
    input_ended: bool,
    /// The guest has opened the port since we came, or had it open.
    was_open: bool,
    /// The guest has closed it, and that is the end once what is under way has come.
    closing: bool,
    /// When something last came from either side.
    activity: Instant,
    /// When we began to leave.
    leaving: Option<Instant>,
    progress: Progress,
}

/// Standard input is read in blocks of this size.
const BLOCK: usize = 64 * 1024;
/// While more than this waits for the port or for standard output, nothing is read for it.
const QUEUE: usize = 256 * 1024;
/// A pipe that is ready takes so many bytes without waiting (`PIPE_BUF`).
const PIPE: usize = 4096;
/// What a guest wrote before it closed the port may come after that news, as QEMU has not
/// read it yet. When nothing has come for so long, that was all.
const SETTLE: Duration = Duration::from_millis(500);
/// A server that we leave has so long to read what it was sent.
const FAREWELL: Duration = Duration::from_secs(5);

impl<'a> Transfer<'a> {
    /// Begins one.
    pub(crate) fn new(session: Session<'a>, port: Port, flags: &'a Flags) -> io::Result<Self> {
        let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let size = stdin.metadata().ok().filter(std::fs::Metadata::is_file).map(|it| it.len());
        let output_is_file = stdout.metadata().is_ok_and(|it| it.is_file());
        Ok(Self {
            output_at_once: if output_is_file { usize::MAX } else { PIPE },
            progress: Progress::new(size, flags.quiet),
            session,
            port,
            flags,
            stdin,
            stdout,
            output: BytesMut::new(),
            block: vec![0; BLOCK].into(),
            input_ended: false,
            was_open: false,
            closing: false,
            activity: Instant::now(),
            leaving: None,
        })
    }

    /// Runs it to its end.
    pub(crate) fn run(&mut self) -> Result<(), Failure> {
        let mut result = self.turns();
        // Whatever ends the connection after the guest's end is no loss.
        if self.closing && result.as_ref().is_err_and(|failure| failure.status == status::LOST) {
            result = self.closed_by_guest();
        }
        // What has come is not lost, however it ends.
        let written = self.stdout.write_all(&self.output);
        self.progress.end();
        result.and(written.map_err(|error| local(&error)))
    }

    fn turns(&mut self) -> Result<(), Failure> {
        if self.port.open {
            self.opened();
        }
        loop {
            self.poll_port()?;
            if self.closing && self.activity.elapsed() >= SETTLE {
                return self.closed_by_guest();
            }
            self.leave_when_idle();
            self.session.main.write().map_err(Failure::lost)?;
            self.port.connection.write().map_err(Failure::lost)?;
            self.progress.show();
            match (self.leaving, self.turn()?) {
                (Some(since), None) if since.elapsed() < FAREWELL => {}
                (Some(_), _) => return Ok(()),
                (None, Some(Reading::Ended)) => {
                    self.poll_port()?;
                    return Err(lost());
                }
                (None, _) => {}
            }
        }
    }

    /// Waits for something to do, and does it. `Some` tells that the port's connection
    /// has ended.
    fn turn(&mut self) -> Result<Option<Reading>, Failure> {
        let reads_input = self.port.open
            && !self.input_ended
            && self.port.connection.channel.output().len() < QUEUE;
        let mut of_port = interest(&self.port.connection);
        of_port.set(PollFlags::IN, self.output.len() < QUEUE);
        let mut sources = vec![
            PollFd::new(&self.session.main, interest(&self.session.main)),
            PollFd::new(&self.port.connection, of_port),
        ];
        // A descriptor that nobody waits for would still tell of its end.
        if reads_input {
            sources.push(PollFd::new(&self.stdin, PollFlags::IN));
        }
        let writes = !self.output.is_empty();
        if writes {
            sources.push(PollFd::new(&self.stdout, PollFlags::OUT));
        }
        wait(&mut sources, self.deadline())?;
        let mut ready = sources.iter().map(|source| !source.revents().is_empty());
        let mut next = |used: bool| used && ready.next() == Some(true);
        let (main, port, input, output) = (next(true), next(true), next(reads_input), next(writes));
        drop(sources);
        if main {
            self.session.serve_main()?;
        }
        if output {
            self.write_output()?;
        }
        if input {
            self.read_input()?;
        }
        if !port || !of_port.contains(PollFlags::IN) {
            return Ok(None);
        }
        let reading = self.port.connection.read();
        // A server that we leave may end the connection as it likes.
        let reading =
            if self.leaving.is_some() { reading.or(Ok(Some(Reading::Ended))) } else { reading };
        Ok(reading.map_err(Failure::lost)?.filter(|reading| *reading == Reading::Ended))
    }

    /// Takes what the server has said on the port.
    fn poll_port(&mut self) -> Result<(), Failure> {
        while let Some(said) = self.port.connection.channel.poll()? {
            let (kind, body) = match said {
                Said::Message { kind, body } => (kind, body),
                Said::Notice(text) => {
                    self.tell(format_args!("the server says: {text}"));
                    continue;
                }
                Said::Leaving => return Err(lost()),
            };
            match of_port(kind, body)? {
                OfPort::Data(data) => {
                    self.progress.received(data.len());
                    self.activity = Instant::now();
                    self.output.extend_from_slice(&data);
                }
                OfPort::Opened => self.opened(),
                OfPort::Closed => {
                    self.event("closed");
                    self.port.open = false;
                    self.closing = self.was_open && !self.flags.keep;
                    self.activity = Instant::now();
                }
                OfPort::Break => self.event("break"),
                OfPort::Init { .. } | OfPort::Other => {}
            }
        }
        Ok(())
    }

    fn opened(&mut self) {
        self.event("opened");
        self.port.open = true;
        if self.flags.send_break && !self.was_open {
            self.port.connection.channel.send(PORT_EVENT, &[BREAK]);
        }
        self.was_open = true;
    }

    /// The guest has closed the port: was that all?
    fn closed_by_guest(&mut self) -> Result<(), Failure> {
        // Answers to the server may be all that waits, and it may have gone.
        let _ = self.port.connection.write();
        let mut left = !self.port.connection.channel.output().is_empty();
        if !left && !self.input_ended {
            let now = Some(Instant::now());
            let ready = wait(&mut [PollFd::new(&self.stdin, PollFlags::IN)], now)?;
            left = ready && self.stdin.read(&mut [0]).map_err(|error| local(&error))? > 0;
        }
        if left {
            let text = "the guest has closed the port before all input was sent";
            return Err(Failure::new(status::LEFT_OVER, text));
        }
        Ok(())
    }

    fn read_input(&mut self) -> Result<(), Failure> {
        let count = match self.stdin.read(&mut self.block) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result
                .map_err(|error| Failure::new(status::LOCAL, format!("standard input: {error}")))?,
        };
        self.activity = Instant::now();
        self.progress.sent(count);
        if count > 0 {
            self.port.connection.channel.send_data(&self.block[..count]);
        } else {
            // QEMU does not care. spice-serve takes it for the end of its input.
            self.input_ended = true;
            self.port.connection.channel.send(PORT_EVENT, &[event::CLOSED]);
        }
        Ok(())
    }

    fn write_output(&mut self) -> Result<(), Failure> {
        let count = self.output.len().min(self.output_at_once);
        match self.stdout.write(&self.output[..count]) {
            Ok(count) => self.output.advance(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(local(&error)),
        }
        Ok(())
    }

    /// With `--linger`: all has been said on both sides.
    fn leave_when_idle(&mut self) {
        let Some(linger) = self.flags.linger else {
            return;
        };
        let done = self.input_ended && !self.port.connection.wants_to_write();
        if done && self.leaving.is_none() && self.activity.elapsed() >= linger {
            self.leaving = Some(Instant::now());
            self.port.connection.end_writing();
        }
    }

    fn event(&mut self, what: &str) {
        if self.flags.verbose {
            self.tell(format_args!("{what}"));
        }
    }

    fn tell(&mut self, what: std::fmt::Arguments<'_>) {
        self.progress.clear();
        complain(format_args!("spice-port: {what}"));
    }

    /// The next moment at which there is something to do without an event.
    fn deadline(&self) -> Option<Instant> {
        let linger = self.flags.linger.filter(|_| self.input_ended && self.leaving.is_none());
        let linger = linger.map(|linger| self.activity + linger);
        let farewell = self.leaving.map(|since| since + FAREWELL);
        let settled = self.closing.then(|| self.activity + SETTLE);
        [linger, farewell, settled, self.progress.next()].into_iter().flatten().min()
    }
}

fn local(error: &io::Error) -> Failure {
    Failure::new(status::LOCAL, format!("standard output: {error}"))
}
