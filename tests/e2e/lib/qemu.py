"""Starts an unmodified qemu-system-x86_64 on a chosen SPICE server library."""

import os
import socket
import subprocess
from pathlib import Path

from .guest import Guest, make_guest
from .process import end_with_parent
from .qmp import Qmp
from .waiting import Timeout

QEMU = "qemu-system-x86_64"

# The guest's kernel says nothing unless something is wrong.
KERNEL_LINE = (
    "console=ttyS0 quiet loglevel=3 mitigations=off tsc=reliable no_timer_check random.trust_cpu=on"
)


class Library:
    """The SPICE server library under QEMU: Debian's installed one or ours."""

    def __init__(self, name, build=None, home=None, preload=False):
        self.name = name
        self.home = home
        self.preload = preload
        self.file = None
        # Where our programs are, whichever library they meet.
        self.build = Path(build).resolve() if build else None
        if name == "ours":
            self.file = (Path(build) / "libspice-server.so.1").resolve()
            self.directory = Path(build).resolve()
            if not self.file.exists():
                raise FileNotFoundError(f"{self.directory}/libspice-server.so.1 is not built")

    def environment(self, config=None):
        """`config`: our library's configuration file; without one no file on this
        machine must have a say."""
        env = dict(os.environ)
        for name in ("LD_LIBRARY_PATH", "LD_PRELOAD", "SPICE_SERVER_IO_HOME"):
            env.pop(name, None)
        env["SPICE_SERVER_CONFIG"] = str(config or "/nonexistent")
        # QEMU opens its SPICE modules lazily: a symbol that is missing must
        # show at once, not when somebody happens to call it.
        env["LD_BIND_NOW"] = "1"
        if self.file:
            if self.preload:
                env["LD_PRELOAD"] = str(self.directory / "libspice-server.so.1")
            else:
                env["LD_LIBRARY_PATH"] = str(self.directory)
            if self.home:
                env["SPICE_SERVER_IO_HOME"] = self.home
        return env

    def check_loaded(self, pid):
        """Proves by the process's memory map which library runs."""
        loaded = mapped_files(pid, "libspice-server.so")
        if len(loaded) != 1:
            raise AssertionError(f"QEMU maps {loaded or 'no SPICE server library'}")
        (path,) = loaded
        if self.file:
            if Path(path) != self.file:
                raise AssertionError(f"QEMU runs on {path}, not on {self.file}")
        elif not path.startswith(("/usr/lib/", "/lib/")):
            raise AssertionError(f"QEMU runs on {path}, not on Debian's library")
        return path


class Qemu:
    """A virtual machine. `args` are QEMU's own; `boot=True` adds the test guest
    with its agent, `programs=` names a set of Debian's programs to be in it too;
    `defaults=True` leaves QEMU's own devices in; `outlives_us=True` is for a machine
    that is to stay when the program ends; `config` is a configuration file for our
    library, Debian's knows none; `network` is a network.Network to be in. The monitor
    and the agent's serial port are socket pairs, so nothing has to be waited for before
    they can be used."""

    def __init__(self, library, logs, args, boot=False, programs=None, defaults=False,
                 memory=192, outlives_us=False, config=None, network=None,
                 accel="tcg,thread=multi"):
        self.library = library
        self.logs = Path(logs)
        self.logs.mkdir(parents=True, exist_ok=True)
        self.guest = None
        ours, theirs = [], []
        for _ in range(2 if boot else 1):
            near, far = socket.socketpair()
            ours.append(near)
            theirs.append(far)
        command = [QEMU, "-accel", accel, "-display", "none", "-no-user-config"]
        command += ["-monitor", "none"] if defaults else ["-nodefaults", "-m", str(memory)]
        command += ["-chardev", f"socket,id=qmp,fd={theirs[0].fileno()}"]
        command += ["-mon", "chardev=qmp,mode=control"]
        command += ["-serial", f"file:{self.logs}/console.log"]
        if boot:
            files = make_guest(programs)
            command += ["-chardev", f"socket,id=agent,fd={theirs[1].fileno()}"]
            command += ["-serial", "chardev:agent"]
            command += ["-kernel", files / "kernel", "-initrd", files / "initrd"]
            command += ["-append", KERNEL_LINE]
        command += args
        command = (network.words if network else []) + command
        self.command = [str(word) for word in command]
        (self.logs / "command.txt").write_text(" ".join(self.command) + "\n")
        self._stderr = open(self.logs / "qemu.stderr", "wb")
        self.process = subprocess.Popen(
            self.command,
            env=library.environment(config),
            stdin=subprocess.DEVNULL,
            stdout=self._stderr,
            stderr=self._stderr,
            pass_fds=[sock.fileno() for sock in theirs],
            preexec_fn=None if outlives_us else end_with_parent,
            start_new_session=outlives_us,
        )
        self.pid = self.process.pid
        for sock in theirs:
            sock.close()
        self.qmp = Qmp(ours[0])
        if boot:
            self.guest = Guest(ours[1])
        try:
            self.qmp.start()
            self.library_path = library.check_loaded(self.pid)
        except BaseException as error:
            self.kill()
            raise AssertionError(f"QEMU did not start: {error}; {self.stderr()}") from error

    def stderr(self):
        return (self.logs / "qemu.stderr").read_text(errors="replace").strip()

    def alive(self):
        return self.process.poll() is None

    def status(self):
        return self.qmp.command("query-status")["status"]

    def quit(self, seconds=20):
        """An orderly end: QMP quit. Returns the exit status (negative: signal)."""
        if self.alive():
            try:
                self.qmp.command("quit", seconds=seconds)
            except Timeout:
                pass  # the monitor may be gone before the answer was read
        try:
            return self.wait_exit(seconds)
        finally:
            self.kill()

    def wait_exit(self, seconds=20):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Timeout(f"QEMU did not exit within {seconds} s") from None

    def kill(self):
        """Whatever the state: afterwards the process is gone, its files closed."""
        if self.alive():
            self.process.kill()
        self.process.wait()
        self.qmp.close()
        if self.guest:
            self.guest.close()
        self._stderr.close()


def mapped_files(pid, part):
    """Paths of the mapped files whose name contains `part`."""
    found = set()
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        words = line.split(None, 5)
        if len(words) == 6 and part in words[5].rsplit("/", 1)[-1]:
            found.add(words[5])
    return sorted(found)


def free_port():
    """A TCP port that is free on the loopback interface at this moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
