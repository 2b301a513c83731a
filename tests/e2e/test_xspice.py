"""Xspice, the library's other host: an X server whose screen and keyboard are a
client's. What the client shows is what X programs read back from the screen."""

from lib.bench import check
from lib.picture import ppm, xwd
from lib.waiting import wait_until
from lib.xspice import Xspice

PROGRAMS = (["xlogo", "-geometry", "200x200+20+20"],
            ["xclock", "-analog", "-update", "0", "-geometry", "200x200+240+20"],
            ["xlogo", "-render", "-geometry", "150x150+460+20"])
# A fixed number of each: how much is done does not depend on the machine.
PERFORMANCE = ("rect10", "rect100", "srect100", "tilerect100", "line100", "ftext", "copywinwin100",
               "copypixwin100", "scroll100", "putimage100", "shmput100", "getimage100", "popup",
               "aa10text", "comppixwin100")
SET_1_CODES = {"h": 35, "e": 18, "l": 38, "o": 24, "\n": 28}


def start(bench, *words):
    server = Xspice(bench.library, bench.logs, *words)
    bench.at_end(server.stop)
    server.run("xsetroot", "-solid", "#204060")
    return server


def connect(bench, server, *channels):
    client = bench.client()
    client.open(port=server.port, connect=["display", *channels], opened="display:0")
    return client


def check_shown(bench, server, client, name):
    """The client comes to show what is on the screen; returns that."""
    shot, dump = bench.logs / f"{name}-client.ppm", bench.logs / f"{name}.xwd"

    def same():
        saved = client.command("picture", channel="display:0", path=str(shot))["saved"]
        server.run("xwd", "-root", "-silent", "-out", dump)
        picture = xwd(dump.read_bytes())
        return picture if saved and ppm(shot.read_bytes()) == picture else None

    return wait_until(same, 30, f"the same picture in {shot.name} and {dump.name}", interval=0.2)


@check
def screen(bench):
    server = start(bench)
    client = connect(bench, server)
    bare = check_shown(bench, server, client, "bare")
    assert bare[2][:3] == bytes.fromhex("204060"), bare[2][:3]
    bench.observe("size", bare[:2])
    for program in PROGRAMS:
        server.begin(*program)
    done = bench.logs / "term"
    server.begin("xterm", "-geometry", "80x20+20+240", "-fn", "fixed", "-e", "sh", "-c",
                 "for i in $(seq 300); do echo line $i of a text that scrolls; done; "
                 f"echo done >{done}; sleep 1000")
    wait_until(done.exists, 30, "the text in the terminal")
    full = check_shown(bench, server, client, "programs")
    assert len(set(full[2][at:at + 3] for at in range(0, len(full[2]), 3))) > 2
    server.run("xsetroot", "-mod", 16, 5, "-fg", "red", "-bg", "blue")
    tests = [f"-{test}" for test in PERFORMANCE]
    server.run("x11perf", "-repeat", 1, "-reps", 2, "-sync", *tests, seconds=90)
    last = check_shown(bench, server, client, "after")
    client.close()
    late = connect(bench, server)
    assert check_shown(bench, server, late, "late") == last
    late.close()
    server.stop()


@check
def keyboard(bench):
    server = start(bench)
    client = connect(bench, server, "inputs")
    client.wait_channel("inputs:0", "opened")
    typed, ready = bench.logs / "typed", bench.logs / "ready"
    # Without a window manager what is under the pointer has the keyboard.
    server.begin("xterm", "-geometry", "170x58+0+0", "-fn", "fixed", "-e", "sh", "-c",
                 f"echo >{ready}; read line; echo \"$line\" >{typed}")
    wait_until(ready.exists, 30, "a terminal")
    for letter in "hello\n":
        code = SET_1_CODES[letter]
        client.command("inputs", calls=[["key_press", code], ["key_release", code]])
    wait_until(lambda: typed.exists() and typed.read_text(), 20, "what was typed")
    assert typed.read_text() == "hello\n", typed.read_text()
    client.close()
    server.stop()


@check
def clients_come_and_go_while_it_draws(bench):
    server = start(bench)
    busy = server.begin("x11perf", "-repeat", "1000", "-time", "1", "-rect100", "-scroll100",
                        "-putimage100")
    for number in range(10):
        client = connect(bench, server)
        client.wait("mark", 20)
        if number % 2:
            client.kill()
        else:
            client.close()
    busy.kill()
    busy.wait()
    client = connect(bench, server)
    check_shown(bench, server, client, "quiet")
    client.close()
    server.stop()
