"""One run of one scenario: a host with a library, and a client."""

import json
import os
import subprocess
import threading

LIMIT = 60


class Failed(Exception):
    """A run did not end well, or data did not arrive as they left."""


class Bench:
    """Where programs, libraries and certificates are, and who runs where."""

    def __init__(self, build, libraries, pki, directory, together, fault=None):
        self.programs = build / "c-tests" / "bench"
        self.libraries = libraries
        self.pki = pki
        self.directory = directory
        self.together = together
        self.fault = fault
        self.one_processor = (os.cpu_count() or 1) == 1

    def host(self, library, transport, flow, **keys):
        """A host that is ready; `bare` is the one without a library."""
        program = "bench-bare" if library == "bare" else "bench-host"
        keys |= {"directory": self.directory, "pki": self.pki.directory}
        together = self.together or library == "bare"
        if not together and not self.one_processor:
            keys["pin"] = 0
        command = self._pinned(0 if together else None, program, transport, flow, keys)
        return Program(command, self._environment(library), subprocess.DEVNULL)

    def client(self, library, host, transport, flow, **keys):
        keys["ca"] = self.pki.ca
        if library == "bare":
            keys["bare"] = 1
        command = self._pinned(1, "bench-client", transport, host.where, flow, keys)
        return Program(command, self._environment(library))

    def _pinned(self, processor, program, *words):
        *words, keys = words
        command = [str(self.programs / program), *words]
        command += [f"{key}={value}" for key, value in keys.items()]
        if processor is None or self.one_processor:
            return command
        return ["taskset", "--cpu-list", str(processor), *command]

    def _environment(self, library):
        directory = self.libraries.get(library, self.libraries["ours"])
        env = {**os.environ, "LD_LIBRARY_PATH": str(directory),
               "SPICE_SERVER_CONFIG": "/nonexistent"}
        if self.fault:
            env["BENCH_FAULT"] = self.fault
        return env


class Program:
    """A running host or client, which says what it has to say in lines."""

    def __init__(self, command, env, stderr=None):
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, text=True,
                                        stdout=subprocess.PIPE, stderr=stderr)
        # What hangs is ended; its silence is then the failure.
        self.timer = threading.Timer(LIMIT, self.process.kill)
        self.timer.daemon = True
        self.timer.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.timer.cancel()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stdin.close()

    @property
    def where(self):
        """Where a host listens; to be asked once."""
        words = self.process.stdout.readline().split()
        if words[:1] != ["ready"]:
            raise Failed("the host does not start")
        return words[1]

    def line(self):
        line = self.process.stdout.readline()
        if not line:
            raise Failed(f"no result from {' '.join(self.process.args)}")
        return json.loads(line)

    def go_on(self):
        """Lets it come to its end."""
        self.process.stdin.close()

    def resident(self, field):
        """A field of the process's status, in KiB: VmRSS or VmHWM."""
        return self._status(self.process.pid, field)

    def sleeps(self):
        """How often all threads of it have gone to sleep."""
        tasks = os.listdir(f"/proc/{self.process.pid}/task")
        return sum(self._status(f"{self.process.pid}/task/{task}", "voluntary_ctxt_switches")
                   for task in tasks)

    @staticmethod
    def _status(path, field):
        with open(f"/proc/{path}/status", encoding="ascii") as lines:
            for line in lines:
                if line.startswith(field + ":"):
                    return int(line.split()[1])
        raise Failed(f"no {field} of {path}")


def compare(host, client):
    """What one side sent has to have arrived at the other, byte for byte."""
    for sent, heard, way in ((client.get("sent"), host.get("heard"), "to the device"),
                             (host.get("said"), client.get("heard"), "to the client")):
        if sent and heard and sent != heard:
            raise Failed(f"{sent} bytes were sent {way} and {heard} arrived")
    wrong = host.get("wrong", 0) + client.get("wrong", 0)
    if wrong:
        raise Failed(f"{wrong} runs of data are not what was sent")
