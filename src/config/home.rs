//! Where an established connection lives: on the host's main loop or on the I/O thread.

/// The home of a connection (ARCHITECTURE.md, "Threads").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HomeKind {
    /// Watched through the host's `SpiceCoreInterface`.
    Main,
    /// Watched by the I/O thread; messages cross in bounded queues.
    Thread,
}

impl HomeKind {
    /// The home that tests force with `SPICE_SERVER_IO_HOME=main|thread`.
    pub fn from_environment() -> Option<Self> {
        match std::env::var("SPICE_SERVER_IO_HOME").as_deref() {
            Ok("thread") => Some(Self::Thread),
            Ok("main") => Some(Self::Main),
            Err(_) => None,
            Ok(other) => {
                crate::warning!("SPICE_SERVER_IO_HOME={other}: expected main or thread");
                None
            }
        }
    }

    /// As the configuration says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Thread => "thread",
        }
    }

    /// The home of a connection that nothing forces: work that takes long, as
    /// compression and encryption do, is to be done off the host's thread, and a change of
    /// thread costs latency for nothing where there is none.
    pub fn of(works: bool) -> Self {
        if works { Self::Thread } else { Self::Main }
    }
}
