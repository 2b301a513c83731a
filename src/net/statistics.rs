//! The socket that statistics are read from, and upstream's file in shared memory.
//!
//! On the I/O thread; the socket is made on the main thread. What readers ask and are
//! answered is in `stats/request.rs`. One request of one reader is answered a turn, so that
//! connections have theirs.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use socket2::{Domain, SockAddr, Socket, Type};

use super::reactor::{Interest, IoReactor, IoRegistration, Reactor, Registration};
use super::sys;
use crate::config::limits;
use crate::stats::request::{Answer, Requests, answer};
use crate::stats::{ServerStatistics, shared};

/// A socket that readers connect to. Its file goes with it.
#[derive(Debug)]
pub struct StatisticsSocket {
    socket: Socket,
    _file: Temporary,
}

/// Upstream's file in shared memory. It goes with this.
#[derive(Debug)]
pub struct SharedFile {
    file: File,
    generation: u32,
    due: Instant,
    _file: Temporary,
}

impl StatisticsSocket {
    /// Listens at a path, where a socket that nobody listens on is replaced and nothing
    /// else is. Only the user of this process may connect.
    pub fn listen(path: &Path) -> io::Result<Self> {
        let address = SockAddr::unix(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // What is set before it has a path is what the file gets: nobody else can come in
        // between.
        let socket = File::from(OwnedFd::from(socket));
        socket.set_permissions(Permissions::from_mode(0o600))?;
        let socket = Socket::from(OwnedFd::from(socket));
        if let Err(error) = socket.bind(&address) {
            if error.kind() != io::ErrorKind::AddrInUse || !is_stale(path, &address)? {
                return Err(error);
            }
            fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        let file = Temporary::new(path)?;
        socket.listen(libc::SOMAXCONN)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, _file: file })
    }
}

/// Whether a socket stands there that its process has left behind.
fn is_stale(path: &Path, address: &SockAddr) -> io::Result<bool> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    Ok(probe.connect(address).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused))
}

impl SharedFile {
    /// Makes the file for this process; one of the same name is of a process that is gone.
    pub fn create() -> io::Result<Self> {
        let path = PathBuf::from(format!("/dev/shm/spice.{}", std::process::id()));
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        // As upstream's: everybody may read it.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o444).open(&path)?;
        let temporary = Temporary::new(&path)?;
        file.set_len(shared::FILE as u64)?;
        Ok(Self { file, generation: 0, due: Instant::now(), _file: temporary })
    }

    fn write(&mut self, statistics: &ServerStatistics, now: Instant) {
        self.due = now + limits::STATISTICS_PERIOD;
        self.generation = self.generation.wrapping_add(1);
        let (nodes, header) = shared::image(&statistics.view(), self.generation);
        let written = self.file.write_all_at(&nodes, shared::NODES_AT);
        if let Err(error) = written.and_then(|()| self.file.write_all_at(&header, 0)) {
            crate::warning!("statistics in shared memory: {error}");
            self.due = now + WRITE_PAUSE;
        }
    }
}

/// Until the file is tried again after it could not be written.
const WRITE_PAUSE: Duration = Duration::from_secs(60);

/// A file that is removed when this is dropped or the process ends, unless it is another
/// one by then.
#[derive(Debug)]
struct Temporary(Arc<Identity>);

#[derive(Debug)]
struct Identity {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// A child that a host forks must not remove it.
    process: u32,
}

/// What is to be removed when the process ends: a host need not destroy its server.
static TEMPORARY: Mutex<Vec<Arc<Identity>>> = Mutex::new(Vec::new());

impl Temporary {
    fn new(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        let identity = Arc::new(Identity {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
            process: std::process::id(),
        });
        sys::at_exit(remove_all);
        TEMPORARY.lock().push(Arc::clone(&identity));
        Ok(Self(identity))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        TEMPORARY.lock().retain(|other| !Arc::ptr_eq(other, &self.0));
        self.0.remove();
    }
}

impl Identity {
    fn remove(&self) {
        let is_it =
            |metadata: fs::Metadata| (metadata.dev(), metadata.ino()) == (self.device, self.inode);
        if self.process == std::process::id() && fs::symlink_metadata(&self.path).is_ok_and(is_it) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn remove_all() {
    // Whoever holds the lock may have been ended in the middle of it.
    if let Some(mut files) = TEMPORARY.try_lock_for(Duration::from_millis(100)) {
        files.drain(..).for_each(|file| file.remove());
    }
}

/// What the I/O thread has for readers.
#[derive(Debug)]
pub(super) struct Publisher {
    socket: Option<(IoRegistration, u64, StatisticsSocket)>,
    readers: HashMap<u64, Reader>,
    file: Option<SharedFile>,
    statistics: Arc<ServerStatistics>,
}

/// What there is to publish, before the I/O thread has it.
#[derive(Debug)]
pub struct Publication {
    /// Where readers connect.
    pub socket: Option<StatisticsSocket>,
    /// Upstream's file.
    pub file: Option<SharedFile>,
    /// What they read.
    pub statistics: Arc<ServerStatistics>,
}

/// A process that reads statistics.
#[derive(Debug)]
struct Reader {
    // Declared before the socket: the watch must end before it closes.
    registration: IoRegistration,
    socket: Socket,
    requests: Requests,
    /// What is being sent, and how much of it has been.
    answer: Vec<u8>,
    sent: usize,
    /// Nothing is answered after this.
    last: bool,
    active: Instant,
}

/// What becomes of a reader after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Stays,
    Leaves,
}

impl Publisher {
    /// `key` is what the socket's events come under.
    pub(super) fn new(publication: Publication, reactor: &IoReactor, key: u64) -> io::Result<Self> {
        let Publication { socket, file, statistics } = publication;
        let socket = socket.map(|socket| {
            let registration = reactor.register(socket.as_raw_fd(), key, Interest::READ)?;
            Ok::<_, io::Error>((registration, key, socket))
        });
        Ok(Self { socket: socket.transpose()?, readers: HashMap::new(), file, statistics })
    }

