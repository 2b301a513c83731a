"""One machine that is used for as long as one likes, by clients good and bad, in random
order; `scripts/soak --help` says how. Each use compares what it has moved or seen, and
leaves nothing behind: descriptors, threads and memory of QEMU are looked at after each.
"""

import argparse
import json
import os
import random
import shutil
import socket
import ssl
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from lib import raw_link  # noqa: E402
from lib.bench import Bench  # noqa: E402
from lib.devices import MACHINE, PORT, SERIAL_BUS, USB_BUS, VDAGENT, port, usbredir  # noqa: E402
from lib.growth import Growth  # noqa: E402
from lib.pki import Pki  # noqa: E402
from lib.qemu import Library  # noqa: E402
from lib.spice_client import random_file, sha256_file  # noqa: E402
from lib.waiting import wait_until  # noqa: E402
from test_display import check_shown, write  # noqa: E402
from test_hotplug import add_port, add_redir, remove_port, remove_redir  # noqa: E402
from test_port import echo  # noqa: E402
from test_usb import load_disc_drivers, make_iso, wait_drives  # noqa: E402

STATE = HERE.parent.parent / ".cache" / "soak"
DEVICE = f"/dev/virtio-ports/{PORT}"
MIB = 1 << 20
# A port's messages with data in them.
DATA, PACKED = 101, 102
# Between the lowest of the first quarter of samples and of the last one. malloc's holdings
# swing by several MiB, with Debian's library too; 4 KiB lost with each use show in an hour.
MEMORY_KIB = 8 << 10
# QEMU has a tree of all that it has translated of the guest's programs, beside the code
# itself; when there is no more room for that, both begin anew.
ACCEL = "tcg,thread=multi,tb-size=16"
# Below this there is no trend to speak of.
SAMPLES = 40


def parse():
    parser = argparse.ArgumentParser(
        prog="scripts/soak",
        description="Uses one machine (unmodified QEMU, a Linux guest, spice-gtk, and clients by "
        "hand that send nonsense) for SECONDS, in random order, and fails at the first thing that "
        "is wrong, or when QEMU has more descriptors, threads or memory than at the beginning.",
    )
    parser.add_argument("--lib", choices=["debian", "ours"], default="ours")
    parser.add_argument("--home", choices=["main", "thread"],
                        help="where our library serves connections (default: as it decides)")
    parser.add_argument("--build", default=str(HERE.parent.parent / "build"), metavar="DIR")
    parser.add_argument("--seed", type=int, help="the same order of uses as an earlier run's")
    parser.add_argument("--only", nargs="+", default=[], choices=[use.__name__ for use in USES],
                        metavar="USE", help="these uses instead of all: %(choices)s")
    parser.add_argument("seconds", nargs="?", type=int, default=3600, metavar="SECONDS",
                        help="default: 3600; each use is made once in any case")
    return parser.parse_args()


def start_vm(bench):
    # What clients are refused for is told; what the library has done wrong is not expected.
    bench.expect_stderr(r"Spice: (?!.*internal error)|SSL|error:[0-9A-F]{8}:")
    # QEMU's own words: when the guest talks to a port that is gone, of nonsense for usbredir,
    # and when what a client sent to a stopped machine comes after the client has gone.
    bench.expect_stderr(r"virtio-serial-bus: Unexpected port id|usbredirparser: |"
                        r"chardev_can_read called on non open chardev|^$")
    bench.pki = Pki(bench.logs / "pki")
    vm = bench.qemu(
        MACHINE + ["-mem-prealloc"] + SERIAL_BUS + port(1, PORT) + VDAGENT + USB_BUS + usbredir(1)
        + ["-spice", "port=PORT,tls-port=SECURE,addr=127.0.0.1,disable-ticketing=on,"
                     f"x509-dir={bench.pki.directory}"],
        boot=True, memory=256, accel=ACCEL)
    boot(vm)
    return vm


def boot(vm):
    vm.guest.wait_boot()
    load_disc_drivers(vm.guest)


# ---- what the machine is used for


def connect(bench, **options):
    """spice-gtk, in the clear or over TLS."""
    client = bench.client()
    if bench.random.random() < 0.5:
        options |= {"tls_port": bench.vm.tls_port, "ca_file": str(bench.pki.ca)}
    else:
        options["port"] = bench.vm.port
    client.open(**options)
    return client


def a_file_there_and_back(bench):
    size = bench.random.choice([1, 1000, 65536, MIB, bench.random.randrange(1, 4 * MIB)])
    echo(bench, random_file(bench.logs / "data", size), connect(bench, connect=["port"]))


