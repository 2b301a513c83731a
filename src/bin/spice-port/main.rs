//! `spice-port`: a port of a SPICE server on standard input and output. The manual is
//! man/spice-port.1.
//!
//! `link`, `channel` and `messages` are the client's side of the protocol and do no I/O;
//! `connection`, `session` and `transfer` carry their bytes. All of it is on one thread.
//! It is part of this program and not of the library, which no client's code belongs into.

mod address;
mod channel;
mod connection;
mod link;
mod messages;
mod options;
mod password;
mod progress;
mod session;
mod transfer;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use spice_server::wire::Truncated;
use spice_server::wire::link::LinkError;

use crate::channel::Broken;
use crate::connection::Dialer;
use crate::options::{Options, Request, USAGE};
use crate::session::Session;
use crate::transfer::Transfer;

/// Exit statuses; 0 is success.
pub(crate) mod status {
    /// The connection was lost, or the server broke the protocol.
    pub(crate) const LOST: u8 = 1;
    /// The arguments are wrong, or a file that they name.
    pub(crate) const ARGUMENTS: u8 = 2;
    /// No connection, or no SPICE server behind it.
    pub(crate) const NO_CONNECTION: u8 = 3;
    /// The server's certificate, or TLS itself.
    pub(crate) const TLS: u8 = 4;
    /// The password is missing, wrong or too long.
    pub(crate) const PASSWORD: u8 = 5;
    /// There is no such port.
    pub(crate) const NO_PORT: u8 = 6;
    /// Another client has the port.
    pub(crate) const BUSY: u8 = 7;
    /// The guest closed the port before all input was sent.
    pub(crate) const LEFT_OVER: u8 = 8;
    /// Standard input or output failed.
    pub(crate) const LOCAL: u8 = 9;
}

/// Why the program ends without success.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: u8,
    /// The server's reason, if it refused a link.
    pub(crate) refused: Option<LinkError>,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(status: u8, text: impl Into<String>) -> Self {
        Self { status, refused: None, text: text.into() }
    }

    /// A connection that broke before it was one.
    pub(crate) fn connection(error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let text = match error.kind() {
            io::ErrorKind::WouldBlock => "the server does not answer".to_owned(),
            io::ErrorKind::UnexpectedEof => "the server has hung up".to_owned(),
            _ => error.to_string(),
        };
        Self::new(status::NO_CONNECTION, text)
    }

    /// A connection that broke.
    pub(crate) fn lost(error: impl Display) -> Self {
        Self::new(status::LOST, format!("the connection is lost: {error}"))
    }
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        Self::new(status::LOST, broken.to_string())
    }
}

impl From<Truncated> for Failure {
    fn from(_: Truncated) -> Self {
        Self::new(status::LOST, "a message of the server's is cut off")
    }
}

fn main() -> ExitCode {
    let outcome = match options::request(std::env::args_os().skip(1)) {
        Ok(Request::Run(options)) => run(options),
        Ok(Request::Print(text)) => print(text.as_bytes()),
        Err(what) => Err(Failure::new(status::ARGUMENTS, format!("{what}\n{}", USAGE.trim_end()))),
    };
    let Err(failure) = outcome else {
        return ExitCode::SUCCESS;
    };
    complain(format_args!("spice-port: {}", failure.text));
    ExitCode::from(failure.status)
}

fn run(Options { address, port, flags }: Options) -> Result<(), Failure> {
    let password = flags.password_file.as_deref().map(password::from_file).transpose()?;
    let may_ask = password.is_none();
    let mut dialer = Dialer {
        address,
        ca_file: flags.ca_file.clone(),
        host_subject: flags.host_subject.clone(),
        password: password.unwrap_or_default(),
        compress: !flags.no_compression,
    };
    let main = match dialer.link_main() {
        Err(Failure { refused: Some(LinkError::PermissionDenied), .. }) if may_ask => {
            let missing = || Failure::new(status::PASSWORD, "the server wants a password");
            dialer.password = password::from_terminal().ok_or_else(missing)?;
            dialer.link_main()
        }
        other => other,
    };
    let mut session = Session::begin(&dialer, main?)?;
    let Some(wanted) = port else {
        return print(&session.list()?);
    };
    let port = session.port(&wanted)?;
    let local = |error: io::Error| Failure::new(status::LOCAL, error.to_string());
    Transfer::new(session, port, &flags).map_err(local)?.run()
}

fn print(text: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text).and_then(|()| out.flush());
    written.map_err(|error| Failure::new(status::LOCAL, format!("standard output: {error}")))
}

/// Says something on stderr; if that is closed nobody wants to know.
pub(crate) fn complain(what: impl Display) {
    let _ = writeln!(io::stderr(), "{what}");
}
