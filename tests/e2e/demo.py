"""The part of scripts/demo that runs when everything it needs is installed."""

import argparse
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
sys.path.insert(0, str(HERE))

import demo_ports  # noqa: E402
from lib.bench import CLIENT_GONE  # noqa: E402
from lib.devices import PORT  # noqa: E402
from lib.guest import make_guest  # noqa: E402
from lib.qemu import QEMU, Library, Qemu, free_port  # noqa: E402
from lib.spice_client import SpiceClient, random_file, sha256_file  # noqa: E402
from lib.steps import Steps  # noqa: E402

STATE = REPOSITORY / ".cache" / "demo"
PID_FILE = STATE / "kept-vm.pid"
MIB = 1 << 20
SIZE = 8 * MIB
GUEST_DEVICE = f"/dev/virtio-ports/{PORT}"


class DemoError(Exception):
    """The demo cannot go on; the text is for the person who started it."""


def parse():
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="Shows an unmodified QEMU running on this library: a small Linux guest and a "
        "real SPICE client send each other 8 MiB through a virtual serial port.",
    )
    parser.add_argument("--keep", action="store_true",
                        help="leave the virtual machine running and say how to connect to it")
    parser.add_argument("--stop", action="store_true", help="end a machine left by --keep")
    parser.add_argument("--no-qemu", action="store_true",
                        help="without a virtual machine: a command and a file as ports, by "
                        "spice-serve and spice-port")
    # For the people who work on the demo itself.
    parser.add_argument("--lib", choices=["ours", "debian"], default="ours",
                        help=argparse.SUPPRESS)
    parser.add_argument("--build", default=str(REPOSITORY / "build"), help=argparse.SUPPRESS)
    return parser.parse_args()


# ---- a machine that was kept


