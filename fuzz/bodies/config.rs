//! The configuration file: whatever it has in it, what is wrong is told in few lines that
//! a terminal can show, and in bounded time; the rest makes settings.

use std::fs::File as Descriptor;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::PathBuf;
use std::time::Duration;

use spice_server::config::file::{EXAMPLE, File, Problem};
use spice_server::config::limits::CONFIG_PROBLEMS;

use super::{Body, Input, repeated};

pub(crate) const BODY: Body = Body { name: "config", run, seeds };

/// Long files are made of short ones, so that what takes ever longer is found.
const LONG: usize = 64 * 1024;
/// Processor time for any file, with all that a sanitizer costs.
const PATIENCE: Duration = Duration::from_secs(5);

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let options = input.byte();
    let unit = input.rest();
    let text = if options & 1 == 0 { unit.to_vec() } else { repeated(unit, LONG) };
    let begin = processor_time();
    let file = read(&text);
    let taken = processor_time().saturating_sub(begin);
    assert!(taken < PATIENCE, "{} bytes take {taken:?}", text.len());
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

/// What this thread has had of it; the clock would count what others run meanwhile.
fn processor_time() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: room for what the call fills in, which it does for the calling thread.
    let usage = unsafe {
        assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()), 0);
        usage.assume_init()
    };
    let duration = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    duration(usage.ru_utime) + duration(usage.ru_stime)
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
