//! The configuration file: whatever it has in it, what is wrong is told in few lines that
//! a terminal can show, and in bounded time; the rest makes settings.

use std::fs::File as Descriptor;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use spice_server::config::file::{EXAMPLE, File, Problem};
use spice_server::config::limits::CONFIG_PROBLEMS;

use super::{Body, Input, repeated};

pub(crate) const BODY: Body = Body { name: "config", run, seeds };

/// Long files are made of short ones, so that what takes ever longer is found.
const LONG: usize = 64 * 1024;
/// Of any file, with all that a sanitizer costs.
const PATIENCE: Duration = Duration::from_secs(5);

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let options = input.byte();
    let unit = input.rest();
    let text = if options & 1 == 0 { unit.to_vec() } else { repeated(unit, LONG) };
    let begin = Instant::now();
    let file = read(&text);
    assert!(begin.elapsed() < PATIENCE, "{} bytes take {:?}", text.len(), begin.elapsed());
    check(file.problems());
    for name in [None, Some(&b"vm"[..]), Some(b"\xff")] {
        for uuid in [None, Some(&[0x11; 16])] {
            let (config, problems) = file.config(name, uuid);
            check(&problems);
            // Each is a rule that can be looked up.
            for (_, service) in config.registry.rules() {
                assert!(service.kind >= 9 && !service.name.is_empty());
            }
        }
    }
    file.names_channel(b"port");
    if let Ok(text) = std::str::from_utf8(&text) {
        let again = File::parse(&PathBuf::from("again"), text);
        let lines = |file: &File| file.problems().iter().map(Problem::line).collect::<Vec<_>>();
        assert_eq!(lines(&file), lines(&again));
    }
}

/// As a server does it, from a file that exists in memory only.
fn read(bytes: &[u8]) -> File {
    // SAFETY: a name and no flags; the descriptor is nobody else's.
    let mut memory = unsafe { Descriptor::from_raw_fd(libc::memfd_create(c"config".as_ptr(), 0)) };
    memory.write_all(bytes).expect("memory");
    let path = PathBuf::from(format!("/proc/self/fd/{}", memory.as_raw_fd()));
    File::read(&path).expect("a file that is not too large")
}

fn check(problems: &[Problem]) {
    assert!(problems.len() <= CONFIG_PROBLEMS);
    assert!(problems.is_sorted_by_key(Problem::line));
    for problem in problems {
        let text = problem.to_string();
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let all = EXAMPLE.replace("\n#", "\n");
    let sections = "[[vm]]\nname = \"vm\"\nuuid = \"11111111-1111-1111-1111-111111111111\"\n\
        io.home = \"thread\"\n[[vm.channel]]\nport = \"org.*\"\ntype = 40\nname = \"mine\"\n\
        [[channel]]\nsubtype = \"own\"\ntype = 41\nbusy = \"take-over\"\n";
    let wrong = "[io\nhome = \"moon\"\n[tls]\nmin-version = 1.2\n\u{1b} = 3\n[[vm]]\n[channels]\nidle-timeout = -1\n";
    let script = |options: u8, text: &str| [&[options], text.as_bytes()].concat();
    vec![
        script(0, EXAMPLE),
        script(0, &all),
        script(0, sections),
        script(0, wrong),
        script(1, "[[vm]]\nname = \"a\"\n"),
        script(1, "a = [\n"),
        [&[0], &b"[io]\nhome = \"\xff\"\n"[..]].concat(),
    ]
}
