"""spice-port and spice-serve: every way out that their manuals name, on QEMU with a guest
and on spice-serve, which itself runs on either library."""

import hashlib
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

from lib.bench import PASSWORD_REFUSED, check
from lib.devices import MACHINE, PORT, SERIAL_BUS, port, serial
from lib.pki import Pki
from lib.qemu import free_port
from lib.spice_client import random_file, sha256_file
from lib.tools import Tools
from lib.waiting import wait_until

MIB = 1 << 20
SECOND = "org.example.second.0"
DEVICE = f"/dev/virtio-ports/{PORT}"
(LOST, ARGUMENTS, NO_CONNECTION, TLS, PASSWORD, NO_PORT, BUSY, LEFT_OVER,
 LOCAL) = range(1, 10)
# What a client that refuses our certificate, or asks for a channel that does not exist, makes
# either library say.
REFUSED = r"SSL|TLS|error:[0-9A-F]{8}:|Spice: .*(link from|channel_type !=)"


def start_vm(bench):
    bench.expect_stderr(REFUSED)
    bench.pki = Pki(bench.logs / "pki")
    vm = bench.qemu(MACHINE + SERIAL_BUS + port(1, PORT) + port(2, SECOND) + [
        "-spice", f"port=PORT,tls-port=SECURE,addr=127.0.0.1,x509-dir={bench.pki.directory},"
                  "disable-ticketing=on"], boot=True)
    vm.guest.wait_boot()
    return vm


def with_tools(function):
    """A check that gets both programs, which end with it."""
    def run(bench):
        tools = Tools(bench.library, bench.logs)
        try:
            function(bench, tools)
        finally:
            tools.stop()
        # The next check's guest would take this one's client for its own.
        bench.vm.guest.sh(f"wait_no_host {PORT}")

    run.__name__ = function.__name__
    return check(run)


def plain(vm):
    return f"spice://127.0.0.1:{vm.port}"


def secured(vm):
    return f"spice+tls://127.0.0.1:{vm.tls_port}"


def echo(bench, tools, uri, data, *words):
    """A file into the guest and back by a shell's means; the guest closes at the end."""
    guest = bench.vm.guest
    size = data.stat().st_size
    guest.background(f"wait_host {PORT}; exec 3<>{DEVICE}; head -c {size} <&3 >/tmp/in; "
                     "sha256sum </tmp/in; cat /tmp/in >&3")
    with open(data, "rb") as file:
        status, out, err = tools.port(*words, uri, PORT, stdin=file)
    assert (status, err) == (0, ""), (status, err)
    assert guest.wait_job().split()[0] == sha256_file(data), "the guest got other bytes"
    assert hashlib.sha256(out).hexdigest() == sha256_file(data), \
        f"other bytes came back, {len(out)} instead of {size}"


@with_tools
def eight_mib_both_ways(bench, tools):
    echo(bench, tools, plain(bench.vm), random_file(bench.logs / "random", 8 * MIB))


@with_tools
def four_mib_of_text_both_ways(bench, tools):
    text = bench.logs / "text"
    text.write_text("".join(f"line {n}\n" for n in range(400_000))[:4 * MIB])
    echo(bench, tools, plain(bench.vm), text)
    echo(bench, tools, plain(bench.vm), text, "--no-compression")


@with_tools
def four_mib_over_tls(bench, tools):
    echo(bench, tools, secured(bench.vm), random_file(bench.logs / "random", 4 * MIB),
         "--ca-file", bench.pki.ca)


@with_tools
def ports_are_listed(bench, tools):
    bench.vm.guest.background(f"exec 3<>{DEVICE}; sleep 1000")
    # The guest may be on its way: the state is looked at until it is what is wanted.
    want = sorted([f"{PORT}\t10:{{}}\topen", f"{SECOND}\t10:{{}}\tclosed"])

    def lines():
        status, out, err = tools.port("--list", plain(bench.vm))
        assert (status, err) == (0, ""), (status, err)
        found = [line.split("\t") for line in out.decode().splitlines()]
        return sorted(f"{name}\t10:{{}}\t{state}" for name, _, state in found) == want

    wait_until(lines, 20, "both ports with their states")
    bench.vm.guest.sh("for p in $(pidof sleep); do kill $p; done; true")


