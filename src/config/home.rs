//! Where an established connection lives: on the host's main loop or on the I/O thread.

/// The home of a connection (ARCHITECTURE.md, "Threads").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HomeKind {
    /// Watched through the host's `SpiceCoreInterface`.
    #[default]
    Main,
    /// Watched by the I/O thread; messages cross in bounded queues.
    Thread,
}

impl HomeKind {
    /// The home that tests force with `SPICE_SERVER_IO_HOME=main|thread`.
    pub fn from_environment() -> Self {
        match std::env::var("SPICE_SERVER_IO_HOME").as_deref() {
            Ok("thread") => Self::Thread,
            Ok("main") | Err(_) => Self::Main,
            Ok(other) => {
                crate::warning!(
                    "SPICE_SERVER_IO_HOME={other}: expected main or thread; using main"
                );
                Self::Main
            }
        }
    }
}
