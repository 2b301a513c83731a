"""spice-top at work, as the documents show it: two machines, a client with a screen and a
port, and what they really move. The picture is left in the logs; `scripts/pictures` puts it
into docs/."""

import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

from lib.animation import Animation
from lib.bench import check
from lib.devices import PORT, SERIAL_BUS, SPICE_TCP, port
from lib.spice_client import random_file
from lib.terminal import Terminal

MIB = 1 << 20
DEVICE = f"/dev/virtio-ports/{PORT}"
# How long there is something to see; the documents' picture has a longer history.
SECONDS = float(os.environ.get("PICTURE_SECONDS", "3"))
INTERVAL = 0.25


def is_at_work(top):
    """Both machines are shown, the client's channels, and what they move now."""
    busy = r"to clients: [0-9.]+ MiB/s"
    return top.shows("desktop-1", "desktop-2", "127.0.0.1:", "display:0", PORT) \
        and re.search(busy, top.screen.text())


@check
def spice_top(bench):
    if bench.library.name != "ours":
        return
    directory = Path(tempfile.mkdtemp(prefix="spice-pictures-"))
    bench.at_end(lambda: shutil.rmtree(directory, ignore_errors=True))
    config = bench.logs / "config.toml"
    config.write_text(f"[statistics]\nsocket = \"{directory}/{{name}}.socket\"\n")
    busy = bench.own_vm(["-name", "desktop-1", "-M", "pc", "-vga", "qxl"] + SERIAL_BUS
                        + port(1, PORT) + [SPICE_TCP[0], SPICE_TCP[1] + ",streaming-video=all"],
                        boot=True, memory=256, config=config)
    bench.own_vm(["-name", "desktop-2", "-M", "pc", "-S"] + SPICE_TCP, config=config)
    busy.guest.wait_boot()
    animation = Animation(busy.guest)
    client = bench.client()
    client.open(port=busy.port, connect=["port", "display", "inputs", "cursor"])
    name = client.port_named(PORT)
    busy.guest.background(f"wait_host {PORT}; exec 3<>{DEVICE}; cat <&3 >&3", job="echo")
    client.port_named(PORT, opened=True)
    top = Terminal([bench.library.build / "spice-top", "--interval", str(INTERVAL), directory],
                   120, 24)
    bench.at_end(top.stop)
    animation.start()
    begin, size, picture = time.monotonic(), 0, None
    while picture is None or time.monotonic() < begin + SECONDS:
        assert time.monotonic() < begin + SECONDS + 30, f"no traffic is shown: {top.look()}"
        # Files of several sizes, each when the graphs show the one before.
        size = size % 4 + 1
        client.send(name, random_file(bench.logs / "file", size * MIB))
        end = time.monotonic() + 1
        while time.monotonic() < end and not is_at_work(top):
            pass
        if is_at_work(top):
            picture = top.screen.svg("spice-top: two machines, one with a client at work")
    animation.stop()
    top.press("q")
    assert top.wait_end() == 0
    texts = " ".join(ElementTree.fromstring(picture).itertext())
    for words in ("SERVER", "desktop-1", "to clients: ", PORT, "q end"):
        assert words in texts, (words, texts)
    assert picture.count('fill="#7fb4ca"') > 4, "there are no graphs"
    (bench.logs / "spice-top.svg").write_text(picture)