@with_tools
def certificates_are_looked_at(bench, tools):
    vm, pki = bench.vm, bench.pki
    other = Pki(bench.logs / "other")
    for words, status, text in [
        (["--ca-file", pki.ca], 0, ""),
        (["--ca-file", pki.ca, "--host-subject", pki.subject], 0, ""),
        (["--ca-file", pki.ca, "--host-subject", "O=Example,CN=another"], TLS, "has the subject"),
        (["--ca-file", other.ca], TLS, "certificate"),
        ([], TLS, "certificate"),
        (["--ca-file", "/nonexistent"], ARGUMENTS, "No such file"),
        (["--ca-file", pki.key], ARGUMENTS, "no certificate"),
    ]:
        got, _, err = tools.port("-l", *words, secured(vm))
        assert got == status and text in err, (words, got, err)
    # Nobody answers with TLS at the plain port.
    got, _, err = tools.port("-l", "--ca-file", pki.ca, f"spice+tls://127.0.0.1:{vm.port}")
    assert got == TLS, (got, err)


@with_tools
def passwords(bench, tools):
    bench.expect_stderr(PASSWORD_REFUSED)
    vm = bench.own_vm(MACHINE + SERIAL_BUS + port(1, PORT) + ["-spice", "port=PORT,addr=127.0.0.1"])
    vm.qmp.command("set_password", protocol="spice", password="right")
    file = bench.logs / "password"
    for text, status in [("right\n", 0), ("mistaken\n", PASSWORD), ("x" * 61, PASSWORD)]:
        file.write_text(text)
        got, _, err = tools.port("-l", "--password-file", file, plain(vm))
        assert got == status and text.strip() not in err, (text, got, err)
    # Without a file and without a terminal nobody can be asked.
    got, _, err = tools.port("-l", plain(vm), stdin=subprocess.DEVNULL)
    assert got == PASSWORD and "wants a password" in err, (got, err)


@with_tools
def password_on_a_terminal(bench, tools):
    bench.expect_stderr(PASSWORD_REFUSED)
    vm = bench.own_vm(MACHINE + SERIAL_BUS + port(1, PORT) + ["-spice", "port=PORT,addr=127.0.0.1"])
    vm.qmp.command("set_password", protocol="spice", password="right")
    for answer, status in [(b"right\n", 0), (b"mistaken\n", PASSWORD), (b"r\x03", PASSWORD)]:
        pid, terminal = os.forkpty()
        if pid == 0:
            os.execv(tools.port_program, ["spice-port", "-l", plain(vm)])
        shown = b""
        while b"Password: " not in shown:
            shown += os.read(terminal, 4096)
        os.write(terminal, answer)
        while True:
            try:
                shown += os.read(terminal, 4096)
            except OSError:
                break
        os.close(terminal)
        got = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert got == status and answer.strip() not in shown, (answer, got, shown)


@with_tools
def what_cannot_be_reached(bench, tools):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        refused = silent.getsockname()[1]
    got, _, err = tools.port(f"spice://127.0.0.1:{refused}", PORT)
    assert got == NO_CONNECTION and "refused" in err, (got, err)
    got, _, err = tools.port("spice+unix:///nonexistent", PORT)
    assert got == NO_CONNECTION and "/nonexistent" in err, (got, err)
    for end in ("org.example.none", "10:77"):
        got, _, err = tools.port(plain(bench.vm), end, data=b"")
        assert got == NO_PORT, (got, err)
    got, _, err = tools.port(plain(bench.vm))
    assert got == ARGUMENTS and "usage:" in err, (got, err)


@with_tools
def something_else_than_spice(bench, tools):
    with socket.create_server(("127.0.0.1", 0)) as server:
        def answer():
            with server.accept()[0] as peer:
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                peer.recv(4096)
        thread = threading.Thread(target=answer)
        thread.start()
        got, _, err = tools.port("-l", f"spice://127.0.0.1:{server.getsockname()[1]}")
        thread.join()
    assert got == NO_CONNECTION and "no SPICE server" in err, (got, err)


@with_tools
def closed_with_input_left_over(bench, tools):
    guest = bench.vm.guest
    guest.background(f"wait_host {PORT}; exec 3<>{DEVICE}; head -c 1000 <&3 >/dev/null")
    with open(random_file(bench.logs / "random", 16 * MIB), "rb") as file:
        got, _, err = tools.port(plain(bench.vm), PORT, stdin=file)
    assert got == LEFT_OVER and "before all input" in err, (got, err)
    guest.wait_job()


