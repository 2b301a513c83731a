"""An animation in the guest: its kernel drives a qxl card, and photograph-like frames of
1024 by 300 pixels, as many as 640 by 480 has, are copied to the framebuffer without a
pause. They are waves of colour with equal lines, or a faint noise, which no compression
without loss makes smaller."""

import base64
import gzip
import math

WIDTH, HEIGHT = 1024, 300
FRAMES = 8
LINE = 2000  # of a script for the guest's agent
NOISE = "hijklmno" * 32  # what a byte becomes


def wave():
    """Twice a line, its colours in waves: a frame is one part of it again and again."""
    line = bytearray(WIDTH * 8)
    for at, length in enumerate((70, 45, 25)):
        line[at::4] = bytes(int(128 + 100 * math.sin(x / length)) for x in range(WIDTH * 2))
    return bytes(line)


class Animation:
    """Begins with `start`; `stop` returns when the last frame is on the screen."""

    def __init__(self, guest, noise=False):
        self.guest = guest
        guest.sh("load qxl; ls /dev/fb0; printf '\\033[?25l\\033[2J' >/dev/tty0; rm -f /tmp/text")
        if noise:
            for number in range(FRAMES):
                guest.sh(f"head -c {WIDTH * HEIGHT * 4} /dev/urandom | "
                         f"tr '\\000-\\377' {NOISE} >/tmp/frame{number}")
            return
        text = base64.b64encode(gzip.compress(wave(), 9)).decode()
        for at in range(0, len(text), LINE):
            guest.sh(f"printf %s '{text[at:at + LINE]}' >>/tmp/text")
        guest.sh("base64 -d </tmp/text | gunzip >/tmp/wave")
        for number in range(FRAMES):
            guest.sh(f"dd if=/tmp/wave bs=4 skip={number * 64} count={WIDTH} 2>/dev/null >/tmp/a;"
                     f" repeat_to /tmp/a {WIDTH * HEIGHT * 4} >/tmp/frame{number}")

    def start(self):
        names = " ".join(f"/tmp/frame{number}" for number in range(FRAMES))
        self.guest.background(
            f"touch /tmp/go; while [ -e /tmp/go ]; do for f in {names}; do "
            "dd if=$f of=/dev/fb0 bs=64k 2>/dev/null; usleep 30000; done; done")
        self.guest.sh("wait_until 5 test -e /tmp/go")

    def stop(self):
        self.guest.sh("rm /tmp/go")
        self.guest.wait_job()