def a_client_dies_while_it_sends(bench):
    """What it had sent by then is followed by what the next one sends."""
    vm = bench.vm
    vm.guest.background(f"""exec 3<>{DEVICE}; rm -f /tmp/stop; : >/tmp/in
        until test -e /tmp/stop; do cat <&3 >>/tmp/in; usleep 20000; done""")
    data = random_file(bench.logs / "data", 8 * MIB)
    first = connect(bench, connect=["port"])
    first.begin("send", channel=first.port_named(PORT, opened=True), path=str(data))
    time.sleep(bench.random.random() / 4)
    first.kill()
    mark = bench.logs / "mark"
    mark.write_text(f"the end is {bench.random.random():.16f}")
    second = connect(bench, connect=["port"])
    second.send(second.port_named(PORT, opened=True), mark)
    length = mark.stat().st_size
    vm.guest.sh(f"""wait_until 30 sh -c '[ "$(tail -c {length} /tmp/in)" = "{mark.read_text()}" ]'
        touch /tmp/stop""", 35)
    second.close()
    vm.guest.wait_job()
    kept = int(vm.guest.sh("stat -c %s /tmp/in")) - length
    assert vm.guest.sh(f"head -c {kept} /tmp/in | sha256sum").split()[0] == \
        sha256_file(data, 0, kept), "what the guest has is not what was sent"


def a_disc(bench):
    vm = bench.vm
    iso, _ = make_iso(bench, "disc", MIB)
    client = connect(bench, connect=["usbredir"], usb=True)
    client.wait_channel("usbredir:0", "opened")
    client.command("share_cd", path=str(iso), seconds=20)
    wait_drives(vm, 1)
    assert vm.guest.sha256("/dev/sr0", 60) == sha256_file(iso), "the disc reads differently"
    client.command("unshare_cd", path=str(iso))
    wait_drives(vm, 0)
    client.close()


def devices_come_and_go(bench):
    client = connect(bench, connect=["port", "usbredir"], usb=True)
    client.port_named(PORT)
    for _ in range(3):
        for add, remove in (add_port, remove_port), (add_redir, remove_redir):
            add(bench.vm)
            remove(bench.vm)
    client.close()


def the_screen(bench):
    client = connect(bench, connect=["display"], opened=None)
    client.wait_channel("display:0", "opened")
    write(bench.vm, f"picture {bench.random.random()}", bench.random.randrange(5, 60))
    check_shown(bench, bench.vm, client, "screen")
    client.close()


def visitors_by_hand(bench):
    """All channels of the machine, in the clear or over TLS, closed in any order."""
    for _ in range(10):
        session = raw_link.Session(*bench.random.choice([
            (bench.vm.port,),
            (bench.vm.tls_port, ssl.create_default_context(cafile=bench.pki.ca))]))
        sockets = [session.channel(*channel) for channel in session.channels] + [session.main]
        bench.random.shuffle(sockets)
        for sock in sockets:
            sock.close()


def nonsense(bench):
    """Bytes that are no link, links that are none, and messages that no client sends."""
    noise = lambda most: bench.random.randbytes(bench.random.randrange(1, most))
    for _ in range(30):
        kind = bench.random.randrange(4)
        try:
            if kind == 0:
                with raw_link.connect(bench.vm.port) as sock:
                    sock.sendall(noise(2000))
            elif kind == 1:
                message = bytearray(raw_link.link_message(bench.random.randrange(12)))
                message[bench.random.randrange(len(message))] ^= bench.random.randrange(1, 256)
                with raw_link.connect(bench.vm.port) as sock:
                    sock.sendall(message[:bench.random.randrange(1, len(message) + 1)])
            else:
                session = raw_link.Session(bench.vm.port)
                with session.main, session.channel(*bench.random.choice(session.channels)) as sock:
                    victim = bench.random.choice([session.main, sock])
                    # Data would be the guest's, and among those of the next use.
                    kinds = [number for number in range(300) if number not in (DATA, PACKED)]
                    victim.sendall(raw_link.message(bench.random.choice(kinds), noise(4000))
                                   if kind == 2 else noise(4000))
        except (OSError, raw_link.Closed):
            pass  # the server need not listen to the end


def many_that_say_nothing(bench):
    idle = [socket.create_connection(("127.0.0.1", bench.vm.port), 10) for _ in range(100)]
    visitors_by_hand(bench)
    for sock in idle:
        sock.close()


def a_pause(bench):
    vm = bench.vm
    client = connect(bench, connect=["port"])
    vm.qmp.command("stop")
    visitors = raw_link.connect(vm.port)
    vm.qmp.command("cont")
    visitors.close()
    client.stop()