@with_tools
def events_and_a_guest_that_comes_back(bench, tools):
    guest = bench.vm.guest
    process = tools.begin_port("--keep", "--verbose", plain(bench.vm), PORT)
    for word in ("one", "two"):
        guest.sh(f"wait_host {PORT}; exec 3<>{DEVICE}; echo {word} >&3")
        assert process.stdout.readline() == f"{word}\n".encode()
        assert process.stderr.readline() == b"spice-port: opened\n"
        assert process.stderr.readline() == b"spice-port: closed\n"
    assert process.poll() is None


@with_tools
def leaving_after_input(bench, tools):
    guest = bench.vm.guest
    guest.background(f"wait_host {PORT}; exec 3<>{DEVICE}; head -c 6 <&3; read end <&3; true")
    got, out, err = tools.port("--linger", "0.5", plain(bench.vm), PORT, data=b"hello\n")
    assert (got, out, err) == (0, b"", ""), (got, out, err)
    guest.sh("for p in $(pidof head); do kill $p; done; true")


@with_tools
def server_gone_in_the_middle(bench, tools):
    vm = bench.own_vm(MACHINE + SERIAL_BUS + port(1, PORT) + [
        "-spice", "port=PORT,addr=127.0.0.1,disable-ticketing=on"], boot=True)
    vm.guest.wait_boot()
    vm.guest.background(f"wait_host {PORT}; exec 3<>{DEVICE}; cat /dev/zero >&3")
    process = tools.begin_port(plain(vm), PORT)
    assert len(process.stdout.read(MIB)) == MIB
    vm.process.kill()
    vm.process.wait()
    process.stdout.read()
    assert process.wait(20) == LOST, process.stderr.read()


@with_tools
def nobody_reads_the_output(bench, tools):
    bench.vm.guest.background(f"wait_host {PORT}; exec 3<>{DEVICE}; cat /dev/zero >&3")
    process = tools.begin_port(plain(bench.vm), PORT)
    process.stdout.read(1000)
    process.stdout.close()
    assert process.wait(20) == LOCAL, process.stderr.read()
    bench.vm.guest.sh("for p in $(pidof cat); do kill $p; done; true")


@with_tools
def somebody_else_has_the_port(bench, tools):
    """On a server that serves several clients: others end the session of who is there."""
    bench.expect_stderr("SPICE_DEBUG_ALLOW_MC|multiple client connections|connected already|"
                        "already connected")
    os.environ["SPICE_DEBUG_ALLOW_MC"] = "1"
    try:
        vm = bench.own_vm(MACHINE + SERIAL_BUS + port(1, PORT) + [
            "-spice", "port=PORT,addr=127.0.0.1,disable-ticketing=on"])
    finally:
        del os.environ["SPICE_DEBUG_ALLOW_MC"]
    first = tools.begin_port(plain(vm), PORT)
    wait_until(lambda: len(vm.qmp.command("query-spice").get("channels", [])) == 2, 10,
               "the first one has the port")
    got, _, err = tools.port(plain(vm), "10:0", data=b"")
    assert got == BUSY and "another client" in err, (got, err)
    # It is not in the list that a second client gets.
    got, _, err = tools.port(plain(vm), PORT, data=b"")
    assert got == NO_PORT, (got, err)
    got, out, err = tools.port("--list", plain(vm))
    assert (got, out, err) == (0, b"", ""), (got, out, err)
    assert first.poll() is None, first.stderr.read()
    first.kill()
    first.wait()
    wait_until(lambda: tools.port("--list", plain(vm))[1] == f"{PORT}\t10:0\tclosed\n".encode(),
               10, "the port is free again")


@with_tools
def ipv6(bench, tools):
    vm = bench.own_vm(MACHINE + SERIAL_BUS + port(1, PORT) + [
        "-spice", "port=PORT,addr=::1,ipv6=on,disable-ticketing=on"])
    listed = f"{PORT}\t10:0\tclosed\n".encode()
    got, out, err = tools.port("--list", f"spice://[::1]:{vm.port}")
    assert (got, out, err) == (0, listed, ""), (got, out, err)
    got, _, err = tools.port("--list", f"spice://127.0.0.1:{vm.port}")
    assert got == NO_CONNECTION, (got, err)
    for uri in (f"spice://::1:{vm.port}", "spice://[::1", "spice://[::1]x"):
        got, _, err = tools.port("--list", uri)
        assert got == ARGUMENTS, (uri, got, err)
    number = free_port()
    tools.serve(f"{PORT}=exec:cat", listen=["--port", number, "--addr", "::1"])
    got, out, err = tools.port(f"spice://[::1]:{number}", PORT, data=b"by IPv6")
    assert (got, out, err) == (0, b"by IPv6", ""), (got, out, err)


