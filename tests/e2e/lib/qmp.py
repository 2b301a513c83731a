"""A client for QEMU's machine protocol (QMP): commands, and the list of events."""

import json
import socket
import threading

from .waiting import Deadline, EventList, Timeout


class QmpError(Exception):
    """QEMU answered a command with an error."""

    def __init__(self, command, error):
        super().__init__(f"{command}: {error.get('desc')}")
        self.description = error.get("desc")
        self.kind = error.get("class")


class Qmp:
    """One monitor connection. Reads in a thread of its own; commands are not
    pipelined, so any thread may call `command`, one at a time."""

    def __init__(self, sock):
        self._sock = sock
        self._replies = EventList()
        self._lock = threading.Lock()
        self.events = EventList()
        self._reader = threading.Thread(target=self._read, name="qmp", daemon=True)
        self._reader.start()

    def start(self, seconds=30):
        self._replies.wait(lambda m: "QMP" in m, seconds, "QMP greeting")
        self.command("qmp_capabilities")

    def command(self, execute, fds=(), seconds=30, **arguments):
        """Runs a command and returns what it returns; underscores in argument
        names stand for the dashes of QMP."""
        arguments = {k.replace("_", "-"): v for k, v in arguments.items()}
        with self._lock:
            mark = self._replies.mark()
            line = json.dumps({"execute": execute, "arguments": arguments}).encode() + b"\n"
            try:
                if fds:
                    socket.send_fds(self._sock, [line], list(fds))
                else:
                    self._sock.sendall(line)
            except OSError as error:
                raise Timeout(f"QMP {execute}: QEMU has closed the monitor ({error})") from error
            reply = self._replies.wait(lambda m: True, seconds, f"QMP {execute}", mark)
        if "error" in reply:
            raise QmpError(execute, reply["error"])
        return reply["return"]

    def hmp(self, line):
        """A command of the human monitor; returns its text."""
        return self.command("human-monitor-command", command_line=line)

    def wait_event(self, name, seconds=10, mark=0, matches=lambda data: True):
        return self.events.wait(
            lambda e: e["event"] == name and matches(e.get("data", {})),
            seconds,
            f"QMP event {name}",
            mark,
        )

    def event_names(self, mark=0):
        return [e["event"] for e in self.events.since(mark)]

    def close(self):
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._reader.join(Deadline(5).left())
        self._sock.close()

    def _read(self):
        buffer = b""
        try:
            while chunk := self._sock.recv(65536):
                buffer += chunk
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    if line.strip():
                        message = json.loads(line)
                        (self.events if "event" in message else self._replies).add(message)
        except OSError:
            pass
        self._replies.close("QEMU closed the monitor")
        self.events.close("QEMU closed the monitor")
