#!/usr/bin/env python3
"""Loads the programs' own modules on our library: Debian's four QEMU modules in
a running QEMU, bound at load time, and the Xspice driver.

A QEMU that starts proves little, because it opens its modules when they are
first used and the loader passes over version nodes that a module opened by
dlopen does not find. So every imported name@node is looked up, too.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from headers import fail, run
from symbols import Library as Symbols

E2E = pathlib.Path(__file__).resolve().parents[2] / "tests" / "e2e"
sys.path.insert(0, str(E2E))
from lib import qemu  # noqa: E402

QEMU_MODULES = ["ui-spice-core.so", "chardev-spice.so", "audio-spice.so", "hw-display-qxl.so"]
XSPICE_DRIVER = pathlib.Path("/usr/lib/xorg/modules/drivers/spiceqxl_drv.so")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--cc", required=True, help="asked for the multiarch directory")
    parser.add_argument("--logs", required=True, type=pathlib.Path)
    args = parser.parse_args()

    triplet = run([args.cc, "-print-multiarch"]).strip()
    modules = pathlib.Path("/usr/lib") / triplet / "qemu"
    ours = args.build.resolve() / "libspice-server.so.1"
    for path, package in [(modules / name, "qemu-system-gui, qemu-system-common")
                          for name in QEMU_MODULES] + [(XSPICE_DRIVER, "xserver-xspice")]:
        if not path.exists():
            fail(f"{path} is missing: install {package}")
        look_up_imports(path, Symbols(ours))
        resolve(path, ours)
    for preload in (False, True):
        load_in_qemu(args.build, args.logs, preload)


def look_up_imports(module, library):
    """Every spice symbol that `module` imports, with the node it asks for."""
    text = run(["readelf", "--dyn-syms", "--wide", str(module)])
    imports = set(re.findall(r"UND (spice_\w+)@(\S+)", text))
    # A name without a node would mean that the pattern does not fit any more.
    plain = set(re.findall(r"UND (spice_\w+)", text)) - {name for name, _ in imports}
    missing = imports - library.functions
    if not imports or plain or missing:
        fail(f"{module}: {len(imports)} imports, without node {sorted(plain)}, "
             f"not exported by ours {sorted(missing)}")
    print(f"{module.name}: {len(imports)} imports, all there")


def resolve(module, library):
    """What the loader itself says; other symbols come from the host program."""
    environment = dict(os.environ, LD_LIBRARY_PATH=str(library.parent))
    done = subprocess.run(["ldd", "-r", str(module)], env=environment, capture_output=True,
                          text=True, check=False)
    said = done.stdout + done.stderr
    if f"libspice-server.so.1 => {library}" not in said:
        fail(f"{module}: the loader does not take {library}\n{said}")
    bad = [line for line in said.splitlines()
           if re.search(r"(undefined symbol|symbol lookup error).*\bspice_", line)
           or "no version information" in line
           or "SPICE_SERVER_" in line]
    if bad:
        fail(f"{module}: ldd -r says\n" + "\n".join(bad))


def load_in_qemu(build, logs, preload):
    how = "LD_PRELOAD" if preload else "LD_LIBRARY_PATH"
    library = qemu.Library("ours", build=build, preload=preload)
    with tempfile.TemporaryDirectory() as place:
        machine = qemu.Qemu(library, logs / how.lower(), [
            "-S", "-M", "pc", "-vga", "qxl",
            "-spice", f"unix=on,addr={place}/spice,disable-ticketing=on",
            "-device", "virtio-serial-pci",
            "-chardev", "spiceport,name=org.spice-space.test.0,id=port",
            "-device", "virtserialport,chardev=port,name=org.spice-space.test.0",
            "-audiodev", "spice,id=sound",
            "-device", "intel-hda", "-device", "hda-duplex,audiodev=sound",
        ])
        try:
            for name in QEMU_MODULES:
                if not qemu.mapped_files(machine.pid, name):
                    fail(f"{how}: QEMU has not loaded {name}")
            status = machine.status()
            if status not in ("prelaunch", "paused"):
                fail(f"{how}: QEMU is {status}")
        except BaseException:
            machine.kill()
            raise
        ended = machine.quit()
    complaints = [line for line in machine.stderr().splitlines()
                  if "version information" in line or "symbol" in line]
    if ended != 0 or complaints:
        fail(f"{how}: QEMU ended with {ended} and said\n{machine.stderr()}")
    print(f"{how}: QEMU runs on {machine.library_path} with {', '.join(QEMU_MODULES)}")


if __name__ == "__main__":
    main()