    /// Whether this event is for the socket or one of its readers.
    pub(super) fn owns(&self, key: u64) -> bool {
        self.is_socket(key) || self.readers.contains_key(&key)
    }

    fn is_socket(&self, key: u64) -> bool {
        self.socket.as_ref().is_some_and(|(_, own, _)| *own == key)
    }

    /// The socket or a reader is ready. A reader that comes gets a key from `new_key`.
    pub(super) fn handle_ready(
        &mut self,
        key: u64,
        reactor: &IoReactor,
        new_key: impl FnMut() -> u64,
        now: Instant,
    ) {
        if self.is_socket(key) {
            self.accept(reactor, new_key, now);
        } else if let Some(reader) = self.readers.get_mut(&key)
            && reader.step(&self.statistics, now) == After::Leaves
        {
            self.readers.remove(&key);
        }
    }

    /// A step panicked: its reader goes.
    pub(super) fn abandon(&mut self, key: u64) {
        self.readers.remove(&key);
    }

    /// When there is something to do without an event.
    pub(super) fn due(&self) -> Option<Instant> {
        self.file.as_ref().map(|file| file.due)
    }

    /// Does what is due.
    pub(super) fn handle_time(&mut self, now: Instant) {
        if let Some(file) = self.file.as_mut().filter(|file| file.due <= now) {
            file.write(&self.statistics, now);
        }
    }

    fn accept(&mut self, reactor: &IoReactor, mut new_key: impl FnMut() -> u64, now: Instant) {
        let Some((registration, _, listener)) = &mut self.socket else {
            return;
        };
        // One a turn. More of them wait in the socket.
        let socket = match listener.socket.accept() {
            Ok((socket, _)) => socket,
            Err(error) if is_passing(&error) => return,
            Err(error) => {
                // Out of descriptors, most likely. Watching on would spin.
                crate::warning!("no more statistics: accepting a reader failed: {error}");
                return registration.set_interest(Interest { read: false, write: false });
            }
        };
        if self.readers.len() >= limits::STATISTICS_READERS {
            let oldest = self.readers.iter().min_by_key(|(_, reader)| reader.active);
            if let Some(key) = oldest.map(|(key, _)| *key) {
                self.readers.remove(&key);
            }
        }
        let key = new_key();
        let added = socket
            .set_nonblocking(true)
            .and_then(|()| reactor.register(socket.as_raw_fd(), key, Interest::READ));
        match added {
            Ok(registration) => {
                let reader = Reader {
                    registration,
                    socket,
                    requests: Requests::default(),
                    answer: Vec::new(),
                    sent: 0,
                    last: false,
                    active: now,
                };
                self.readers.insert(key, reader);
            }
            Err(error) => crate::warning!("a reader of statistics is turned away: {error}"),
        }
    }
}

impl Reader {
    fn step(&mut self, statistics: &ServerStatistics, now: Instant) -> After {
        let after = self.advance(statistics, now);
        let write = self.has_answer() || self.requests.is_ready();
        self.registration.set_interest(Interest { read: !write, write });
        after
    }

    fn advance(&mut self, statistics: &ServerStatistics, now: Instant) -> After {
        if !self.has_answer() && !self.requests.is_ready() && self.read(now) == After::Leaves {
            return After::Leaves;
        }
        if !self.has_answer()
            && let Some(request) = self.requests.poll()
        {
            let Answer { bytes, last } = answer(&request, || statistics.view());
            (self.answer, self.sent, self.last) = (bytes, 0, last);
        }
        self.write(now)
    }

    fn read(&mut self, now: Instant) -> After {
        let mut bytes = [0; limits::STATISTICS_REQUEST];
        let room = self.requests.room();
        match self.socket.read(&mut bytes[..room]) {
            Ok(0) => After::Leaves,
            Ok(count) => {
                self.active = now;
                self.requests.feed(&bytes[..count]);
                After::Stays
            }
            Err(error) if is_passing(&error) => After::Stays,
            Err(_) => After::Leaves,
        }
    }

