"""Statistics of a real machine: what readers are told is what was transferred. Debian's
library has no such socket: with it only the transfers run."""

import atexit
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from pathlib import Path

from lib.bench import check
from lib.devices import MACHINE, PORT, SERIAL_BUS, SPICE_TCP, port
from lib.spice_client import random_file, sha256_file
from lib.terminal import Terminal
from lib.tools import Tools
from lib.waiting import wait_until

SECOND = "org.example.second.0"
DEVICE = f"/dev/virtio-ports/{PORT}"
MIB = 1 << 20
NAME = "vm \"one\""
# What the socket's file makes of the name.
FILE = "vm _one_.socket"


def start_vm(bench):
    # A socket's path is short, a log directory's need not be.
    bench.directory = Path(tempfile.mkdtemp(prefix="spice-statistics-"))
    atexit.register(shutil.rmtree, bench.directory, ignore_errors=True)
    config = bench.logs / "config.toml"
    config.write_text(f"[statistics]\nsocket = \"{bench.directory}/{{name}}.socket\"\n"
                      "shared-memory = true\n")
    bench.config = config
    vm = bench.qemu(["-name", NAME] + MACHINE + SERIAL_BUS + port(1, PORT) + port(2, SECOND)
                    + SPICE_TCP, boot=True, config=config)
    vm.guest.wait_boot()
    return vm


def is_ours(bench):
    return bench.library.name == "ours"


def on_ours(function):
    def run(bench):
        if is_ours(bench):
            function(bench)

    run.__name__ = function.__name__
    return check(run)


class Reader:
    """A connection to the socket."""

    def __init__(self, bench):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(bench.directory / FILE))
        self.file = self.socket.makefile("rb")

    def ask(self, request=b"statistics\n"):
        self.socket.sendall(request)
        return json.loads(self.file.readline())

    def close(self):
        self.file.close()
        self.socket.close()


def statistics(bench):
    reader = Reader(bench)
    try:
        return reader.ask()
    finally:
        reader.close()


def channel(document, port_name):
    (found,) = [own for own in document["channels"] if own["port"] == port_name]
    return found


def echo(bench, data):
    """Sends a file into the guest and back, and stays."""
    vm = bench.vm
    client = bench.client()
    client.open(port=vm.port, connect=["port"])
    size = data.stat().st_size
    vm.guest.background(f"wait_host {PORT}; exec 3<>{DEVICE}; head -c {size} <&3 >/tmp/in; "
                        "sha256sum </tmp/in; cat /tmp/in >&3")
    name = client.port_named(PORT, opened=True)
    client.send(name, data)
    path = client.wait_received(name, size)
    assert vm.guest.wait_job().split()[0] == sha256_file(data)
    assert sha256_file(path) == sha256_file(data)
    return client


def moved(before, after):
    keys = [key for key, value in after.items() if isinstance(value, (int, float))]
    return {key: after[key] - (before[key] or 0) for key in keys}


@check
def bytes_of_a_transfer(bench):
    """8 MiB both ways with spice-gtk, to the byte."""
    assert bench.vm.alive()
    size = 8 * MIB
    before = channel(statistics(bench), PORT) if is_ours(bench) else None
    client = echo(bench, random_file(bench.logs / "random", size))
    if not is_ours(bench):
        return
    document = statistics(bench)
    now = channel(document, PORT)
    own = moved(before, now)
    assert own["in_data_bytes"] + own["in_decompressed_bytes"] == size, own
    assert own["out_data_bytes"] == size, own
    assert size < own["sent_bytes"] < size * 1.01, own
    assert size < own["received_bytes"] < size * 1.01, own
    assert own["sent_messages"] > 1 and own["received_messages"] > 0, own
    (one,) = document["clients"]
    assert one["peer"].startswith("127.0.0.1:"), one
    assert {own["name"] for own in one["connections"]} >= {"main:0", now["name"]}, one
    (link,) = [own for own in one["connections"] if own["name"] == now["name"]]
    assert link["out_data_bytes"] == size, link
    assert link["home"] in ("main", "thread") and link["encrypted"] is False, link
    assert bench.library.home in (None, link["home"]), link
    client.close()
    wait_until(lambda: not statistics(bench)["clients"], 20, "the client is gone")
    document = statistics(bench)
    # Who leaves takes nothing away.
    assert moved(now, channel(document, PORT))["out_data_bytes"] == 0
    assert document["vm"] == NAME and document["pid"] == bench.vm.pid, document
    assert document["links"]["authenticated"] >= 2, document["links"]
    assert document["endings"]["malformed"] == 0, document["endings"]
    assert 0 < document["host_thread_seconds"] < document["up_seconds"], document


