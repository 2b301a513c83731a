"""Xspice: an X server that is its own SPICE host, on a chosen library."""

import os
import signal
import subprocess
from pathlib import Path

from .process import end_with_parent
from .qemu import free_port, mapped_files
from .waiting import wait_until

SOCKETS = Path("/tmp/.X11-unix")

# What Xspice makes by --auto, with the driver's options: Debian's takes none of the values
# that it says are its defaults, and ends at once without memory or a monitor.
CONFIGURATION = """Section "Device"
    Identifier "card"
    Driver "spiceqxl"
    Option "NumHeads" "1"
    Option "EnableImageCache" "True"
    Option "EnableFallbackCache" "True"
    Option "EnableSurfaces" "True"
    Option "SurfaceBufferSize" "128"
    Option "CommandBufferSize" "128"
    Option "FrameBufferSize" "16"
EndSection
Section "InputDevice"
    Identifier "pointer"
    Driver "xspice pointer"
EndSection
Section "InputDevice"
    Identifier "keyboard"
    Driver "xspice keyboard"
EndSection
Section "Screen"
    Identifier "screen"
    Device "card"
    DefaultDepth 24
EndSection
Section "ServerLayout"
    Identifier "layout"
    Screen "screen"
    InputDevice "keyboard"
    InputDevice "pointer"
EndSection
Section "ServerFlags"
    Option "AutoAddDevices" "False"
EndSection
"""


class Xspice:
    """A running one. `display` is its name for X programs, `port` that for clients."""

    def __init__(self, library, logs, *words):
        self.logs = Path(logs)
        self.port = free_port()
        for number in range(100 + os.getpid() % 1000, 10_000):
            self.files = [SOCKETS / f"X{number}", Path(f"/tmp/.X{number}-lock")]
            if not any(file.exists() for file in self.files):
                break
        self.display = f":{number}"
        # Xspice knows no way to start Xorg so that it ends with us.
        xorg = self.logs / "xorg"
        xorg.write_text('#!/bin/sh\nexec setpriv --pdeathsig KILL /usr/lib/xorg/Xorg "$@"\n')
        xorg.chmod(0o755)
        configuration = self.logs / "xspice.conf"
        configuration.write_text(CONFIGURATION)
        env = {**library.environment(), "HOME": str(self.logs), "TMPDIR": str(self.logs)}
        with open(self.logs / "xspice.log", "wb") as log:
            self.process = subprocess.Popen(
                ["Xspice", "--xorg", xorg, "--config", configuration, "--port", str(self.port),
                 "--disable-ticketing", *words, self.display, "-nolisten", "tcp", "-ac",
                 "-s", "0", "-logfile", self.logs / "xorg.log"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
                preexec_fn=end_with_parent)
        try:
            (loaded,) = wait_until(self._libraries, 30, f"an X server; see {log.name}")
            wanted = str(library.file) if library.file else "/usr/lib/"
            assert loaded.startswith(wanted), f"Xorg runs on {loaded}"
        except BaseException:
            self.stop()
            raise

    @property
    def xorg_pid(self):
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        with open(path, encoding="ascii") as children:
            return int(children.read().split()[0])

    def _libraries(self):
        """What Xorg has loaded of SPICE, once it listens; it answers when it is ready."""
        if self.process.poll() is not None:
            raise AssertionError(f"Xspice ended: {self.log()[-500:]}")
        return self.files[0].exists() and mapped_files(self.xorg_pid, "libspice-server.so")

    def log(self):
        return (self.logs / "xspice.log").read_text(errors="replace")

    def run(self, *words, seconds=60):
        """An X program; its output as bytes."""
        return subprocess.run([str(word) for word in words], check=True, timeout=seconds,
                              capture_output=True, env=self._environment()).stdout

    def begin(self, *words):
        """An X program that stays; it ends with the X server."""
        with open(self.logs / "programs.log", "ab") as log:
            return subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL,
                                    stdout=log, stderr=log, env=self._environment(),
                                    preexec_fn=end_with_parent)

    def _environment(self):
        return {**os.environ, "DISPLAY": self.display, "HOME": str(self.logs)}

    def stop(self):
        """Ends the X server in good order, and Xspice with it."""
        if self.process.poll() is None:
            os.kill(self.xorg_pid, signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for file in self.files:
            file.unlink(missing_ok=True)
