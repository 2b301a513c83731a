"""What a test file is made of.

A test file has a function `start_vm(bench)` returning a running Qemu, and
functions marked `@check`, run in order on that machine. After a failed check
the machine is thrown away and the next check gets a new one, so that one
failure is one failure. When the file is done the machine must quit with status
0 and must not have complained on stderr: that is the check `quits`.
"""

import re
import shutil
import subprocess
import time
import traceback
from pathlib import Path

from .process import end_with_parent
from .qemu import Qemu, free_port
from .spice_client import SpiceClient
from .spicy import Spicy

TESTS = Path(__file__).parent.parent

# A client that closes its socket before it has read everything resets the
# connection, and both libraries say so. Every client that ends may do that.
CLIENT_GONE = r"Spice: .*(Connection reset by peer|Broken pipe)"

# Expected where a check brings a wrong password.
PASSWORD_REFUSED = r"Spice: .*([Pp]assword|[Tt]icket)"

# Our library says once of each function that does nothing yet that it was called.
NOT_YET = r"Spice: .*(spice_\w+): (.* is not available|not served yet.*)$"


def check(function):
    """Marks a function of a test file as a check."""
    function.is_check = True
    return function


class Bench:
    """Everything a check needs; one per test file."""

    def __init__(self, module, library, logs):
        self.module = module
        self.library = library
        self.logs = Path(logs)
        self.facts = {}
        self.expected_stderr = [CLIENT_GONE]
        self._vm = None
        self._vms = 0
        self._extra = []
        self._clients = []
        self._client_names = 0
        self._processes = []
        self._ends = []

    # ---- what checks use

    @property
    def vm(self):
        if self._vm is None:
            self._vm = self.module.start_vm(self)
        return self._vm

    def qemu(self, args, library=None, **options):
        """Starts a machine; the SPICE port's number is in its `port`, that of the TLS port
        in its `tls_port`. The tests' `-spice` options have the words PORT and SECURE in
        their places. `library` is another one than the file's."""
        self._vms += 1
        logs = self.logs / f"vm{self._vms}"
        for attempt in range(3):
            port, secure = free_port(), free_port()
            words = [str(word).replace("PORT", str(port)).replace("SECURE", str(secure))
                     for word in args]
            try:
                vm = Qemu(library or self.library, logs, words, **options)
            except AssertionError as error:
                # Somebody else took the port between free_port and QEMU's bind.
                if attempt < 2 and "in use" in str(error):
                    continue
                raise
            vm.port, vm.tls_port = port, secure
            return vm

    def own_vm(self, args, **options):
        """A machine for one check only; it is ended with the check."""
        vm = self.qemu(args, **options)
        self._extra.append(vm)
        return vm

    def client(self, **options):
        """A client process for one check; it is ended with the check."""
        self._client_names += 1
        client = SpiceClient(self.logs, f"client{self._client_names}", **options)
        self._clients.append(client)
        return client

    def process(self, command):
        """A program with pipes for its input and output, ended with the check."""
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   preexec_fn=end_with_parent)
        self._processes.append(process)
        return process

    def at_end(self, end):
        """Calls this when the check is over, however it ends."""
        self._ends.append(end)

    def spicy(self, **options):
        """A client with a window, for one check like the others."""
        self._client_names += 1
        client = Spicy(self.logs, f"spicy{self._client_names}", **options)
        self._clients.append(client)
        return client

    def observe(self, name, value):
        """Notes something that must be the same with both libraries."""
        self.facts[name] = value

    def expect_stderr(self, pattern):
        """Lines like this on QEMU's stderr are what this file provokes."""
        self.expected_stderr.append(pattern)

    def complaints(self, vm):
        not_yet = set()
        complaints = []
        for line in vm.stderr().splitlines():
            match = re.search(NOT_YET, line)
            if match and self.library.name == "ours" and match[1] not in not_yet:
                not_yet.add(match[1])
            elif not any(re.search(p, line) for p in self.expected_stderr):
                complaints.append(line)
        return complaints

    def quit_cleanly(self, vm):
        """QEMU ends by `quit` with status 0 and without a word on stderr."""
        assert vm.alive(), f"QEMU died: status {vm.process.poll()}; {vm.stderr()}"
        status = vm.quit()
        complaints = self.complaints(vm)
        assert status == 0, f"QEMU's exit status is {status}; {vm.stderr()}"
        assert not complaints, f"QEMU wrote to stderr: {complaints}"

    # ---- running

    def run(self, report, only=None):
        checks = [f for f in vars(self.module).values() if getattr(f, "is_check", False)]
        for function in checks:
            if not only or function.__name__ in only:
                report(self._run_one(function.__name__, lambda f=function: f(self)))
        if self._vm is not None:
            vm, self._vm = self._vm, None
            report(self._run_one("quits", lambda: self.quit_cleanly(vm)))
            vm.kill()

    def run_check(self, function, afterwards=None):
        """One check, for programs that choose; `afterwards` is called when its clients have
        gone and is a part of it."""
        return self._run_one(function.__name__, lambda: function(self), afterwards)

    def _run_one(self, name, body, afterwards=None):
        self.facts = {}
        begin = time.monotonic()
        error, where = None, []
        try:
            body()
            if afterwards:
                self._end_clients()
                afterwards()
        except Exception as problem:
            (self.logs / f"{name}.traceback").write_text(traceback.format_exc())
            error = f"{type(problem).__name__}: {problem}" if str(problem) else traceback.format_exc(-1)
            error += self._vm_state()
            where = frames(problem)
        self._end_clients(keep=error)
        for end in self._ends:
            end()
        self._ends = []
        for process in self._processes:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()
        self._processes = []
        for vm in self._extra + ([self._vm] if error and self._vm else []):
            vm.kill()
        self._extra = []
        if error:
            self._vm = None
        return {
            "check": f"{self.module.__name__.removeprefix('test_')}.{name}",
            "passed": error is None,
            "seconds": round(time.monotonic() - begin, 1),
            "error": error,
            "where": where,
            "facts": self.facts,
        }

    def _end_clients(self, keep=False):
        for client in self._clients:
            client.stop()
            if not keep:
                shutil.rmtree(client.directory)  # what it received: many megabytes
        self._clients = []

    def _vm_state(self):
        text = ""
        for vm in self._extra + [self._vm]:
            if vm is not None and not vm.alive():
                text += f" [QEMU is dead, status {vm.process.poll()}]"
            if vm is not None and self.complaints(vm):
                text += f" [QEMU's stderr ends: {self.complaints(vm)[-3:]}]"
        return text


def frames(problem):
    """The lines of the tests that led to an exception, outermost first."""
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}: {frame.line}"
            for frame in traceback.extract_tb(problem.__traceback__)
            if Path(frame.filename).is_relative_to(TESTS) and frame.name not in ("_run_one", "<lambda>")]
