"""The programs spice-port and spice-serve as a user runs them."""

import os
import subprocess
from pathlib import Path

from .process import end_with_parent
from .qemu import free_port, mapped_files
from .waiting import wait_until

DEBIAN = "/usr/lib/x86_64-linux-gnu"


class Tools:
    """Both programs of a meson build directory."""

    def __init__(self, library, logs):
        self.library = library
        self.logs = Path(logs)
        self.port_program = library.build / "spice-port"
        self.serve_program = library.build / "tools" / "spice-serve"
        # The program itself would find ours: meson has told it where.
        self.library_directory = library.directory if library.file else DEBIAN
        self._started = []

    def port(self, *words, stdin=None, data=None, seconds=60):
        """Runs spice-port to its end: (status, stdout, stderr)."""
        run = subprocess.run([self.port_program, *map(str, words)], timeout=seconds,
                             stdin=stdin if data is None else None, input=data,
                             capture_output=True, preexec_fn=end_with_parent,
                             start_new_session=True)
        return run.returncode, run.stdout, run.stderr.decode()

    def begin_port(self, *words):
        """Starts spice-port with pipes."""
        process = subprocess.Popen([self.port_program, *map(str, words)], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   preexec_fn=end_with_parent, start_new_session=True)
        self._started.append(process)
        return process

    def serve(self, *words, listen=None, cwd=None):
        """Starts spice-serve on the library and waits until clients may come."""
        port = free_port()
        listen = listen or ["--port", port]
        directory = self.library_directory
        env = {**self.library.environment(), "LD_LIBRARY_PATH": str(directory)}
        log = self.logs / f"serve{len(self._started)}.stderr"
        with open(log, "wb") as out:
            process = subprocess.Popen([self.serve_program, *map(str, [*listen, *words])],
                                       stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env,
                                       cwd=cwd, preexec_fn=end_with_parent)
        self._started.append(process)
        process.log = log
        process.port = port
        process.uri = f"spice://127.0.0.1:{port}"
        wait_until(lambda: "ready" in log.read_text() or process.poll() is not None, 10,
                   "spice-serve is ready")
        assert process.poll() is None, f"spice-serve ended: {log.read_text()}"
        (loaded,) = mapped_files(process.pid, "libspice-server.so")
        assert os.path.dirname(loaded) == os.path.realpath(directory), loaded
        return process

    def stop(self):
        """Ends what is still running."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe:
                    pipe.close()
        self._started = []
