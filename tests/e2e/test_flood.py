"""Clients that have not authenticated, very many of them: what the machine feels of it,
and whether an honest client still comes in. On Debian's library the same is measured, but
nothing is required of it: it has neither a deadline nor limits."""

import json
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from lib import raw_link
from lib.bench import check
from lib.devices import MACHINE, PORT, SERIAL_BUS, port
from lib.waiting import wait_until

IDLE = 300
DEADLINE = 3
PASSWORD = "secret"
QUERIES = 200
# Fewer will do when answers are slow, as on Debian's library.
QUERIES_TAKE = 1.0
VISITS = 10
# What an honest client may need, in seconds.
SOON = 1.0
# How long it waits, to say how long that is on Debian's library.
PATIENCE = 5
# Connections a second of a flood. Without an end to it, eight processes measure which
# share of two processors the kernel leaves the server, as none from elsewhere could.
RATE = 4000
# Where the flood comes from, and another address.
FLOODER = "127.0.0.1"
OTHER = "127.0.0.2"
# Below this many seconds a latency says more of the two processors, which eight flooding
# processes share with the machine, than of the library.
NOISE = 0.001
DEVICES = MACHINE + SERIAL_BUS + port(1, PORT)


def start_vm(bench):
    """With a password; the flood knows none."""
    return machine(bench, "password-secret=secret")


def machine(bench, access, start=None):
    if is_ours(bench):
        bench.expect_stderr(r"Spice: .*(refused|waits for \d+ ms|\.\.\. and \d+ more links)")
    else:
        bench.expect_stderr("Spice: ")
    config = bench.logs / "link.toml"
    config.write_text(f"[link]\ndeadline = {DEADLINE}\n")
    secret = ["-object", f"secret,id=secret,data={PASSWORD}"]
    spice = ["-spice", f"port=PORT,addr=127.0.0.1,{access}"]
    return (start or bench.qemu)(DEVICES + secret + spice, config=config)


def is_ours(bench):
    return bench.library.name == "ours"


class Flood:
    """The program, from the first connection on."""

    def __init__(self, vm, kind, rate):
        program = Path(__file__).parent / "lib" / "flood_process.py"
        command = [sys.executable, program, str(vm.port), kind] + ([str(rate)] if rate else [])
        self.begin = time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)

    def __enter__(self):
        time.sleep(1)  # the places are held, the keys in stock are used up
        return self

    def __exit__(self, *_error):
        count, _ = self.process.communicate()
        self.rate = round(int(count) / (time.monotonic() - self.begin))


def latency(vm):
    """The median of many answers of the monitor, in seconds."""
    times = []
    while len(times) < QUERIES and sum(times) < QUERIES_TAKE:
        begin = time.monotonic()
        vm.qmp.command("query-status")
        times.append(time.monotonic() - begin)
    return statistics.median(times)


def visit(vm, address, password):
    """How long an honest client needs for a main and a port channel, in seconds."""
    begin = time.monotonic()
    connect = lambda: socket.create_connection(("127.0.0.1", vm.port), PATIENCE, (address, 0))
    with connect() as main, connect() as port_channel:
        assert raw_link.link(main, raw_link.MAIN, password=password) == raw_link.LINK_OK
        kind, body = raw_link.read_message(main)
        assert kind == raw_link.Session.INIT, kind
        session = int.from_bytes(body[:4], "little")
        result = raw_link.link(port_channel, raw_link.PORT, 0, session, password)
        assert result == raw_link.LINK_OK, result
        return time.monotonic() - begin


def visits(bench, vm, address, password):
    """Several of them; on Debian's library until one does not come in."""
    times = []
    try:
        while len(times) < VISITS:
            times.append(visit_again(vm, address, password))
    except (OSError, raw_link.Closed):
        if is_ours(bench):
            raise
        times.append(PATIENCE)
    return times


def visit_again(vm, address, password):
    """From the flooder's own address a client makes way for newer links as the flooder's do,
    if the processors have no time for it, and tries again. The whole of it in seconds."""
    begin = time.monotonic()
    while True:
        try:
            visit(vm, address, password)
            return time.monotonic() - begin
        except (OSError, raw_link.Closed):
            if address != FLOODER or time.monotonic() - begin > PATIENCE:
                raise


def during(bench, vm, kind, addresses, password=PASSWORD, rate=RATE):
    """The figures of a flood; ours have to be good. Where the flood has no end to its rate
    the median of the visits has to be."""
    quiet = latency(vm)
    with Flood(vm, kind, rate) as flood:
        flooded = latency(vm)
        times = {address: visits(bench, vm, address, password) for address in addresses}
    figures = {"connections a second": flood.rate,
               "query-status, quiet, ms": round(quiet * 1000, 2),
               "query-status, flooded, ms": round(flooded * 1000, 2)}
    for address, own in times.items():
        figures[f"main and port from {address}, median and longest, ms"] = [
            round(statistics.median(own) * 1000), round(max(own) * 1000)]
    note(bench, kind if rate else f"{kind} without an end", figures)
    if is_ours(bench):
        worst = max if rate else statistics.median
        assert flooded <= max(2 * quiet, NOISE), figures
        assert max(worst(own) for own in times.values()) < SOON, figures


def note(bench, name, figures):
    with open(bench.logs / "figures.json", "a", encoding="ascii") as file:
        file.write(json.dumps({name: figures}) + "\n")


def is_over(sock):
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


@check
def idle_connections(bench):
    """All are gone at the deadline; the machine does not feel them."""
    vm = bench.vm
    quiet = latency(vm)
    begin = time.monotonic()
    idle = [socket.create_connection(("127.0.0.1", vm.port), 10) for _ in range(IDLE)]
    held = latency(vm)
    took = visit(vm, FLOODER, PASSWORD)
    figures = {"query-status, quiet, ms": round(quiet * 1000, 2),
               "query-status, idle connections, ms": round(held * 1000, 2),
               "main and port, ms": round(took * 1000)}
    if is_ours(bench):
        left = lambda: [sock for sock in idle if not is_over(sock)]
        wait_until(lambda: not left(), DEADLINE + 5, "the idle connections to end")
        figures["gone after, s"] = round(time.monotonic() - begin, 1)
        assert time.monotonic() - begin >= DEADLINE - 0.5
        assert held <= max(2 * quiet, NOISE), figures
        assert took < SOON, figures
    note(bench, "idle", figures)
    for sock in idle:
        sock.close()


@check
def connections_of_all_kinds(bench):
    during(bench, bench.vm, "mixed", [FLOODER, OTHER])


@check
def links_that_leave(bench):
    """Each has taken a key."""
    during(bench, bench.vm, "link", [FLOODER, OTHER])


@check
def links_half_open(bench):
    """Each costs a key. Whoever floods from one's own address cannot be told from oneself
    and uses them up; anybody else gets his."""
    during(bench, bench.vm, "open", [OTHER])


@check
def links_half_open_without_an_end(bench):
    """As many as eight processes can, which fill the kernel's queue of new connections."""
    during(bench, bench.vm, "open", [OTHER], rate=None)


@check
def wrong_passwords(bench):
    """They delay their own address, nobody else."""
    during(bench, bench.vm, "wrong", [OTHER])


@check
def without_a_password(bench):
    vm = machine(bench, "disable-ticketing=on", bench.own_vm)
    during(bench, vm, "open", [FLOODER, OTHER], "")
    bench.quit_cleanly(vm)
