"""Both libraries seen from inside an unmodified QEMU; `scripts/bench --qemu` runs this.

A guest writes to and reads from a virtio port with dd, and reads a CD that a client shares
over usbredir. While a port over TLS is read at full speed, the time of QMP commands and the
lateness of a guest's timer are taken. The guest is emulated (TCG), so it is most of the
cost; what is compared are the libraries. Every byte that passes a port is compared.
"""

import argparse
import hashlib
import json
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from lib import raw_link  # noqa: E402
from lib.devices import MACHINE, PORT, SERIAL_BUS, USB_BUS, port, usbredir  # noqa: E402
from lib.pki import Pki  # noqa: E402
from lib.qemu import Library, Qemu, free_port  # noqa: E402
from lib.spice_client import SpiceClient, random_file, sha256_file  # noqa: E402
from test_usb import load_disc_drivers, make_iso, wait_drives  # noqa: E402

MIB = 1 << 20
DEVICE = f"/dev/virtio-ports/{PORT}"
DATA, PORT_INIT, PORT_EVENT = 101, 201, 202
OPENED, CLOSED = 0, 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mib", type=int, default=16, help="how much passes a port at a time")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = {"debian": [], "ours": []}
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        pki = Pki(directory / "pki")
        clock = directory / "clock"
        subprocess.run(["cc", "-O2", "-static", "-o", clock, HERE / "guest" / "clock.c"],
                       check=True)
        for number in range(options.rounds):
            for name, runs in results.items():
                print(f"bench: QEMU, round {number + 1} of {options.rounds}: {name}",
                      file=sys.stderr, flush=True)
                machine = Machine(Library(name, build=options.build),
                                  directory / f"{name}{number}", pki)
                try:
                    runs.append(machine.measure(clock, options.mib))
                finally:
                    machine.vm.kill()
    report(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


class Machine:
    def __init__(self, library, logs, pki):
        logs.mkdir()
        self.logs, self.pki = logs, pki
        self.port, self.secure = free_port(), free_port()
        spice = ["-spice", f"port={self.port},tls-port={self.secure},addr=127.0.0.1,"
                           f"disable-ticketing=on,x509-dir={pki.directory}"]
        self.vm = Qemu(library, logs, MACHINE + SERIAL_BUS + port(1, PORT) + USB_BUS
                       + usbredir(1) + spice, boot=True, memory=256)
        self.guest = self.vm.guest

    def measure(self, clock, mib):
        self.guest.wait_boot()
        load_disc_drivers(self.guest)
        values = {}
        with Channel(self.port) as channel:
            self.bring(channel, clock)
            values["dd, guest → client, MB/s"] = self.guest_to_client(channel, mib)
            values["dd, client → guest, MB/s"] = self.client_to_guest(channel, mib)
        values |= {f"idle: {name}": value for name, value in self.responses(None).items()}
        tls = ssl.create_default_context(cafile=self.pki.ca)
        with Channel(self.secure, tls) as channel:
            values |= {f"TLS flow: {name}": value
                       for name, value in self.responses(channel).items()}
        values["CD over usbredir, MB/s"] = self.read_cd()
        return values

    def bring(self, channel, program):
        """A program for the guest, through the port."""
        data = program.read_bytes()
        self.guest.background(f"wait_host {PORT}; head -c {len(data)} <{DEVICE} >/tmp/clock; "
                              "chmod +x /tmp/clock")
        channel.write(data)
        self.guest.wait_job()
        assert self.guest.sha256("/tmp/clock") == sha256_file(program)

    def guest_to_client(self, channel, mib):
        self.guest.sh(f"head -c {mib}m /dev/urandom >/tmp/data", 60)
        expected = self.guest.sha256("/tmp/data", 60)
        self.guest.background(f"/tmp/clock; dd if=/tmp/data of={DEVICE} bs=64k; /tmp/clock")
        data = channel.read(mib * MIB)
        log = self.guest.wait_job(120)
        assert hashlib.sha256(data).hexdigest() == expected, "the client got other bytes"
        return speed_of(log, mib * MIB)

    def client_to_guest(self, channel, mib):
        data = random_file(self.logs / "data", mib * MIB)
        self.guest.background(f"/tmp/clock; dd if={DEVICE} of=/tmp/data bs=64k iflag=fullblock "
                              f"count={mib * 16}; /tmp/clock")
        channel.write(Path(data).read_bytes())
        log = self.guest.wait_job(120)
        assert self.guest.sha256("/tmp/data", 60) == sha256_file(data), "the guest got other bytes"
        return speed_of(log, mib * MIB)

    def responses(self, channel):
        """QMP and a timer of the guest's, while a channel's port is read if there is one."""
        stop = threading.Event()
        if channel:
            self.guest.background(f"wait_host {PORT}; while [ ! -e /tmp/enough ]; do "
                                  f"dd if=/dev/zero bs=64k count=256; done >{DEVICE}",
                                  job="flow")
            reader = threading.Thread(target=channel.swallow, args=(stop,))
            reader.start()
            channel.flows.wait(30)
        self.guest.background("/tmp/clock 2000", job="clock")
        took = []
        until = time.monotonic() + 3
        while time.monotonic() < until:
            begun = time.monotonic()
            self.vm.qmp.command("query-status")
            took.append((time.monotonic() - begun) * 1e3)
            time.sleep(0.002)
        median, late, worst = (int(word) / 1e3
                               for word in self.guest.wait_job(120, job="clock").split())
        took.sort()
        values = {"QMP p50, ms": statistics.median(took),
                  "QMP p99, ms": took[len(took) * 99 // 100],
                  "guest's timer, late p50, ms": median,
                  "guest's timer, late p99, ms": late,
                  "guest's timer, late at most, ms": worst}
        if channel:
            values["MB/s"] = channel.rate()
            self.guest.sh("touch /tmp/enough")
            self.guest.wait_job(job="flow")
            stop.set()
            channel.close()
            reader.join()
        return values

    def read_cd(self):
        iso, _ = make_iso(self, "disc", 16 * MIB)
        client = SpiceClient(self.logs, "client")
        try:
            client.open(port=self.port, connect=["port"], usb=True)
            client.wait_channel("usbredir:0", "opened")
            client.command("share_cd", path=str(iso), seconds=20)
            wait_drives(self.vm, 1)
            self.guest.background("/tmp/clock; dd if=/dev/sr0 of=/tmp/data bs=64k iflag=direct; "
                                  "/tmp/clock")
            log = self.guest.wait_job(120)
            assert self.guest.sha256("/tmp/data", 60) == sha256_file(iso), "the disc differs"
        finally:
            client.stop()
        return speed_of(log, iso.stat().st_size)


class Channel:
    """A port's channel by hand; its main channel is read by a thread."""

    def __init__(self, address, tls=None):
        self.session = raw_link.Session(address, tls)
        self.sock = self.session.channel(raw_link.PORT)
        self.sock.settimeout(120)
        self.flows = threading.Event()
        self.opened = False
        self.swallowed, self.begun, self.last = 0, 0, 0
        threading.Thread(target=self._read_main, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for sock in (self.sock, self.session.main):
            try:
                sock.close()
            except OSError:
                pass

    def _read_main(self):
        try:
            self.session.main.settimeout(None)
            while self.session.main.recv(65536):
                pass
        except (OSError, ValueError):
            pass

    def wait_opened(self):
        """Until the guest has opened the port: with the reference, what comes before
        that is only taken when something else wakes the device."""
        while not self.opened:
            self._handle(*raw_link.read_message(self.sock))

    def _handle(self, kind, body):
        if kind == PORT_INIT:
            self.opened = bool(body[8])
        elif kind == PORT_EVENT and body[0] in (OPENED, CLOSED):
            self.opened = body[0] == OPENED

    def write(self, data):
        self.wait_opened()
        for at in range(0, len(data), 65536):
            self.sock.sendall(raw_link.message(DATA, data[at:at + 65536]))

    def read(self, count):
        """So many bytes of data, until the guest has closed the port."""
        parts, have = [], 0
        while have < count:
            kind, body = raw_link.read_message(self.sock)
            self._handle(kind, body)
            if kind == DATA:
                parts.append(body)
                have += len(body)
        while self.opened:
            self._handle(*raw_link.read_message(self.sock))
        return b"".join(parts)

    def swallow(self, stop):
        buffer = bytearray(MIB)
        try:
            while not stop.is_set():
                count = self.sock.recv_into(buffer)
                if not count:
                    break
                self.last = time.monotonic()
                self.begun = self.begun or self.last
                self.swallowed += count
                if self.swallowed > MIB:
                    self.flows.set()
        except (OSError, ValueError):
            pass

    def rate(self):
        return self.swallowed / 1e6 / (self.last - self.begun)


def speed_of(log, count):
    """MB/s, by the guest's clock before and after."""
    begin, *_, end = (int(word) for word in log.split("\n") if word.isdigit())
    return count / (end - begin)


def report(results):
    print(f"{'inside QEMU':<44}{'other':>10}{'ours':>10}{'ratio':>8}")
    for name in results["ours"][0]:
        other, ours = (statistics.median(run[name] for run in results[library])
                       for library in ("debian", "ours"))
        print(f"{name:<44}{other:>10.3g}{ours:>10.3g}{ours / other if other else 0:>8.2f}")


if __name__ == "__main__":
    main()
