"""What QEMU writes for its operator: nothing by default on either library, with GLib's
variable everything, and on ours what the configuration asks for, in text and in JSON."""

import json
import os
import re

from lib import raw_link
from lib.bench import PASSWORD_REFUSED, check
from lib.devices import MACHINE, PORT, SERIAL_BUS, port
from lib.pki import Pki
from lib.waiting import wait_until

DEVICES = MACHINE + SERIAL_BUS + port(1, PORT)
OPEN = ["-spice", "port=PORT,addr=127.0.0.1,disable-ticketing=on"]
# QEMU hangs itself into GLib's log, and writes information and messages like this.
PREFIX = r"qemu-system-x86_64: (.*: )?info: Spice: "


def is_ours(bench):
    return bench.library.name == "ours"


def machine(bench, args, log="", variable=None):
    """A machine for one check, with this in section [log] of its configuration file and
    GLib's variable in its environment."""
    config = bench.logs / "log.toml"
    config.write_text(f"[log]\n{log}\n")
    if variable:
        os.environ["G_MESSAGES_DEBUG"] = variable
    try:
        return bench.own_vm(DEVICES + args, config=config)
    finally:
        os.environ.pop("G_MESSAGES_DEBUG", None)


def visit(bench, vm, **options):
    """spice-gtk has a session and the port's channel, and leaves."""
    client = bench.client()
    options = options or {"port": vm.port}
    client.open(connect=["port"], **options)
    wait_until(lambda: len(vm.qmp.command("query-spice").get("channels", [])) == 2, 10,
               "both channels are there")
    client.close()
    wait_until(lambda: not vm.qmp.command("query-spice").get("channels"), 10,
               "the client has left")
    assert vm.quit() == 0
    return vm.stderr().splitlines()


@check
def nothing_by_default(bench):
    lines = visit(bench, machine(bench, OPEN))
    assert lines == [], lines
    bench.observe("lines of an ordinary session", len(lines))


@check
def everything_by_the_variable_of_glib(bench):
    for variable in ("Spice", "all"):
        lines = visit(bench, machine(bench, OPEN, variable=variable))
        assert sum(bool(re.match(PREFIX, line)) for line in lines) > 6, lines


@check
def who_comes_and_goes(bench):
    if not is_ours(bench):
        return
    pki = Pki(bench.logs / "pki")
    secured = ["-spice", f"tls-port=SECURE,addr=127.0.0.1,x509-dir={pki.directory},"
                         "disable-ticketing=on"]
    vm = machine(bench, secured, "level = 'info'")
    lines = visit(bench, vm, tls_port=vm.tls_port, ca_file=str(pki.ca))
    assert all(re.match(PREFIX + r"\S+\.rs:\d+: ", line) for line in lines if line), lines
    text = "\n".join(lines)
    tls = r"TLSv1\.3 TLS_\w+, no password"
    at = 0
    for pattern in (rf"listening on 127\.0\.0\.1:{vm.tls_port} \(TLS\)",
                    rf"char device port {PORT} is served: channel port:0",
                    rf"client 127\.0\.0\.1:\d+ connected: {tls}, session 0x",
                    rf"channel port:0 of 127\.0\.0\.1:\d+ opened: {tls}",
                    r"client 127\.0\.0\.1:\d+ left: "):
        found = re.compile(pattern).search(text, at)
        assert found, (pattern, text[at:])
        at = found.end()


@check
def one_object_a_line(bench):
    if not is_ours(bench):
        return
    vm = machine(bench, OPEN, "level = 'info'\nform = 'json'\n"
                              "categories = ['connection', 'device']")
    objects = [json.loads(line) for line in visit(bench, vm)]
    assert {line["level"] for line in objects} == {"info"}, objects
    assert {line["category"] for line in objects} == {"connection", "device"}, objects
    assert {line["process"] for line in objects} == {vm.pid}, objects
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["time"])
               for line in objects), objects
    times = [line["time"] for line in objects]
    assert times == sorted(times), times
    about = {key: {line[key] for line in objects if key in line} for key in ("channel", "device")}
    assert about == {"channel": {"main:0", "port:0"}, "device": {PORT}}, objects
    (came,) = [line for line in objects if "connected: plain" in line["message"]]
    assert f"client {came['peer']} connected" in came["message"], came
    assert any("connected: plain" in line["message"] for line in objects), objects


@check
def never_a_password(bench):
    """Not the right one and not a wrong one, however much is logged."""
    bench.expect_stderr(PASSWORD_REFUSED)
    for log in ("", "level = 'debug'", "level = 'debug'\nform = 'json'"):
        vm = machine(bench, ["-spice", "port=PORT,addr=127.0.0.1"], log, variable="all")
        vm.qmp.command("set_password", protocol="spice", password="open sesame")
        with raw_link.connect(vm.port) as wrong:
            assert raw_link.link(wrong, raw_link.MAIN, password="a good guess") != raw_link.LINK_OK
        with raw_link.connect(vm.port) as right:
            assert raw_link.link(right, raw_link.MAIN, password="open sesame") == raw_link.LINK_OK
        assert vm.quit() == 0
        text = vm.stderr()
        assert text and "sesame" not in text and "guess" not in text, text
