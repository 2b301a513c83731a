//! The command line.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use spice_server::wire::ChannelKey;

use crate::address::Address;

pub(crate) const USAGE: &str = "\
usage: spice-port [OPTION]... URI PORT
       spice-port [OPTION]... --list URI

Connects standard input and output to a port of a SPICE server, as
`spice-port spice://host:5900 org.example.port.0 < in > out` does.

  URI   spice://HOST[:PORT][?tls-port=PORT], spice+tls://HOST[:PORT],
        spice+unix:///PATH, or spice+unix://@NAME (abstract)
  PORT  the port's name, or TYPE:ID of its channel, as in 10:0

  -l, --list               list the ports: name, TYPE:ID, open, closed or busy
  --password-file FILE     the password is the first line of FILE; without it, it is
                           asked for on the terminal if the server wants one
  --ca-file FILE           trust these authorities (PEM), not the system's
  --host-subject SUBJECT   the server's certificate has this subject, as in
                           \"O=Example,CN=server\", whatever the host is called
  --linger SECONDS         leave when input has ended and nothing came for SECONDS
  --keep                   stay when the guest closes the port
  --break                  send a break before any input
  --no-compression         send nothing compressed
  -q, --quiet              no progress, no events
  -v, --verbose            tell events: opened, closed, break
  -h, --help; -V, --version

Status: 0 done, 1 connection lost, 2 wrong arguments, 3 no connection, 4 TLS failed,
5 password refused, 6 no such port, 7 port in use, 8 closed with input left over,
9 standard input or output failed.
";

pub(crate) const VERSION: &str = concat!("spice-port ", env!("CARGO_PKG_VERSION"), "\n");

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Run(Options),
    Print(&'static str),
}

/// A server, and what to do there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) address: Address,
    /// `None`: list the ports.
    pub(crate) port: Option<Wanted>,
    pub(crate) flags: Flags,
}

/// The options with their values.
#[derive(Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch by itself")]
pub(crate) struct Flags {
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) host_subject: Option<String>,
    pub(crate) linger: Option<Duration>,
    pub(crate) keep: bool,
    pub(crate) send_break: bool,
    pub(crate) no_compression: bool,
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
}

/// How a port is told from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Name(Vec<u8>),
    Channel(ChannelKey),
}

impl Wanted {
    fn parse(text: OsString) -> Self {
        let channel = text.to_str().and_then(|text| {
            let (kind, id) = text.split_once(':')?;
            Some(ChannelKey { kind: kind.parse().ok()?, id: id.parse().ok()? })
        });
        channel.map_or_else(|| Self::Name(text.into_vec()), Self::Channel)
    }
}

/// Understands the arguments.
pub(crate) fn request(mut arguments: impl Iterator<Item = OsString>) -> Result<Request, String> {
    let (mut list, mut only_words) = (false, false);
    let mut flags = Flags::default();
    let mut words = Vec::new();
    while let Some(argument) = arguments.next() {
        if only_words || !argument.as_bytes().starts_with(b"-") {
            words.push(argument);
            continue;
        }
        let (option, mut value) = split(&argument);
        let mut value_of = |what: &str| {
            let value = value.take().or_else(|| arguments.next());
            value.ok_or_else(|| format!("{option} needs a {what}"))
        };
        match &*option {
            "--password-file" => flags.password_file = Some(value_of("FILE")?.into()),
            "--ca-file" => flags.ca_file = Some(value_of("FILE")?.into()),
            "--host-subject" => {
                let subject = value_of("SUBJECT")?.into_string();
                flags.host_subject = Some(subject.map_err(|_| "SUBJECT is no UTF-8")?);
            }
            "--linger" => {
                let seconds = value_of("number of SECONDS")?;
                let parsed = seconds.to_str().and_then(|text| text.parse().ok());
                let parsed = parsed.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                let parsed = parsed.filter(|time| *time <= LINGER_MAX);
                let wrong = || format!("{} is no number of seconds", seconds.display());
                flags.linger = Some(parsed.ok_or_else(wrong)?);
            }
            "-l" | "--list" => list = true,
            "--keep" => flags.keep = true,
            "--break" => flags.send_break = true,
            "--no-compression" => flags.no_compression = true,
            "-q" | "--quiet" => flags.quiet = true,
            "-v" | "--verbose" => flags.verbose = true,
            "-h" | "--help" => return Ok(Request::Print(USAGE)),
            "-V" | "--version" => return Ok(Request::Print(VERSION)),
            "--" => only_words = true,
            _ => return Err(format!("there is no option {option}")),
        }
        if value.is_some() {
            return Err(format!("{option} takes no value"));
        }
    }
    let mut words = words.into_iter();
    let uri = words.next().ok_or("a URI is missing")?;
    let uri = uri.into_string().map_err(|_| "the URI is no UTF-8")?;
    let address = Address::parse(&uri)?;
    let port = words.next().map(Wanted::parse);
    match (list, port, words.next()) {
        (true, None, None) => Ok(Request::Run(Options { address, port: None, flags })),
        (false, Some(port), None) => Ok(Request::Run(Options { address, port: Some(port), flags })),
        (false, None, None) => Err("a PORT or --list is missing".to_owned()),
        _ => Err("these are too many arguments".to_owned()),
    }
}

/// A poll takes no longer time.
const LINGER_MAX: Duration = Duration::from_secs(24 * 3600);

/// An option, and its value if that is written with `=`.
fn split(argument: &OsStr) -> (String, Option<OsString>) {
    let mut parts = argument.as_bytes().splitn(2, |byte| *byte == b'=').map(OsStr::from_bytes);
    let option = parts.next().unwrap_or_default().to_string_lossy().into_owned();
    (option, parts.next().map(OsStr::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Request, String> {
        request(arguments.iter().map(OsString::from))
    }

    fn options(arguments: &[&str]) -> Options {
        match parse(arguments) {
            Ok(Request::Run(options)) => options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_stand_anywhere() {
        let got = options(&["--linger=0.5", "spice://h", "--ca-file", "ca", "a.b", "-q", "--keep"]);
        assert_eq!(got.port, Some(Wanted::Name(b"a.b".to_vec())));
        assert_eq!(got.flags.linger, Some(Duration::from_millis(500)));
        assert_eq!(got.flags.ca_file, Some("ca".into()));
        assert!(got.flags.quiet && got.flags.keep && !got.flags.verbose);
        assert_eq!(options(&["-l", "spice://h"]).port, None);
        let channel = Wanted::Channel(ChannelKey { kind: 100, id: 7 });
        assert_eq!(options(&["spice://h", "--", "100:7"]).port, Some(channel));
        assert_eq!(options(&["spice://h", "100:x"]).port, Some(Wanted::Name(b"100:x".to_vec())));
    }

    #[test]
    fn wrong_arguments_are_told() {
        for wrong in [
            &[][..],
            &["spice://h"],
            &["a"],
            &["a", "b"],
            &["--list", "spice://h", "b"],
            &["spice://h", "a", "b"],
            &["spice://h", "a", "--ca-file"],
            &["spice://h", "a", "--keep=1"],
            &["spice://h", "a", "--linger=-1"],
            &["spice://h", "a", "--linger=NaN"],
            &["spice://h", "a", "--linger=1e9"],
            &["spice://h", "a", "--password=secret"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
