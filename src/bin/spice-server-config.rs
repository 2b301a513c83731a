//! `spice-server-config`: looks through a configuration file as the library does, and
//! prints what it comes to. The manual is man/spice-server-config.1.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use spice_server::config::file::{self, File, ReadError};

const USAGE: &str = "\
usage: spice-server-config --check [FILE] [--vm-name NAME] [--vm-uuid UUID]
       spice-server-config --example

  --check          say what is wrong in FILE and print the settings that apply; if no
                   FILE is given in the one that the library reads,
                   $SPICE_SERVER_CONFIG or /etc/spice-server/config.toml
  --vm-name NAME   the settings for the virtual machine of this name (qemu -name)
  --vm-uuid UUID   the settings for the virtual machine of this UUID (qemu -uuid)
  --example        print a file with every setting, commented out
  --help, --version

Status: 0 nothing is wrong, 1 something is wrong in FILE, 2 FILE cannot be read or
the arguments are wrong.
";

const VERSION: &str = concat!("spice-server-config ", env!("CARGO_PKG_VERSION"), "\n");

/// Something is wrong in the file.
const WRONG: u8 = 1;
/// There is nothing to look through.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    let status = match request(std::env::args_os().skip(1)) {
        Ok(Request::Check(check)) => check.run(),
        Ok(Request::Print(text)) => print(text),
        Err(what) => {
            complain(format_args!("spice-server-config: {what}\n{}", USAGE.trim_end()));
            FAILED
        }
    };
    ExitCode::from(status)
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Check(Check),
    Print(&'static str),
}

/// A file to look through, for a virtual machine.
#[derive(Debug, Default, PartialEq, Eq)]
struct Check {
    file: Option<PathBuf>,
    name: Option<OsString>,
    uuid: Option<[u8; 16]>,
}

impl Check {
    fn run(&self) -> u8 {
        let path = self.file.clone().unwrap_or_else(File::path);
        let file = match File::read(&path) {
            Ok(file) => file,
            Err(ReadError::Io(error)) if self.may_miss(&path, &error) => {
                complain(format_args!("{}: {error}; defaults apply", path.display()));
                File::parse(&path, "")
            }
            Err(error) => {
                complain(format_args!("{}: {error}", path.display()));
                return FAILED;
            }
        };
        let name = self.name.as_deref().map(OsStr::as_bytes);
        let (config, problems) = file.config(name, self.uuid.as_ref());
        let problems = file.problems().iter().chain(&problems);
        let wrong = problems.map(complain).count() > 0;
        print(&config.to_string()).max(if wrong { WRONG } else { 0 })
    }

    /// Nobody has to have a file; who names one means it.
    fn may_miss(&self, path: &Path, error: &io::Error) -> bool {
        let named = self.file.is_some() || path != Path::new(file::PATH);
        !named && error.kind() == io::ErrorKind::NotFound
    }
}

/// Understands the arguments.
fn request(mut arguments: impl Iterator<Item = OsString>) -> Result<Request, String> {
    let mut check = None;
    let mut settings = Check::default();
    let mut only_files = false;
    while let Some(argument) = arguments.next() {
        if only_files || !argument.as_bytes().starts_with(b"-") {
            if settings.file.replace(argument.into()).is_some() {
                return Err("only one FILE can be checked".to_owned());
            }
            continue;
        }
        let (option, value) = split(&argument);
        match (&*option, value) {
            ("--check", None) => check = Some(()),
            ("--example", None) => return Ok(Request::Print(file::EXAMPLE)),
            ("-h" | "--help", None) => return Ok(Request::Print(USAGE)),
            ("-V" | "--version", None) => return Ok(Request::Print(VERSION)),
            ("--", None) => only_files = true,
            ("--vm-name", value) => {
                let name = value.or_else(|| arguments.next()).ok_or("--vm-name needs a NAME")?;
                settings.name = Some(name);
            }
            ("--vm-uuid", value) => {
                let text = value.or_else(|| arguments.next()).ok_or("--vm-uuid needs a UUID")?;
                let uuid = text.to_str().and_then(file::uuid);
                settings.uuid = Some(uuid.ok_or_else(|| format!("{} is no UUID", text.display()))?);
            }
            (option, _) => return Err(format!("there is no option {option}")),
        }
    }
    check
        .map(|()| Request::Check(settings))
        .ok_or_else(|| "--check or --example is missing".to_owned())
}

/// An option, and its value if that is written with `=`.
fn split(argument: &OsStr) -> (String, Option<OsString>) {
    let mut parts = argument.as_bytes().splitn(2, |byte| *byte == b'=').map(OsStr::from_bytes);
    let option = parts.next().unwrap_or_default().to_string_lossy().into_owned();
    (option, parts.next().map(OsStr::to_owned))
}

fn print(text: &str) -> u8 {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => 0,
        Err(error) => {
            complain(format_args!("spice-server-config: {error}"));
            FAILED
        }
    }
}

/// Says something on stderr; if that is closed nobody wants to know.
fn complain(what: impl Display) {
    let _ = writeln!(io::stderr(), "{what}");
}