@on_ours
def compressed_bytes_of_a_transfer(bench):
    """Text with spice-port, which LZ4 shrinks both ways."""
    guest = bench.vm.guest
    text = "".join(f"line {n}\n" for n in range(400_000))[:4 * MIB].encode()
    size = len(text)
    before = channel(statistics(bench), PORT)
    guest.background(f"wait_host {PORT}; exec 3<>{DEVICE}; head -c {size} <&3 >/tmp/in; "
                     "cat /tmp/in >&3")
    status, out, err = Tools(bench.library, bench.logs).port(
        f"spice://127.0.0.1:{bench.vm.port}", PORT, data=text)
    assert (status, err) == (0, ""), (status, err)
    assert out == text
    guest.wait_job()
    own = moved(before, channel(statistics(bench), PORT))
    assert own["in_data_bytes"] + own["in_decompressed_bytes"] == size, own
    assert 0 < own["in_compressed_bytes"] < own["in_decompressed_bytes"] // 2, own
    assert own["out_data_bytes"] == size, own
    assert own["out_uncompressed_bytes"] > size // 2, own
    assert 0 < own["out_compressed_bytes"] < own["out_uncompressed_bytes"] // 2, own
    assert own["sent_bytes"] < size and own["received_bytes"] < size, own


def parse_metrics(text):
    """What promtool checks of the format: a HELP and a TYPE before each family, families
    whole, labels quoted, values numbers, no sample twice."""
    kinds, samples, helped = {}, {}, set()
    current = None
    label = r'[a-z_]+="(?:[^"\\\n]|\\["\\n])*"'
    sample = re.compile(rf"^([a-z_:][a-z0-9_:]*)\{{({label}(?:,{label})*)\}} (-?[0-9.e+]+)$")
    assert text.endswith("\n")
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in helped, f"{name} twice"
            helped.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name in helped and name not in kinds, line
            assert kind in ("counter", "gauge"), line
            assert name.endswith("_total") == (kind == "counter"), line
            kinds[name] = kind
            current = name
        else:
            match = sample.match(line)
            assert match, f"not a sample: {line}"
            name, labels, value = match.groups()
            assert name == current, f"{line} stands in the family {current}"
            assert (name, labels) not in samples, f"{line} twice"
            samples[name, labels] = float(value)
    assert helped == set(kinds)
    return samples


@on_ours
def curl_reads_metrics(bench):
    client = bench.client()
    client.open(port=bench.vm.port, connect=["port"])
    client.port_named(PORT)
    run = subprocess.run(["curl", "-sS", "-i", "--unix-socket", bench.directory / FILE,
                          "http://localhost/metrics"], capture_output=True, timeout=60,
                         check=True)
    head, _, body = run.stdout.decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 OK\r\n"), head
    assert "Content-Type: text/plain; version=0.0.4" in head, head
    samples = parse_metrics(body)
    document = statistics(bench)
    vm = 'vm="vm \\"one\\""'
    now = channel(document, PORT)
    labels = f'{vm},channel="{now["name"]}",port="{PORT}"'
    for name in ("in_data_bytes", "out_data_bytes", "out_compressed_bytes"):
        assert samples[f"spice_channel_{name}_total", labels] == now[name], name
    assert samples["spice_server_clients", vm] == 1
    assert samples["spice_server_links_total", f'{vm},result="authenticated"'] \
        == document["links"]["authenticated"]
    (one,) = document["clients"]
    own = f'{vm},session="{one["session"]}",channel="main:0"'
    assert samples["spice_connection_sent_bytes_total", own] > 0
    client.close()