def a_reset(bench):
    vm = bench.vm
    client = connect(bench, connect=["display", "port"])
    mark = vm.qmp.events.mark()
    vm.qmp.command("system_reset")
    vm.qmp.wait_event("RESET", mark=mark)
    boot(vm)
    client.close()


# The more often, the quicker it is.
USES = {a_file_there_and_back: 6, a_client_dies_while_it_sends: 4, a_disc: 1,
        devices_come_and_go: 3, the_screen: 2, visitors_by_hand: 5, nonsense: 6,
        many_that_say_nothing: 3, a_pause: 3, a_reset: 1}


# ---- the run


def private_kib(pid):
    """Memory of the process's own, without code: QEMU keeps what it has translated of the
    guest's, more and more of it."""
    total, counts = 0, False
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as file:
        for line in file:
            words = line.split()
            if not words[0].endswith(":"):
                counts = "x" not in words[1]
            elif counts and words[0] == "Private_Dirty:":
                total += int(words[1])
    return total


class Soak:
    def __init__(self, bench, seconds, wanted):
        self.bench = bench
        self.end = time.monotonic() + seconds
        self.uses = {use: weight for use, weight in USES.items()
                     if use.__name__ in wanted or not wanted}
        if bench.library.name == "debian":
            self.uses.pop(nonsense, None)  # it does not survive that
        self.counts = dict.fromkeys(self.uses, 0)
        self.memory = []
        self.growth = None
        self.told = time.monotonic()

    def run(self):
        """The reason of the failure, or None."""
        first = list(self.uses)
        self.bench.random.shuffle(first)
        for use in first:
            if error := self.use(use):
                return error
        self.growth = Growth(self.bench.vm)
        while time.monotonic() < self.end:
            (use,) = self.bench.random.choices(list(self.uses), list(self.uses.values()))
            if error := self.use(use):
                return error
        return self.judge_memory()

    def use(self, use):
        result = self.bench.run_check(use, self.leave_nothing)
        if result["error"]:
            where = "\n".join(f"    {line}" for line in result["where"])
            return f"{use.__name__}: {result['error']}\n{where}"
        self.counts[use] += 1
        if time.monotonic() - self.told > 60:
            self.told = time.monotonic()
            print(f"soak: {sum(self.counts.values())} uses, "
                  f"{self.memory[-1] if self.memory else 0} KiB", flush=True)
        return None

    def leave_nothing(self):
        """Clients have gone; QEMU has what it had before."""
        vm = self.bench.vm
        assert vm.status() == "running"
        wait_until(lambda: not vm.qmp.command("query-spice")["channels"], 20, "no more channels")
        complaints = self.bench.complaints(vm)
        assert not complaints, f"QEMU wrote to stderr: {complaints[:3]}"
        if self.growth:
            self.growth.check()
            self.memory.append(private_kib(vm.pid))

    def judge_memory(self):
        if len(self.memory) < SAMPLES:
            return None
        quarter = len(self.memory) // 4
        first, last = min(self.memory[:quarter]), min(self.memory[-quarter:])
        if last - first > MEMORY_KIB:
            return f"memory has grown from {first} KiB to {last} KiB: {self.memory}"
        return None

    def report(self, seed, error):
        uses = ", ".join(f"{use.__name__} {count}" for use, count in self.counts.items())
        print(f"soak: {uses}")
        if self.memory:
            print(f"soak: memory {self.memory[0]} KiB after the first round, at most "
                  f"{max(self.memory)}, {self.memory[-1]} in the end")
        (self.bench.logs / "memory.json").write_text(json.dumps(self.memory) + "\n")
        if error:
            print(f"why they failed:\n  {error}\n  again in this order: --seed {seed}; logs are in "
                  f"{self.bench.logs}")


def main():
    options = parse()
    os.environ["LC_ALL"] = "C.UTF-8"
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    title = options.lib + (f"-{options.home}" if options.home else "")
    print(f"soak: {title}, {options.seconds} s, seed {seed}", flush=True)
    shutil.rmtree(STATE / title, ignore_errors=True)
    (STATE / title).mkdir(parents=True)
    bench = Bench(sys.modules["__main__"], Library(options.lib, options.build, options.home),
                  STATE / title)
    bench.random = random.Random(seed)
    soak = Soak(bench, options.seconds, options.only)
    error = soak.run()
    if not error:
        result = bench.run_check(lambda b: b.quit_cleanly(b.vm))
        error = result["error"]
    soak.report(seed, error)
    print("0 passed, 1 failed" if error else "1 passed, 0 failed")
    return 1 if error else 0


if __name__ == "__main__":
    sys.exit(main())
