"""What a guest's animation costs on a slow network, on Debian's library or on ours:
pictures a second that a client shows, bytes, and the time of QEMU's main thread.

    /usr/bin/python3 tests/e2e/animation.py --lib debian --seconds 60
    /usr/bin/python3 tests/e2e/animation.py --lib ours --build build --seconds 60

The guest's kernel drives a qxl card and copies photograph-like frames of 1024 by 300
pixels, as many as 640 by 480 has, to its framebuffer. The network passes 10 Mbit/s."""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from lib.animation import Animation  # noqa: E402
from lib.qemu import Library, Qemu, free_port  # noqa: E402
from lib.slow_path import SlowPath  # noqa: E402
from lib.spice_client import SpiceClient  # noqa: E402

RATE = 1_250_000
TICKS = os.sysconf("SC_CLK_TCK")


def main_thread_seconds(pid):
    fields = Path(f"/proc/{pid}/task/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--lib", choices=["ours", "debian"], default="ours")
    parser.add_argument("--build", default="build", help="meson build directory of ours")
    parser.add_argument("--home", choices=["main", "thread"])
    parser.add_argument("--streaming", choices=["off", "filter", "all"], default="filter",
                        help="QEMU's streaming-video (default: filter; QEMU's own is off)")
    parser.add_argument("--noise", action="store_true", help="frames of noise, not of waves")
    parser.add_argument("--seconds", type=int, default=10)
    return parser.parse_args()


def play(options, logs):
    port = free_port()
    library = Library(options.lib, options.build, options.home)
    vm = Qemu(library, logs / "vm", ["-M", "pc", "-vga", "qxl", "-spice",
                                     f"port={port},addr=127.0.0.1,disable-ticketing=on,"
                                     f"streaming-video={options.streaming}"],
              boot=True, memory=256)
    client = SpiceClient(logs)
    try:
        vm.guest.wait_boot()
        animation = Animation(vm.guest, options.noise)
        with SlowPath(port, RATE) as path:
            client.open(port=path.port, connect=["display"], opened="display:0")
            client.wait("surface")
            animation.start()
            time.sleep(5)  # until it is a stream, and the pace is found
            mark, before = client.events.mark(), main_thread_seconds(vm.pid)
            bytes_before, begin = path.passed, time.monotonic()
            time.sleep(options.seconds)
            took = time.monotonic() - begin
            shown = len(client.seen("colours", mark))
            print(f"{options.lib}: {shown / took:.1f} changes shown a second, "
                  f"{(path.passed - bytes_before) / took / 1000:.0f} kB/s, main thread "
                  f"{(main_thread_seconds(vm.pid) - before) / took * 1000:.1f} ms/s")
            animation.stop()
        client.stop()
    finally:
        client.stop()
        vm.kill()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as logs_of_run:
        play(parse(), Path(logs_of_run))