@with_tools
def a_break_reaches_the_guests_serial_port(bench, tools):
    """The guest's kernel counts breaks on a serial port that somebody has open."""
    name = "org.example.serial.0"
    vm = bench.own_vm(MACHINE + serial(1, name) + [
        "-spice", "port=PORT,addr=127.0.0.1,disable-ticketing=on"], boot=True)
    guest = vm.guest
    guest.wait_boot()
    guest.sh("(exec 3<>/dev/ttyS2; : >/tmp/opened; sleep 1000) >/dev/null 2>&1 & "
             "until [ -e /tmp/opened ]; do sleep 0.1; done")
    line = lambda: guest.sh("grep ^2: /proc/tty/driver/serial")
    for words, breaks in ([], 0), (["--break"], 1):
        before = line()
        assert "brk:" not in before, before
        got, _, err = tools.port("--linger", "0.5", *words, plain(vm), name, data=b"x")
        assert (got, err) == (0, ""), (got, err)
        wait_until(lambda: f"rx:{1 + breaks}" in line() or "brk:" in line(), 10, "what was sent")
        assert ("brk:1" in line()) == bool(breaks), line()
    guest.sh("for p in $(pidof sleep); do kill $p; done; true")


# ---- spice-serve


@with_tools
def kinds_of_services(bench, tools):
    place = bench.logs / "serve"
    place.mkdir(exist_ok=True)
    data = random_file(place / "file", 4 * MIB)
    digest = sha256_file(data)
    (place / "saved").write_text("old")
    with socket.create_server(("127.0.0.1", 0)) as tcp, \
            socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(place / "socket"))
        unix.listen()
        for server in (tcp, unix):
            threading.Thread(target=echo_once, args=(server,), daemon=True).start()
        serve = tools.serve(
            "org.example.save=save:saved", "org.example.cat=exec:cat",
            "org.example.sum=exec:sha256sum", "org.example.file=file:file",
            "org.example.pty=pty:tty; cat; echo end", "org.example.unix=unix:socket",
            f"org.example.tcp=tcp:127.0.0.1:{tcp.getsockname()[1]}",
            "org.example.none=unix:none", cwd=place)
        status, out, err = tools.port("-l", serve.uri)
        assert (status, err, out.count(b"\tclosed\n")) == (0, "", 8), (status, out, err)
        assert (place / "saved").read_text() == "old", "a look at the ports changed a file"
        for name in ("cat", "unix", "tcp"):
            with open(data, "rb") as file:
                status, out, err = tools.port(serve.uri, f"org.example.{name}", stdin=file)
            assert (status, err) == (0, ""), (name, status, err)
            assert hashlib.sha256(out).hexdigest() == digest, name
        with open(data, "rb") as file:
            status, out, err = tools.port(serve.uri, "org.example.sum", stdin=file)
        assert (status, out.split()[0]) == (0, digest.encode()), (status, out, err)
        with open(data, "rb") as file:
            status, out, err = tools.port(serve.uri, "org.example.save", stdin=file)
        assert (status, out, err) == (0, b"", ""), (status, err)
        assert sha256_file(place / "saved") == digest
        status, out, err = tools.port(serve.uri, "org.example.file", data=b"")
        assert (status, hashlib.sha256(out).hexdigest()) == (0, digest), (status, err)
        status, out, err = tools.port(serve.uri, "org.example.pty", data=b"hello\n")
        assert status == 0 and b"/dev/pts/" in out and out.endswith(b"hello\r\nend\r\n"), out
        status, out, err = tools.port(serve.uri, "org.example.none", data=b"")
        assert (status, out) == (0, b"") and "org.example.none" in serve.log.read_text(), err
    serve.send_signal(signal.SIGTERM)
    assert serve.wait(10) == 0


def echo_once(server):
    """Answers each connection with what it says, until the listener is closed."""
    while True:
        try:
            peer, _ = server.accept()
        except OSError:
            return
        with peer:
            while piece := peer.recv(65536):
                peer.sendall(piece)


@with_tools
def spice_gtk_and_a_service(bench, tools):
    serve = tools.serve(f"{PORT}=exec:cat")
    data = random_file(bench.logs / "random", 4 * MIB)
    client = bench.client()
    client.open(port=serve.port, connect=["port"])
    channel = client.port_named(PORT, opened=True)
    client.send(channel, data)
    path = client.wait_received(channel, 4 * MIB)
    assert sha256_file(path) == sha256_file(data)
    client.close()


