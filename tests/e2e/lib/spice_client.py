"""The tests' handle on a real SPICE client process (spice_client_process.py)."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

from .process import end_with_parent
from .waiting import Deadline, EventList, Timeout

PROCESS = Path(__file__).parent / "spice_client_process.py"
# The system's Python has the introspection bindings; another one may be on PATH.
PYTHON = "/usr/bin/python3"


class ClientError(AssertionError):
    """The client answered a command with an error."""


class SpiceClient:
    """A client process with one session that is not connected yet."""

    def __init__(self, logs, name="client", debug=False):
        """With `debug` the library's own account of what it does goes to its log."""
        self.directory = Path(logs) / name
        self.directory.mkdir(parents=True, exist_ok=True)
        near, far = socket.socketpair()
        self._sock = near
        self._number = 0
        self._replies = EventList()
        self.events = EventList()
        with open(self.directory / "client.log", "ab") as log:
            self.process = subprocess.Popen(
                [PYTHON, PROCESS, str(far.fileno()), self.directory],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[far.fileno()],
                preexec_fn=end_with_parent,
                env=dict(os.environ, SPICE_DEBUG="1") if debug else None,
            )
        far.close()
        self._reader = threading.Thread(target=self._read, name=name, daemon=True)
        self._reader.start()
        self.wait("ready", seconds=30)

    # ---- connecting

    def open(self, seconds=20, opened="main:0", **where):
        """Connects (`port=`, `tls_port=` with `ca_file=`, `unix_path=`, `password=`,
        `username=`; `connect=` names the types of channels to connect besides main) and waits until
        channel `opened` is up."""
        mark = self.events.mark()
        if "port" in where or "tls_port" in where:
            where.setdefault("host", "127.0.0.1")
        self.command("open", **where)
        if opened:
            self.wait_channel(opened, "opened", seconds, mark)
        return mark

    def close(self, seconds=10):
        """Ends the session; the process stays."""
        mark = self.events.mark()
        self.command("close")
        self.wait_channel("main:0", "closed", seconds, mark)

    def stop(self):
        """Ends the process: its sockets close as they would when a client dies."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self._sock.shutdown(socket.SHUT_RDWR)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(5)
        self._sock.close()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.stop()

    def pause(self):
        """The client stops reading its sockets, as one on a dead network would."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def log(self):
        """What the process has written so far."""
        return (self.directory / "client.log").read_text(errors="replace")

    # ---- commands and events

    def command(self, command, fds=(), seconds=30, **fields):
        return self.finish(self.begin(command, fds, **fields), seconds)

    def begin(self, command, fds=(), **fields):
        """Starts a command; `finish` waits for its reply."""
        self._number += 1
        line = json.dumps({"id": self._number, "command": command, **fields}).encode() + b"\n"
        if fds:
            socket.send_fds(self._sock, [line], list(fds))
        else:
            self._sock.sendall(line)
        return self._number, command

    def finish(self, begun, seconds=30):
        number, command = begun
        reply = self._replies.wait(
            lambda m: m["reply"] == number, seconds, f"client command {command}")
        if "error" in reply:
            raise ClientError(f"{command}: {reply['error']}")
        return reply

    def finished(self, begun):
        """Whether the reply has come already."""
        return any(m["reply"] == begun[0] for m in self._replies.since())

    def wait(self, event, seconds=10, mark=0, **fields):
        return self.events.wait(
            lambda e: e["event"] == event and all(e.get(k) == v for k, v in fields.items()),
            seconds, f"client event {event} {fields or ''}", mark)

    def wait_channel(self, channel, what, seconds=10, mark=0):
        """`what`: opened, closed, error-auth, error-link, error-io, error-connect…"""
        return self.wait("channel-event", seconds, mark, channel=channel, what=what)

    def seen(self, event, mark=0, **fields):
        return [e for e in self.events.since(mark) if e["event"] == event
                and all(e.get(k) == v for k, v in fields.items())]

    def channels(self):
        return self.command("list")["channels"]

    def port_named(self, name, seconds=10, mark=0, opened=False):
        """The channel ("port:0") of the port with this name, once PORT_INIT came;
        with `opened`, once the guest has it open."""
        channel = self.wait("port-init", seconds, mark, name=name)["channel"]
        if opened:
            self.wait("port-opened", seconds, mark, channel=channel, opened=True)
        return channel

    # ---- data

    def send(self, channel, path, seconds=60, **how):
        """Sends a file's bytes in chunks of 64 KiB, or with `seed=` of random sizes;
        returns when the last one is on its way."""
        return self.command("send", channel=channel, path=str(path), seconds=seconds, **how)

    def received(self, channel):
        """How much a port channel has received so far: (bytes, file). When the session
        has been opened anew, a late event of the channel's forerunner may be the last."""
        events = self.events.since()
        paths = [e["path"] for e in events
                 if e["event"] == "channel-new" and e["channel"] == channel]
        if not paths:
            raise AssertionError(f"the client has no channel {channel}")
        totals = [e["total"] for e in events if e["event"] == "data" and e["path"] == paths[-1]]
        return max(totals, default=0), paths[-1]

    def wait_received(self, channel, count, seconds=60, progress=None):
        """Waits until the channel has received `count` bytes in all; returns the file."""
        deadline = Deadline(seconds)
        while True:
            mark = self.events.mark()
            total, path = self.received(channel)
            if progress:
                progress(total)
            if total >= count:
                return path
            try:
                self.events.wait(
                    lambda e: e["event"] in ("data", "channel-destroy")
                    and e.get("channel") == channel,
                    min(1.0, deadline.left()), f"data on {channel}", mark)
            except Timeout:
                if deadline.passed() or self.process.poll() is not None:
                    raise Timeout(
                        f"{channel}: {total} of {count} bytes after {seconds} s") from None

    def _read(self):
        buffer = b""
        try:
            while chunk := self._sock.recv(65536):
                buffer += chunk
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    message = json.loads(line)
                    (self._replies if "reply" in message else self.events).add(message)
        except OSError:
            pass
        self._replies.close("the client process ended")
        self.events.close("the client process ended")


def sha256_file(path, start=0, count=None):
    with open(path, "rb") as file:
        file.seek(start)
        return hashlib.sha256(file.read() if count is None else file.read(count)).hexdigest()


def random_file(path, size):
    path = Path(path)
    path.write_bytes(os.urandom(size))
    return path
