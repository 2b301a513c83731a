"""Talks to the agent in the test guest (tests/e2e/guest/agent.sh)."""

import base64
import os
import socket
import subprocess
from pathlib import Path

from .waiting import Deadline, Timeout

MAKERS = Path(__file__).parent.parent / "guest"


def make_guest(programs=None):
    """The directory with `kernel` and `initrd`, made if it is not there yet;
    `programs` names a set that make-programs knows. Asking apt for versions takes
    seconds: child processes inherit the answer."""
    name, command = "SPICE_E2E_GUEST", [MAKERS / "make-guest"]
    if programs:
        make_guest()
        name, command = f"{name}_{programs.upper()}", [MAKERS / "make-programs", programs]
    if name not in os.environ:
        os.environ[name] = subprocess.check_output(command, text=True).strip()
    return Path(os.environ[name])


class GuestError(AssertionError):
    """A command in the guest ended with another status than expected."""


class Guest:
    """The agent's end on the host: a connected stream socket."""

    def __init__(self, sock):
        self._sock = sock
        self._buffer = b""
        self._number = 0
        self.boot_id = None

    def wait_boot(self, seconds=60):
        """Waits for the agent's greeting after a boot or a reset."""
        before = self.boot_id
        deadline = Deadline(seconds)
        while True:
            words = self._line(deadline, "the guest to boot").split()
            if len(words) == 2 and words[0] == b"@hello" and words[1] != before:
                self.boot_id = words[1]
                return

    def run(self, script, seconds=30):
        """Runs a shell script in the guest: (status, output as bytes)."""
        self._number += 1
        number = str(self._number).encode()
        encoded = base64.b64encode(script.encode())
        # The guest's terminal layer holds 4 KiB; nothing stops the sender.
        if len(encoded) > 3500:
            raise ValueError("script too long for the agent's line")
        self._sock.settimeout(seconds)
        self._sock.sendall(b"run %s %d %s\n" % (number, seconds, encoded))
        deadline = Deadline(seconds + 10)
        while True:
            words = self._line(deadline, f"the guest to run: {script}").split()
            if len(words) == 4 and words[0] == b"@done":
                output = self._exactly(int(words[3]), deadline, "output of a guest command")
                if words[1] == number:
                    return int(words[2]), output
            elif words and words[0] in (b"@hello", b"@what"):
                raise GuestError(f"guest agent lost the command ({words[0].decode()}): {script}")

    def sh(self, script, seconds=30):
        """Runs a shell script that must succeed and returns its output as text."""
        status, output = self.run(script, seconds)
        text = output.decode(errors="replace").strip()
        if status != 0:
            raise GuestError(f"in the guest: status {status} from: {script}\n{text}")
        return text

    def background(self, script, job="job"):
        """Runs a script in the guest's background; `wait_job` tells when it is done."""
        self.sh(f"rm -f /tmp/{job}.status; "
                f"{{ ({script}) >/tmp/{job}.log 2>&1; echo $? >/tmp/{job}.status; }} &")

    def job_end(self, seconds=60, job="job"):
        """Waits for the end of a background script: (status, output)."""
        self.sh(f"wait_until {seconds} test -s /tmp/{job}.status", seconds + 5)
        return int(self.sh(f"cat /tmp/{job}.status")), self.sh(f"cat /tmp/{job}.log")

    def wait_job(self, seconds=60, job="job"):
        """The output of a background script, which must succeed."""
        status, log = self.job_end(seconds, job)
        if status != 0:
            raise GuestError(f"background job in the guest: status {status}: {log}")
        return log

    def sha256(self, path, seconds=30):
        return self.sh(f"sha256sum {path}", seconds).split()[0]

    def close(self):
        self._sock.close()

    def _line(self, deadline, what):
        while b"\n" not in self._buffer:
            self._more(deadline, what)
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line

    def _exactly(self, count, deadline, what):
        while len(self._buffer) < count:
            self._more(deadline, what)
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def _more(self, deadline, what):
        if deadline.passed():
            raise Timeout(f"{what}: not within {deadline.seconds} s")
        self._sock.settimeout(deadline.left() + 0.001)
        try:
            chunk = self._sock.recv(65536)
        except socket.timeout:
            return
        except OSError as error:
            raise Timeout(f"{what}: the serial port is gone ({error})") from error
        if not chunk:
            raise Timeout(f"{what}: QEMU closed the serial port")
        self._buffer += chunk