def top(bench, *words):
    program = bench.library.build / "spice-top"
    run = subprocess.run([program, *map(str, words)], capture_output=True, timeout=60,
                         stdin=subprocess.DEVNULL)
    return run.returncode, run.stdout.decode(), run.stderr.decode()


@on_ours
def spice_top_once(bench):
    client = bench.client()
    client.open(port=bench.vm.port, connect=["port"])
    client.port_named(PORT)
    path = bench.directory / FILE
    for place in (path, bench.directory):
        status, out, err = top(bench, "--once", "--json", place)
        assert (status, err) == (0, ""), (status, err)
        (line,) = out.splitlines()
        document = json.loads(line)
        assert document["socket"] == str(path) and document["vm"] == NAME, document
        assert channel(document, PORT)["connections"] == 1, document
    status, out, err = top(bench, "--once", path)
    assert (status, err) == (0, ""), (status, err)
    assert out.startswith(f"{NAME} ({path})\n") and PORT in out, out
    assert "127.0.0.1:" in out, out
    client.close()
    status, out, err = top(bench, "--once", bench.directory / "none")
    assert status == 1 and not out and "No such file" in err, (status, out, err)
    assert top(bench, "--nonsense")[0] == 2


@on_ours
def spice_top_in_a_terminal(bench):
    """It paints the machine and its client, and a key ends it; the terminal is as before."""
    client = bench.client()
    client.open(port=bench.vm.port, connect=["port"])
    client.port_named(PORT)
    top = Terminal([bench.library.build / "spice-top", "--interval", "0.2", bench.directory],
                   120, 30)
    bench.at_end(top.stop)
    wait_until(lambda: top.shows('vm "one"', "127.0.0.1:", "main:0", "to clients: "), 20,
               "a picture of the machine")
    top.press("c")
    wait_until(lambda: top.shows("CHANNEL") and not top.shows("127.0.0.1:"), 20, "the channels")
    top.press("q")
    assert top.wait_end() == 0
    client.close()


@on_ours
def who_talks_nonsense_is_cut(bench):
    assert bench.vm.alive()
    mode = os.stat(bench.directory / FILE).st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600, oct(mode)
    patient = Reader(bench)
    assert patient.ask()["format"] == 1
    for request, answer in [
        (b"what\n", b'{"error":"unknown request what"}\n'),
        (b"\x00\xff\n", None),
        (b"x" * 4096, b'{"error":"the request is too long"}\n'),
        (b"GET /x HTTP/1.1\r\n\r\n", None),
        (b"DELETE /metrics HTTP/1.1\r\n\r\n", None),
    ]:
        reader = Reader(bench)
        reader.socket.sendall(request)
        got = reader.file.read()
        assert got and (answer is None or got == answer), (request, got)
        reader.close()
    crowd = [Reader(bench) for _ in range(40)]
    crowd[-1].ask()
    for reader in crowd:
        reader.close()
    assert statistics(bench)["format"] == 1
    patient.close()


@on_ours
def the_socket_goes_with_the_machine(bench):
    """With an orderly end it goes. A killed machine leaves it, and the next one of the name
    replaces it."""
    assert bench.vm.alive()
    shared = Path("/dev/shm")
    place = bench.directory / "other.socket"
    words = ["-name", "other"] + MACHINE + SPICE_TCP

    def begin():
        vm = bench.own_vm(words, config=bench.config)
        assert place.is_socket() and (shared / f"spice.{vm.pid}").exists()
        return vm

    vm = begin()
    os.kill(vm.pid, signal.SIGKILL)
    vm.process.wait(20)
    assert place.is_socket(), "nobody could remove it"
    (shared / f"spice.{vm.pid}").unlink()
    vm = begin()
    status, out, _ = top(bench, "--once", "--json", place)
    assert status == 0 and json.loads(out)["pid"] == vm.pid, out
    assert vm.quit() == 0, vm.stderr()
    assert not place.exists() and not (shared / f"spice.{vm.pid}").exists()
