//! The command line.

use std::path::PathBuf;
use std::time::Duration;

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    /// Sockets, or directories with sockets.
    pub(crate) places: Vec<PathBuf>,
    pub(crate) once: bool,
    pub(crate) json: bool,
    /// From one asking to the next.
    pub(crate) interval: Duration,
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Request {
    Run(Options),
    /// Help, or the version.
    Say(String),
}

pub(crate) const USAGE: &str = "\
usage: spice-top [--once] [--json] [--interval SECONDS] [SOCKET | DIRECTORY ...]

Shows the statistics of SPICE servers: of those whose sockets are named, or are in the
directories that are named; by default in /run/spice-server.

  --once              ask once, print, and end
  --json              print a JSON object for each server in a line
  --interval SECONDS  ask so often, 0.1 to 3600 (1)
  -h, --help          this text
  -V, --version       the version
";

/// Where sockets are by the documentation.
const DIRECTORY: &str = "/run/spice-server";

pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Request, String> {
    let mut options =
        Options { places: Vec::new(), once: false, json: false, interval: Duration::from_secs(1) };
    let mut arguments = arguments.into_iter();
    let mut only_places = false;
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
            _ => (&*argument, None),
        };
        match name {
            _ if only_places => options.places.push(argument.into()),
            "--" => only_places = true,
            "--once" if value.is_none() => options.once = true,
            "--json" if value.is_none() => options.json = true,
            "--interval" => {
                let value = value.or_else(|| arguments.next()).ok_or("--interval needs seconds")?;
                options.interval = interval(&value)
                    .ok_or_else(|| format!("--interval: 0.1 to 3600 seconds, not {value}"))?;
            }
            "-h" | "--help" => return Ok(Request::Say(USAGE.to_owned())),
            "-V" | "--version" => {
                let version = env!("CARGO_PKG_VERSION");
                return Ok(Request::Say(format!("spice-top {version}\n")));
            }
            _ if name.starts_with('-') => return Err(format!("unknown option {argument}")),
            _ => options.places.push(argument.into()),
        }
    }
    if options.places.is_empty() {
        options.places.push(DIRECTORY.into());
    }
    Ok(Request::Run(options))
}

fn interval(text: &str) -> Option<Duration> {
    let seconds: f64 = text.parse().ok()?;
    (0.1..=3600.0).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(words: &[&str]) -> Result<Request, String> {
        parse(words.iter().map(ToString::to_string))
    }

    #[test]
    fn options_stand_anywhere_before_two_hyphens() {
        let expected = Options {
            places: vec!["/a".into(), "--json".into()],
            once: true,
            json: false,
            interval: Duration::from_millis(500),
        };
        let words = ["/a", "--once", "--interval=0.5", "--", "--json"];
        assert_eq!(run(&words), Ok(Request::Run(expected)));
        let Ok(Request::Run(defaults)) = run(&[]) else { panic!("no options are good") };
        assert_eq!(defaults.places, [PathBuf::from("/run/spice-server")]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for words in [
            &["--nonsense"][..],
            &["--once=1"],
            &["--interval"],
            &["--interval", "0"],
            &["--interval", "nan"],
            &["-x"],
        ] {
            assert!(run(words).is_err(), "{words:?}");
        }
        assert!(matches!(run(&["--help", "--nonsense"]), Ok(Request::Say(_))));
    }
}
