"""An animation in the guest, as a real client sees it: it comes as a stream, costs a slow
network little, and leaves the client with the machine's own picture."""

import base64
import time

from lib.animation import Animation
from lib.bench import check
from lib.browser import Browser, WebServer
from lib.devices import SPICE_TCP
from lib.slow_path import SlowPath
from lib.waiting import wait_until
from test_display import READ_BACK, check_shown, screendump

RATE = 1_250_000  # 10 Mbit/s
SECONDS = 8
STREAM_BEGINS = "display_handle_stream_create"


def start_vm(bench):
    spice = SPICE_TCP[1] + ",streaming-video=filter"
    vm = bench.qemu(["-M", "pc", "-vga", "qxl", SPICE_TCP[0], spice], boot=True, memory=256)
    vm.guest.wait_boot()
    vm.animation = Animation(vm.guest)
    return vm


def connect(bench, port):
    client = bench.client(debug=True)
    client.open(port=port, connect=["display"], opened="display:0")
    client.wait("surface")
    return client


def wait_stream(client, count=1):
    wait_until(lambda: client.log().count(STREAM_BEGINS) >= count, 20, "a stream")


@check
def a_stream_that_ends_without_loss(bench):
    vm = bench.vm
    client = connect(bench, vm.port)
    check_shown(bench, vm, client, "before")
    for number in range(2):
        vm.animation.start()
        wait_stream(client, number + 1)
        time.sleep(2)
        vm.animation.stop()
        check_shown(bench, vm, client, f"after{number}")
    client.close()


@check
def who_comes_in_the_middle(bench):
    vm = bench.vm
    vm.animation.start()
    time.sleep(2)
    client = connect(bench, vm.port)
    wait_stream(client)
    vm.animation.stop()
    check_shown(bench, vm, client, "middle")
    client.close()


@check
def in_a_browser(bench):
    """spice-html5 draws frames as they come, and whole."""
    vm = bench.vm
    server, browser = WebServer(), Browser(bench.logs, "video")

    def shown():
        picture = browser.value(READ_BACK)
        return picture and (*picture[:2], base64.b64decode(picture[2]))

    try:
        browser.open(f"{server.origin}/spice_auto.html?host=127.0.0.1&port={vm.port}")
        wait_until(lambda: shown() == screendump(bench, vm, "page"), 30, "the machine's picture")
        vm.animation.start()
        time.sleep(4)
        vm.animation.stop()
        wait_until(lambda: shown() == screendump(bench, vm, "page"), 30, "the last picture")
    finally:
        browser.stop()
        server.close()
    wait_until(lambda: not vm.qmp.command("query-spice")["channels"], 10, "no more channels")


@check
def another_screen_in_the_middle(bench):
    vm = bench.vm
    client = connect(bench, vm.port)
    vm.animation.start()
    wait_stream(client)
    mark = vm.qmp.events.mark()
    vm.qmp.command("system_reset")
    vm.qmp.wait_event("RESET", mark=mark)
    vm.guest.wait_boot()
    check_shown(bench, vm, client, "reset")
    client.close()
    vm.animation = Animation(vm.guest)


@check
def a_slow_network_carries_it(bench):
    """The same behind 10 Mbit/s, short: `animation.py` measures it at length."""
    vm = bench.vm
    with SlowPath(vm.port, RATE) as path:
        client = connect(bench, path.port)
        vm.animation.start()
        wait_stream(client)
        time.sleep(1)
        mark, passed, begin = client.events.mark(), path.passed, time.monotonic()
        time.sleep(SECONDS)
        took = time.monotonic() - begin
        shown, rate = len(client.seen("colours", mark)) / took, (path.passed - passed) / took
        vm.animation.stop()
        check_shown(bench, vm, client, "slow")
        assert shown > 5, f"{shown:.1f} pictures a second"
        # As images it is half a megabyte.
        assert rate < 400_000, f"{rate:.0f} bytes a second"
        client.close()


@check
def a_very_slow_network_skips_frames(bench):
    """200 Kbit/s: what is late is not shown, and the end comes through."""
    vm = bench.vm
    with SlowPath(vm.port, 25_000) as path:
        client = connect(bench, path.port)
        vm.animation.start()
        wait_stream(client)
        time.sleep(5)
        vm.animation.stop()
        check_shown(bench, vm, client, "very-slow", 90)
        client.close()
