"""spicy, spice-gtk's client with a window, on an X server without a screen."""

import os
import select
import subprocess
from pathlib import Path

from .process import end_with_parent
from .waiting import Timeout

X_SECONDS = 30


class Spicy:
    """One spicy on an X server of its own, connected to a TCP port of QEMU's."""

    def __init__(self, logs, name, port, shared_dir):
        self.directory = Path(logs) / name
        self.directory.mkdir(parents=True)
        self.processes = []
        try:
            display = self._start_x()
            self._start(["spicy", f"--uri=spice://127.0.0.1:{port}",
                         f"--spice-shared-dir={shared_dir}",
                         "--spice-disable-audio", "--spice-disable-usbredir"],
                        env=self._environment(display))
        except BaseException:
            self.stop()
            raise

    def stop(self):
        """The client is killed and its sockets close; the X server, asked to end, takes
        its files in /tmp along."""
        if len(self.processes) > 1:
            client = self.processes.pop()
            client.kill()
            client.wait()
        if self.processes:
            server = self.processes.pop()
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()

    def _environment(self, display):
        """Nothing of the user's is read or written, no bus is looked for."""
        env = dict(os.environ, DISPLAY=display, HOME=str(self.directory),
                   XDG_RUNTIME_DIR=str(self.directory), GSETTINGS_BACKEND="memory",
                   NO_AT_BRIDGE="1", GIO_USE_VFS="local")
        for name in ("WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "XDG_CONFIG_HOME"):
            env.pop(name, None)
        return env

    def _start_x(self):
        """The server picks a free display and tells its number when it is ready."""
        near, far = os.pipe()
        try:
            self._start(["Xvfb", "-displayfd", str(far), "-screen", "0", "1024x768x24",
                         "-nolisten", "tcp"], pass_fds=[far])
            os.close(far)
            far = None
            number = b""
            while not number.endswith(b"\n"):
                if not select.select([near], [], [], X_SECONDS)[0]:
                    raise Timeout(f"Xvfb told no display within {X_SECONDS} s")
                data = os.read(near, 64)
                if not data:
                    raise AssertionError(f"Xvfb did not start; see {self.directory}/Xvfb.log")
                number += data
            return ":" + number.decode().strip()
        finally:
            for fd in (near, far):
                if fd is not None:
                    os.close(fd)

    def _start(self, command, **options):
        with open(self.directory / f"{command[0]}.log", "wb") as log:
            self.processes.append(subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=end_with_parent, **options))