def kept_vm():
    """The process id of a machine left by --keep that is still running, or None."""
    try:
        pid = int(PID_FILE.read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if str(STATE).encode() in b" ".join(words) else None


def stop_kept():
    pid = kept_vm()
    if pid is None:
        print("No virtual machine of `scripts/demo --keep` is running.")
        return 0
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 10
    while kept_vm() == pid and time.monotonic() < deadline:
        time.sleep(0.05)
    if kept_vm() == pid:
        os.kill(pid, signal.SIGKILL)
    PID_FILE.unlink(missing_ok=True)
    print(f"The virtual machine (process {pid}) has ended.")
    return 0


# ---- the steps


def build(steps, directory, logs, targets=("spice-server:shared_library",)):
    directory = Path(directory)
    with steps.step("Building libspice-server.so.1 (Rust, linked by meson; the first time takes "
                    "a few minutes)") as say:
        path = os.environ["PATH"] + ":" + os.path.expanduser("~/.cargo/bin")
        env = {**os.environ, "PATH": path}
        log = logs / "build.log"
        commands = [["meson", "compile", "-C", directory, *targets]]
        if not (directory / "build.ninja").exists():
            commands.insert(0, ["meson", "setup", directory, REPOSITORY])
        with open(log, "w", encoding="utf-8") as out:
            for command in commands:
                process = subprocess.Popen(
                    command, cwd=REPOSITORY, env=env, stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                for line in process.stdout:
                    out.write(line)
                    say(line.strip() or say.text)
                if process.wait() != 0:
                    raise DemoError(f"The build failed; its last words are in {log}")
        steps.note(f"{directory / 'libspice-server.so.1'} ({say.seconds():.0f} s)")


def start_vm(steps, library, logs, keep):
    version = subprocess.check_output([QEMU, "--version"], text=True).splitlines()[0]
    with steps.step(f"Starting Debian's own {QEMU} with our library under it"
                    if library.name == "ours" else f"Starting {QEMU} on Debian's own library"):
        port = free_port()
        args = [
            "-M", "pc", "-vga", "std",
            "-device", "virtio-serial-pci",
            "-chardev", f"spiceport,name={PORT},id=fs",
            "-device", f"virtserialport,chardev=fs,name={PORT}",
            "-device", "ich9-usb-ehci1,id=usb",
            "-device", "ich9-usb-uhci1,masterbus=usb.0,firstport=0,multifunction=on",
            "-chardev", "spicevmc,name=usbredir,id=u1", "-device", "usb-redir,chardev=u1",
            "-spice", f"port={port},addr=127.0.0.1,disable-ticketing=on",
        ]
        vm = Qemu(library, logs / "vm", args, boot=True, memory=256, outlives_us=keep)
        vm.port = port
    steps.note(version)
    steps.note(f"process {vm.pid} has loaded {vm.library_path}")
    return vm


def boot(steps, vm):
    with steps.step("Booting a small Linux in it (Debian's kernel, busybox; without hardware "
                    "virtualisation)") as say:
        say("the guest's kernel starts")
        vm.guest.wait_boot(90)
        steps.note(f"{vm.guest.sh('uname -sr')} is up after {say.seconds():.0f} s; it has the "
                   f"virtual serial port {PORT}")


def connect(steps, vm, client):
    with steps.step("Connecting a real SPICE client (spice-gtk's library, as in remote-viewer)"):
        client.open(port=vm.port, connect=["port", "usbredir"], usb=True)
        channel = client.port_named(PORT)
        client.wait_channel("usbredir:0", "opened")
    steps.note(f"session open on 127.0.0.1:{vm.port}; channels: {', '.join(client.channels())}")
    return channel


def mib(count):
    return f"{count / MIB:.1f} of {SIZE // MIB} MiB"


def into_guest(steps, vm, client, channel, data):
    with steps.step(f"Sending {SIZE // MIB} MiB of random bytes from the client into the guest") as say:
        vm.guest.sh(f"{{ wait_host {PORT}; exec 3<>{GUEST_DEVICE}; head -c {SIZE} <&3 >/tmp/in; "
                    "echo got >/tmp/got; read go <&3; cat /tmp/in >&3; read end <&3; "
                    "} >/dev/null 2>&1 &")
        client.wait("port-opened", channel=channel, opened=True)
        begin = time.monotonic()
        sending = client.begin("send", channel=channel, path=str(data))
        deadline = begin + 90
        while vm.guest.run("wait_until 1 test -s /tmp/got")[0] != 0:
            count = int(vm.guest.sh("stat -c %s /tmp/in 2>/dev/null || echo 0"))
            say(mib(count))
            if time.monotonic() > deadline:
                raise DemoError(f"The guest received only {mib(count)} in 90 s")
        client.finish(sending)
        seconds = time.monotonic() - begin
    in_client, in_guest = sha256_file(data), vm.guest.sha256("/tmp/in")
    compare(steps, seconds, ("sent", in_client), ("in the guest", in_guest))


def back_again(steps, vm, client, channel, data):
    with steps.step("Sending the same bytes from the guest back to the client") as say:
        go = data.with_name("go")
        go.write_text("\n")
        begin = time.monotonic()
        client.send(channel, go)
        path = client.wait_received(channel, SIZE, 90, lambda count: say(mib(count)))
        seconds = time.monotonic() - begin
    compare(steps, seconds, ("in the guest", vm.guest.sha256("/tmp/in")),
            ("received", sha256_file(path)))
    if sha256_file(path) != sha256_file(data):
        raise DemoError("The bytes that came back are not the ones that were sent.")
    client.send(channel, go)
    client.wait("port-event", channel=channel, number=1)  # the guest has closed the device


def compare_sums(steps, left, right):
    for name, digest in (left, right):
        steps.note(f"SHA-256 {name + ':':14} {digest}")
    if left[1] != right[1]:
        raise DemoError("The bytes differ: the SHA-256 sums above are not the same.")


def compare(steps, seconds, left, right):
    compare_sums(steps, left, right)
    steps.note(f"the same ({SIZE / MIB / max(seconds, 0.01):.0f} MiB/s, the guest's copying included)")


def keep_running(steps, vm, client):
    pictures = any(name.startswith("display:") for name in client.channels())
    client.close()
    PID_FILE.write_text(f"{vm.pid}\n")
    with steps.step("Leaving the virtual machine running, as --keep asks"):
        pass
    steps.note(f"process {vm.pid}, console output in {vm.logs.relative_to(REPOSITORY)}/console.log")
    print(f"\nTo connect:  remote-viewer spice://127.0.0.1:{vm.port}"
          "\n             (Debian package virt-viewer; this library stays under QEMU meanwhile)"
          "\nTo stop it:  scripts/demo --stop")
    if not pictures:
        print("The library does not serve the screen yet: remote-viewer connects, and its USB and "
              "port\nchannels work, but its window shows no picture.")


def end(steps, vm, client):
    with steps.step("Ending the client and the virtual machine"):
        client.close()
        status = vm.quit()
    complaints = [line for line in vm.stderr().splitlines() if not re.search(CLIENT_GONE, line)]
    if status != 0 or complaints:
        raise DemoError(f"QEMU ended with status {status}. It said: {complaints or 'nothing'}")
    steps.note("QEMU ended by itself with status 0; nothing is left running")


def logs_of(options):
    """The logs of a kept machine stay while other demos run."""
    return STATE / ("kept" if options.keep else "run")


def run(options):
    if options.keep and kept_vm():
        raise DemoError(f"A machine of an earlier --keep is still running (process {kept_vm()}); "
                        "`scripts/demo --stop` ends it.")
    STATE.mkdir(parents=True, exist_ok=True)
    with open(STATE / "lock", "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError("Another scripts/demo is running here.") from None
        logs = logs_of(options)
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir()
        demonstrate(options, logs)


def demonstrate_ports(options, logs):
    steps = Steps(6)
    begin = time.monotonic()
    # spice-serve is linked to our library, whichever it then runs on.
    build(steps, options.build, logs, ["spice-server:shared_library", "spice-port", "spice-serve"])
    demo_ports.demonstrate(steps, Library(options.lib, options.build), logs, compare_sums)
    print(f"\nIt works: {SIZE // MIB} MiB went through a command and back, unchanged, without a "
          f"virtual machine ({time.monotonic() - begin:.0f} s).")


def demonstrate(options, logs):
    if options.no_qemu:
        return demonstrate_ports(options, logs)
    ours = options.lib == "ours"
    steps = Steps(8 if ours else 7)
    begin = time.monotonic()
    if ours:
        build(steps, options.build, logs)
    library = Library(options.lib, options.build)
    with steps.step("Making the guest: a kernel from Debian's package, an initramfs of busybox") as say:
        say("looking for the kernel package, downloading and unpacking it if needed")
        make_guest()
    vm = client = None
    kept = False
    try:
        vm = start_vm(steps, library, logs, options.keep)
        boot(steps, vm)
        client = SpiceClient(logs, "client")
        channel = connect(steps, vm, client)
        data = random_file(logs / "random", SIZE)
        into_guest(steps, vm, client, channel, data)
        back_again(steps, vm, client, channel, data)
        if options.keep:
            keep_running(steps, vm, client)
            kept = True
        else:
            end(steps, vm, client)
    finally:
        if client:
            client.stop()
        if vm and not kept:
            vm.kill()
    if not kept:
        print(f"\nIt works: {'our library' if ours else library.name} moved {SIZE // MIB} MiB each way "
              f"between a Linux guest and a SPICE client, unchanged ({time.monotonic() - begin:.0f} s).")


def main():
    # SIGTERM unwinds like an error, so that nothing stays behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    os.environ["LC_ALL"] = "C.UTF-8"
    options = parse()
    if options.stop:
        return stop_kept()
    try:
        run(options)
    except (DemoError, AssertionError, OSError, subprocess.SubprocessError) as error:
        print(f"\nFAILED: {error}", file=sys.stderr)
        print(f"Logs: {logs_of(options).relative_to(REPOSITORY)} (build.log, vm/qemu.stderr, vm/console.log, "
              "client/client.log)", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; nothing is left running.", file=sys.stderr)
        return 130
    return 0


sys.exit(main())