@with_tools
def a_service_on_a_unix_socket(bench, tools):
    path = bench.logs / "spice.sock"
    serve = tools.serve(f"{PORT}=exec:cat", listen=["--unix", path])
    status, out, err = tools.port(f"spice+unix://{path}", PORT, data=b"x" * 100_000)
    assert (status, out, err) == (0, b"x" * 100_000, ""), (status, err)
    serve.send_signal(signal.SIGINT)
    assert serve.wait(10) == 0 and not path.exists()


@with_tools
def a_service_with_tls_and_password(bench, tools):
    pki = Pki(bench.logs / "serve-pki")
    password = bench.logs / "password"
    password.write_text("secret\n")
    serve = tools.serve(f"{PORT}=exec:cat", "--password-file", password)
    status, out, err = tools.port("--password-file", password, serve.uri, PORT, data=b"plain")
    assert (status, out) == (0, b"plain"), err
    serve.kill()
    serve.wait()
    serve = tools.serve(f"{PORT}=exec:cat", "--password-file", password, listen=[
        "--tls-port", serve.port, "--cert", pki.certificate, "--key", pki.key, "--ca", pki.ca])
    uri = f"spice+tls://127.0.0.1:{[word for word in serve.args if str(word).isdigit()][0]}"
    words = ["--ca-file", pki.ca, "--password-file", password]
    status, out, err = tools.port(*words, uri, PORT, data=b"secret things")
    assert (status, out) == (0, b"secret things"), (status, err)
    status, _, err = tools.port("--ca-file", pki.ca, uri, PORT, stdin=subprocess.DEVNULL)
    assert status == PASSWORD, (status, err)


@with_tools
def children_end_with_the_program(bench, tools):
    pids = bench.logs / "pids"
    serve = tools.serve(f"{PORT}=exec:trap '' HUP; echo $$ >{pids}; echo up; sleep 1000")
    process = tools.begin_port(serve.uri, PORT)
    assert process.stdout.readline() == b"up\n"
    pid = int(pids.read_text())
    serve.send_signal(signal.SIGTERM)
    assert serve.wait(10) == 0
    assert not Path(f"/proc/{pid}").exists(), "the command is still there"


@with_tools
def wrong_arguments_of_a_service(bench, tools):
    for words in [[], ["--port", "1"], ["--port", "0", "a=exec:b"], ["a=exec:b"],
                  ["--port", "1", "a"], ["--port", "1", "a=what:b"], ["--port", "1", "a=exec:"],
                  ["--port", "1", "a=exec:b", "a=exec:c"], ["--tls-port", "1", "a=exec:b"],
                  ["--port", "1", "--addr", "0.0.0.0", "a=exec:b"], ["--colour"],
                  ["--port", "1", "--password-file", "/nonexistent", "a=exec:b"]]:
        run = subprocess.run([tools.serve_program, *words], capture_output=True, timeout=20,
                             check=False)
        assert run.returncode == 2 and run.stderr and not run.stdout, (words, run)
    taken = tools.serve(f"{PORT}=exec:cat")
    run = subprocess.run([tools.serve_program, "--port", str(taken.port), f"{PORT}=exec:cat"],
                         capture_output=True, timeout=20, check=False)
    assert run.returncode == 1 and run.stderr, run


@with_tools
def commands_of_the_document(bench, tools):
    """docs/tools.md as it is written, but for the port's number, and a wait for the server
    where a person would be slow enough."""
    text = (Path(__file__).parents[2] / "docs" / "tools.md").read_text()
    script = text.split("```sh\n")[1].split("```")[0]
    begin, rest = script.split(" &\n", 1)
    script = f"set -e\n{begin} 2>log &\nuntil grep -q ready log; do sleep 0.05; done\n{rest}"
    place = bench.logs / "document"
    place.mkdir(exist_ok=True)
    path = f"{tools.port_program.parent}:{tools.serve_program.parent}:{os.environ['PATH']}"
    libraries = str(tools.library_directory)
    run = subprocess.run(["bash", "-c", script.replace("5999", str(free_port()))], cwd=place,
                         env={**os.environ, "PATH": path, "LD_LIBRARY_PATH": libraries},
                         capture_output=True, timeout=60, check=False)
    assert run.returncode == 0, run
    bench.observe("output", run.stdout.decode())
    assert b"HELLO\n" in run.stdout and b"org.example.copy.0\t10:1\tclosed\n" in run.stdout, run
