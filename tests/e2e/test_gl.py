"""Pictures in a graphics card's buffers, shown by spice-gtk on the same machine. QEMU needs a
card for that (`-spice gl=on` ends with "no drm render node available"), so the host is the
program gl-host, whose card is a piece of memory."""

import os
import subprocess

from lib.bench import check
from lib.process import end_with_parent
from lib.waiting import wait_until

HEIGHT = 48
XR24 = 0x34325258


class Host:
    """gl-host on the library, and its answers."""

    def __init__(self, bench):
        library = bench.library
        self.path = bench.logs / "spice.sock"
        self.path.unlink(missing_ok=True)
        env = library.environment()
        # The program finds our library by itself; it is to find Debian's as well.
        env.setdefault("LD_LIBRARY_PATH", "/usr/lib/x86_64-linux-gnu")
        self.process = subprocess.Popen(
            [library.build / "c-tests" / "gl-host", self.path], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=open(bench.logs / "host.stderr", "wb"), text=True,
            env=env, preexec_fn=end_with_parent)
        bench.at_end(self.kill)
        assert self.process.stdout.readline() == "listening\n", "the program does not listen"
        library.check_loaded(self.process.pid)

    def order(self, letter):
        self.process.stdin.write(letter)
        self.process.stdin.flush()

    def answer(self):
        return self.process.stdout.readline().split()

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def end(self):
        self.process.stdin.close()
        assert self.process.wait(20) == 0, f"the program ended with {self.process.returncode}"

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def connect(bench, host):
    client = bench.client()
    client.open(unix_path=str(host.path), connect=["display"], opened="display:0")
    return client


def check_picture(client, width, mark=0):
    """The client is shown a picture of this width."""
    client.wait("gl-picture", 10, mark, channel="display:0", width=width, height=HEIGHT,
                stride=width * 4, format=XR24, top_down=True)


def check_draw(host, client, width):
    """What the host draws is in the buffer that the client has, when it is told so."""
    mark = client.events.mark()
    host.order("d")
    word, shade = host.answer()
    assert word == "done", word
    client.wait("gl-draw", 10, mark, area=[0, 0, width, HEIGHT], shades=[int(shade)])


@check
def pictures_and_draws(bench):
    host = Host(bench)
    client = connect(bench, host)
    for width in (80, 96, 112):
        mark = client.events.mark()
        host.order("s")
        check_picture(client, width, mark)
        for _ in range(20):
            check_draw(host, client, width)
    host.order("e")
    client.close()
    host.end()


@check
def clients_come_and_go(bench):
    host = Host(bench)
    host.order("sd")
    assert host.answer()[0] == "done", "nobody looks"
    first = None
    for number in range(6):
        client = connect(bench, host)
        check_picture(client, 80)
        for _ in range(3):
            check_draw(host, client, 80)
        if number % 2:
            client.kill()
        else:
            client.close()
        host.order("d")
        assert host.answer()[0] == "done", "nobody looks any more"
        first = first or host.descriptors()
    # The I/O thread closes what it has when it comes round.
    wait_until(lambda: host.descriptors() <= first, 10, "the descriptors to be closed")
    host.end()


@check
def killed_while_a_draw_waits(bench):
    host = Host(bench)
    client = connect(bench, host)
    host.order("s")
    check_picture(client, 80)
    client.pause()
    host.order("d")
    client.kill()
    assert host.answer()[0] == "done"
    host.end()
