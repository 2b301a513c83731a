"""SASL: spice-gtk against a database that saslpasswd2 made, with the security layer on a
plain port and in a WebSocket, and without it over TLS."""

import contextlib
import os
import socket
import subprocess
import threading

from lib import raw_link
from lib.bench import check
from lib.devices import MACHINE, PORT, SERIAL_BUS, port
from lib.pki import Pki
from lib.spice_client import random_file
from lib.websocket import WebSocket
from test_port import echo

MIB = 1 << 20
USER, PASSWORD = "somebody", "open sesame"
MECHANISMS = "digest-md5 scram-sha-1 scram-sha-256"
# What a refused client makes either library say.
REFUSED = r"Spice: .*(SASL|sasl|not initialising RSA key|link from)"


def start_vm(bench):
    bench.expect_stderr(REFUSED)
    directory = bench.logs / "sasl"
    directory.mkdir(exist_ok=True)
    subprocess.run(["/usr/sbin/saslpasswd2", "-c", "-p", "-f", directory / "db", USER],
                   input=PASSWORD, text=True, check=True)
    # QEMU's name for itself.
    (directory / "qemu.conf").write_text(
        "pwcheck_method: auxprop\nauxprop_plugin: sasldb\n"
        f"sasldb_path: {directory}/db\nmech_list: {MECHANISMS}\n")
    pki = Pki(bench.logs / "x509")
    os.environ["SASL_CONF_PATH"] = str(directory)
    try:
        vm = bench.qemu(MACHINE + SERIAL_BUS + port(1, PORT) + [
            "-spice", f"port=PORT,tls-port=SECURE,addr=127.0.0.1,x509-dir={pki.directory},"
            "sasl=on"], boot=True)
    finally:
        del os.environ["SASL_CONF_PATH"]
    vm.pki = pki
    vm.guest.wait_boot()
    return vm


def connect(bench, secure=False, opened="main:0", user=USER, password=PASSWORD, port=None):
    vm = bench.vm
    where = ({"tls_port": vm.tls_port, "ca_file": str(vm.pki.ca)} if secure
             else {"port": port or vm.port})
    client = bench.client()
    client.open(connect=["port"], opened=opened, username=user, password=password, **where)
    return client


def refused(bench, **who):
    client = connect(bench, opened=None, **who)
    event = client.events.wait(
        lambda e: e["event"] == "channel-event" and e["channel"] == "main:0", 10, "an answer")
    client.stop()
    return event["what"]


def carry(source, sink):
    with contextlib.suppress(OSError, raw_link.Closed):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    source.close()
    sink.close()


def relay(listener, to):
    """Carries each connection over a WebSocket, for a client that knows none."""
    with contextlib.suppress(OSError):
        while True:
            near, _ = listener.accept()
            far = WebSocket(raw_link.connect(to, 60), seed=5)
            for ends in ((near, far), (far, near)):
                threading.Thread(target=carry, args=ends, daemon=True).start()


@check
def on_a_plain_port(bench):
    echo(bench, random_file(bench.logs / "random", 4 * MIB), connect(bench))


@check
def over_tls(bench):
    echo(bench, random_file(bench.logs / "random", 4 * MIB), connect(bench, secure=True))


@check
def inside_a_websocket(bench):
    """The security layer in frames that are cut anywhere."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=relay, args=(listener, bench.vm.port), daemon=True).start()
        echo(bench, random_file(bench.logs / "random", MIB),
             connect(bench, port=listener.getsockname()[1]))


@check
def wrong_ones_are_refused(bench):
    outcomes = {name: refused(bench, **who) for name, who in {
        "password": {"password": "wrong"},
        "no password": {"password": ""},
        "user": {"user": "nobody"},
        "password over TLS": {"password": "wrong", "secure": True},
    }.items()}
    bench.observe("outcomes", outcomes)
    assert "opened" not in outcomes.values(), outcomes
    # Closed earlier it would still link its port, for a session that has ended.
    connect(bench, opened="port:0").close()


@check
def a_first_message_is_seen(bench):
    """spice-gtk unwraps what its socket has, takes the link result and waits for more: with
    Debian's library it is a matter of luck whether it sees the first message of a channel
    on which nothing else is said."""
    if bench.library.name != "ours":
        return
    for _ in range(8):
        client = connect(bench)
        client.port_named(PORT)
        client.close()


@check
def the_host_says_so(bench):
    answer = bench.vm.qmp.command("query-spice")
    bench.observe("auth", answer["auth"])
    assert answer["auth"] == "sasl", answer
