"""What a guest's animation costs on a slow network, on Debian's library or on ours:
pictures a second that a client shows, bytes, and the time of QEMU's main thread.

    /usr/bin/python3 tests/e2e/animation.py --lib debian --seconds 60
    /usr/bin/python3 tests/e2e/animation.py --lib ours --build build --seconds 60

The guest's kernel drives a qxl card and copies photograph-like frames of 1024 by 300
pixels, as many as 640 by 480 has, to its framebuffer. The network passes 10 Mbit/s."""

import argparse
import base64
import gzip
import math
import os
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from lib.qemu import Library, Qemu, free_port  # noqa: E402
from lib.slow_path import SlowPath  # noqa: E402
from lib.spice_client import SpiceClient  # noqa: E402

WIDTH, HEIGHT = 1024, 300
FRAMES = 8
RATE = 1_250_000
LINE = 2000  # of a script for the guest's agent
TICKS = os.sysconf("SC_CLK_TCK")


def wave():
    """Twice a line, its colours in waves: a frame is one part of it again and again."""
    line = bytearray(WIDTH * 8)
    for at, length in enumerate((70, 45, 25)):
        line[at::4] = bytes(int(128 + 100 * math.sin(x / length)) for x in range(WIDTH * 2))
    return bytes(line)


def main_thread_seconds(pid):
    fields = Path(f"/proc/{pid}/task/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--lib", choices=["ours", "debian"], default="ours")
    parser.add_argument("--build", default="build", help="meson build directory of ours")
    parser.add_argument("--home", choices=["main", "thread"])
    parser.add_argument("--seconds", type=int, default=10)
    return parser.parse_args()


def play(options, logs):
    port = free_port()
    library = Library(options.lib, options.build, options.home)
    vm = Qemu(library, logs / "vm", ["-M", "pc", "-vga", "qxl", "-spice",
                                     f"port={port},addr=127.0.0.1,disable-ticketing=on"],
              boot=True, memory=256)
    client = SpiceClient(logs)
    try:
        vm.guest.wait_boot()
        vm.guest.sh("load qxl; ls /dev/fb0")
        text = base64.b64encode(gzip.compress(wave(), 9)).decode()
        for at in range(0, len(text), LINE):
            vm.guest.sh(f"printf %s '{text[at:at + LINE]}' >>/tmp/text")
        vm.guest.sh("base64 -d </tmp/text | gunzip >/tmp/wave")
        for number in range(FRAMES):
            vm.guest.sh(f"dd if=/tmp/wave bs=4 skip={number * 64} count={WIDTH} 2>/dev/null >/tmp/a;"
                        f" for i in $(seq {HEIGHT}); do cat /tmp/a; done >/tmp/frame{number}")
        with SlowPath(port, RATE) as path:
            client.open(port=path.port, connect=["display"], opened="display:0")
            client.wait("surface")
            names = " ".join(f"/tmp/frame{number}" for number in range(FRAMES))
            vm.guest.background(
                f"touch /tmp/go; while [ -e /tmp/go ]; do for f in {names}; do "
                "dd if=$f of=/dev/fb0 bs=64k 2>/dev/null; usleep 30000; done; done")
            time.sleep(2)
            mark, before = client.events.mark(), main_thread_seconds(vm.pid)
            bytes_before, begin = path.passed, time.monotonic()
            time.sleep(options.seconds)
            took = time.monotonic() - begin
            shown = len(client.seen("colours", mark))
            print(f"{options.lib}: {shown / took:.1f} changes shown a second, "
                  f"{(path.passed - bytes_before) / took / 1000:.0f} kB/s, main thread "
                  f"{(main_thread_seconds(vm.pid) - before) / took * 1000:.1f} ms/s")
            vm.guest.sh("rm /tmp/go")
        client.stop()
    finally:
        client.stop()
        vm.kill()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as logs_of_run:
        play(parse(), Path(logs_of_run))
