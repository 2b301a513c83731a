"""QEMU with as few rights as it can have: under its own sandbox, as a daemon, and without
a privilege or a configuration that it could read."""

import os
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace

from lib.bench import check
from lib.devices import MACHINE, PORT, SERIAL_BUS, SPICE_TCP, port
from lib.pki import Pki
from lib.qemu import QEMU, free_port
from lib.qmp import Qmp
from lib.waiting import wait_until
from test_lifecycle import exchange

DEVICES = MACHINE + SERIAL_BUS + port(1, PORT)
SANDBOX = ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
# Another user than everybody on this machine, as far as rights go: not a capability.
NOBODY = ["unshare", "--user"]


def threads(pid):
    """The names of a process's threads."""
    return {file.read_text().strip() for file in Path(f"/proc/{pid}/task").glob("*/comm")}


def connect(bench, **where):
    client = bench.client()
    client.open(connect=["port", "display"], **where)
    client.wait_channel("display:0", "opened")
    return client


@check
def under_the_sandbox(bench):
    """Keys for passwords, TLS, and the graphics device's worker: what needs a thread or a
    system call that an ordinary start has not made."""
    pki = Pki(bench.logs / "pki")
    vm = bench.own_vm(
        DEVICES + SANDBOX + ["-spice", f"port=PORT,tls-port=SECURE,addr=127.0.0.1,"
                                       f"x509-dir={pki.directory}"], boot=True)
    vm.qmp.command("set_password", protocol="spice", password="secret")
    vm.guest.wait_boot()
    for where in ({"port": vm.port}, {"tls_port": vm.tls_port, "ca_file": str(pki.ca)}):
        client = connect(bench, password="secret", **where)
        exchange(bench, vm, client)
        client.close()
    status = Path(f"/proc/{vm.pid}/status").read_text()
    assert "Seccomp:\t2" in status, "there is no sandbox"
    bench.quit_cleanly(vm)


@check
def without_rights_or_a_readable_configuration(bench):
    config = bench.logs / "config.toml"
    config.write_text('[io]\nhome = "nowhere"\n')
    config.chmod(0)
    assert subprocess.run([*NOBODY, "cat", config], capture_output=True).returncode != 0, \
        "the configuration can be read"
    vm = bench.own_vm(DEVICES + SPICE_TCP, boot=True, config=config,
                      network=SimpleNamespace(words=NOBODY))
    vm.guest.wait_boot()
    client = connect(bench, port=vm.port)
    exchange(bench, vm, client)
    client.close()
    status = Path(f"/proc/{vm.pid}/status").read_text()
    assert "CapEff:\t0000000000000000" in status, "there are rights left"
    bench.quit_cleanly(vm)


@check
def as_a_daemon(bench):
    """QEMU forks when it becomes one. Threads do not go along, so none may exist before."""
    number = free_port()
    command = [QEMU, "-accel", "tcg", "-display", "none", "-no-user-config", "-nodefaults", "-m",
               "64", *MACHINE, "-daemonize", "-pidfile", "pid",
               "-qmp", "unix:qmp,server=on,wait=off",
               "-spice", f"port={number},addr=127.0.0.1"]
    # The daemon keeps what it was given, so a pipe would not come to its end.
    with open(bench.logs / "stderr", "wb") as stderr:
        status = subprocess.run(command, cwd=bench.logs, env=bench.library.environment(),
                                stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr,
                                timeout=30).returncode
    said = (bench.logs / "stderr").read_text()
    assert status == 0 and not said, said
    pid = int((bench.logs / "pid").read_text())
    try:
        bench.library.check_loaded(pid)
        names = threads(pid)
        if bench.library.name == "ours":
            assert {"spice-io", "spice-keys", "SPICE Worker"} <= names, names
        with socket.socket(socket.AF_UNIX) as end:
            # The path may be longer than an address can be.
            directory = os.open(bench.logs, os.O_PATH)
            end.connect(f"/proc/self/fd/{directory}/qmp")
            os.close(directory)
            qmp = Qmp(end)
            qmp.start()
            qmp.command("set_password", protocol="spice", password="secret")
            client = bench.client()
            client.open(port=number, password="secret", connect=["display"])
            client.wait_channel("display:0", "opened")
            client.close()
            qmp.command("quit")
            wait_until(lambda: not is_running(pid), 20, "the end of the daemon")
            qmp.close()
    finally:
        if is_running(pid):
            os.kill(pid, 9)


def is_running(pid):
    """A daemon that ended may wait as a zombie for a parent that looks after it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