    fn write(&mut self, now: Instant) -> After {
        while self.has_answer() {
            match self.socket.send_with_flags(&self.answer[self.sent..], libc::MSG_NOSIGNAL) {
                Ok(count) => {
                    self.active = now;
                    self.sent += count;
                }
                Err(error) if is_passing(&error) => return After::Stays,
                Err(_) => return After::Leaves,
            }
        }
        if self.last { After::Leaves } else { After::Stays }
    }

    fn has_answer(&self) -> bool {
        self.sent < self.answer.len()
    }
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted | ConnectionAborted)
}

impl AsRawFd for StatisticsSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;
    use crate::net::poller::{Events, Poller};

    /// A directory that goes with the test.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("spice-{name}-{}", std::process::id()));
            fs::create_dir(&path).expect("a fresh directory");
            Self(path)
        }

        fn path(&self) -> PathBuf {
            self.0.join("socket")
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// A publisher that is served by this thread.
    struct Served {
        poller: Arc<Poller>,
        reactor: IoReactor,
        publisher: Publisher,
        next: u64,
    }

    impl Served {
        fn at(path: &Path) -> Self {
            let poller = Arc::new(Poller::new().expect("epoll"));
            let reactor = IoReactor::new(Arc::clone(&poller));
            let publication = Publication {
                socket: Some(StatisticsSocket::listen(path).expect("a socket")),
                file: None,
                statistics: Arc::default(),
            };
            let publisher = Publisher::new(publication, &reactor, 1).expect("it is watched");
            Self { poller, reactor, publisher, next: 1 }
        }

        /// Until nothing has happened for a moment.
        fn run(&mut self) {
            let mut events = Events::default();
            loop {
                let patience = Some(Duration::from_millis(50));
                self.poller.wait(&mut events, patience).expect("events");
                if events.sockets().next().is_none() {
                    return;
                }
                for event in events.sockets() {
                    let (next, now) = (&mut self.next, Instant::now());
                    let new_key = || {
                        *next += 1;
                        *next
                    };
                    self.publisher.handle_ready(event.key, &self.reactor, new_key, now);
                }
            }
        }
    }

    #[test]
    fn a_reader_asks_again_and_again() {
        let directory = Directory::new("readers");
        let mut served = Served::at(&directory.path());
        let mode = fs::metadata(directory.path()).expect("the socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut reader = UnixStream::connect(directory.path()).expect("it listens");
        for requests in ["statistics\n", "\n\n\nstati", "stics\n"] {
            reader.write_all(requests.as_bytes()).expect("room");
        }
        served.run();
        reader.shutdown(std::net::Shutdown::Write).expect("open");
        served.run();
        assert_eq!(served.publisher.readers.len(), 0);
        let lines: Vec<_> = BufReader::new(reader).lines().map(Result::unwrap).collect();
        assert_eq!(lines.len(), 5, "{lines:?}");
        assert!(lines.iter().all(|line| line.starts_with("{\"format\":1,")));
    }

    #[test]
    fn the_reader_that_is_silent_for_longest_makes_way() {
        let directory = Directory::new("crowd");
        let mut served = Served::at(&directory.path());
        let connect = || UnixStream::connect(directory.path()).expect("it listens");
        let mut first = connect();
        served.run();
        let others: Vec<_> = (0..limits::STATISTICS_READERS)
            .map(|_| {
                let reader = connect();
                served.run();
                reader
            })
            .collect();
        assert_eq!(served.publisher.readers.len(), others.len());
        assert_eq!(first.read(&mut [0]).expect("the end"), 0);
    }

    #[test]
    fn a_reader_that_does_not_read_is_not_waited_for() {
        let directory = Directory::new("slow");
        let mut served = Served::at(&directory.path());
        let mut slow = UnixStream::connect(directory.path()).expect("it listens");
        slow.set_nonblocking(true).expect("a socket");
        let mut written = 0;
        while let Ok(count) = slow.write(&[b'\n'; 1000]) {
            written += count;
            served.run();
        }
        assert!(written > 0);
        let reader = served.publisher.readers.values().next().expect("it stays");
        assert!(reader.has_answer() || reader.requests.is_ready(), "it has to read first");
        assert!(reader.answer.len() < 64 * 1024);
    }

    #[test]
    fn only_a_socket_that_nobody_listens_on_is_replaced() {
        let directory = Directory::new("stale");
        let path = directory.path();
        drop(UnixListener::bind(&path).expect("a socket"));
        assert!(path.exists(), "left behind");
        let socket = StatisticsSocket::listen(&path).expect("it is replaced");
        let error = StatisticsSocket::listen(&path).expect_err("somebody listens");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(socket);
        assert!(!path.exists(), "it goes with its owner");
        fs::write(&path, "precious").expect("a file");
        StatisticsSocket::listen(&path).expect_err("not a socket");
        assert_eq!(fs::read(&path).expect("still there"), b"precious");
    }

    #[test]
    fn what_has_taken_the_place_is_not_removed() {
        let directory = Directory::new("other");
        let path = directory.path();
        let socket = StatisticsSocket::listen(&path).expect("a socket");
        fs::remove_file(&path).expect("it is there");
        fs::write(&path, "another's").expect("a file");
        drop(socket);
        assert!(path.exists());
    }
}
