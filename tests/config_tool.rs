//! The program `spice-server-config` as a user meets it: what it prints where, and its
//! exit status.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FILE: &str = "\
[channels]
idle-timeout = 30
bussy = 'refuse'
[[channel]]
port = 'org.example.a'
type = 100
name = 'a'
[[vm]]
name = 'win'
[vm.channels]
idle-timeout = 60
[[vm]]
uuid = '00112233-4455-6677-8899-aabbccddeeff'
[[vm.channel]]
port = 'org.example.b'
type = 100
name = 'b'
";

/// Exit status, stdout and stderr.
fn run<A: AsRef<OsStr>>(arguments: &[A], variable: Option<&Path>) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spice-server-config"));
    command.args(arguments).env_remove("SPICE_SERVER_CONFIG");
    if let Some(path) = variable {
        command.env("SPICE_SERVER_CONFIG", path);
    }
    let output = command.output().expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("an exit"), text(output.stdout), text(output.stderr))
}

/// A directory with `config.toml` in it, gone at the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str, text: &str) -> Self {
        let place = std::env::temp_dir().join(format!("spice-{name}-{}", std::process::id()));
        fs::create_dir(&place).expect("a directory");
        fs::write(place.join("config.toml"), text).expect("written");
        Self(place)
    }

    fn file(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    fn path(&self) -> String {
        self.file().to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn settings_go_to_stdout_and_problems_to_stderr() {
    let place = Place::new("check", FILE);
    let path = place.path();
    let unknown = format!("{path}:3: channels.bussy: there is no such key; did you mean busy?\n");
    let (status, out, err) = run(&["--check", &path], None);
    assert_eq!((status, &err), (1, &unknown));
    assert!(out.contains("idle-timeout = 30") && out.contains("name = \"a\""), "{out}");

    let (status, out, err) = run(&["--vm-name", "win", &path, "--check"], None);
    assert_eq!((status, &err), (1, &unknown));
    assert!(out.contains("idle-timeout = 60"), "{out}");

    let uuid = "--vm-uuid=00112233445566778899AABBCCDDEEFF";
    let (status, out, err) = run(&["--check", uuid], Some(&place.file()));
    let clash = format!("{path}:17: vm[2].channel[1].name: channel type 100 is named a already\n");
    assert_eq!((status, err), (1, unknown + &clash));
    assert!(out.contains("idle-timeout = 30") && !out.contains("org.example.b"), "{out}");
}

#[test]
fn what_is_printed_is_a_file_without_problems() {
    let place = Place::new("again", FILE);
    let (_, first, _) = run(&["--check", &place.path()], None);
    fs::write(place.file(), &first).expect("written");
    assert_eq!(run(&["--check", &place.path()], None), (0, first, String::new()));
}

#[test]
fn the_example_is_a_file_without_problems() {
    let (status, example, err) = run(&["--example"], None);
    assert_eq!((status, &*err), (0, ""));
    let place = Place::new("example", &example);
    let (status, settings, err) = run(&["--check", &place.path()], None);
    assert_eq!((status, &*err), (0, ""));
    assert!(settings.contains("home = \"auto\""), "{settings}");
}

#[test]
fn a_name_may_be_any_bytes() {
    let place = Place::new("bytes", "[[vm]]\nname = 'a*'\n[vm.io]\nhome = 'main'\n");
    let path = place.file();
    let name = OsStr::from_bytes(b"--vm-name=a=\xff");
    let (status, out, _) = run(&[OsStr::new("--check"), path.as_os_str(), name], None);
    assert_eq!(status, 0);
    assert!(out.contains("home = \"main\""), "{out}");
}

#[test]
fn what_cannot_be_read_is_told() {
    let place = Place::new("unreadable", "");
    let missing = place.0.join("missing");
    for path in [&missing, &place.0] {
        let (status, out, err) = run(&[OsStr::new("--check"), path.as_os_str()], None);
        assert_eq!((status, &*out), (2, ""));
        assert!(err.starts_with(path.to_str().expect("UTF-8")), "{err}");
        assert_eq!(run(&["--check"], Some(path)).0, 2, "named by the variable");
    }
}

#[test]
fn arguments_are_looked_at() {
    for wrong in [
        &[][..],
        &["file"],
        &["--check", "a", "b"],
        &["--chek"],
        &["--check=a"],
        &["--check", "--vm-name"],
        &["--check", "--vm-uuid", "x"],
        &["--vm-name", "a"],
        &["-x"],
    ] {
        let (status, out, err) = run(wrong, None);
        assert_eq!((status, &*out), (2, ""), "{wrong:?}");
        assert!(err.contains("usage: spice-server-config"), "{err}");
    }
    let (status, out, _) = run(&["--help"], None);
    assert!(status == 0 && out.starts_with("usage: "), "{out}");
    let (status, out, _) = run(&["--version"], None);
    assert_eq!((status, &*out), (0, "spice-server-config 0.16.0\n"));
    let (status, _, err) = run(&["--check", "--", "--no-such-file"], None);
    assert!(status == 2 && err.starts_with("--no-such-file: "), "{err}");
}

#[test]
fn a_reader_that_has_gone_is_no_crash() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_spice-server-config"));
    let command = command.arg("--example").stdout(writer).stderr(Stdio::null());
    assert_eq!(command.status().expect("the program runs").code(), Some(2));
}
