"""QEMU's SPICE modules on the library, loaded in both ways that a user has."""

import copy

from lib.bench import check
from lib.devices import PORT, SERIAL_BUS, SPICE_TCP, port
from lib.qemu import mapped_files

MODULES = ["audio-spice.so", "chardev-spice.so", "hw-display-qxl.so", "ui-spice-core.so"]


def load_all(bench):
    """Everything that brings in a module; LD_BIND_NOW makes a missing symbol fatal."""
    vm = bench.own_vm(
        ["-M", "pc", "-vga", "qxl", "-audiodev", "spice,id=a", "-device", "ich9-intel-hda",
         "-device", "hda-duplex,audiodev=a"] + SERIAL_BUS + port(1, PORT) + SPICE_TCP)
    loaded = [path.rsplit("/", 1)[-1] for path in mapped_files(vm.pid, ".so")]
    missing = [name for name in MODULES if name not in loaded]
    assert not missing, f"QEMU has not loaded {missing}"
    client = bench.client()
    client.open(port=vm.port, connect=["port"])
    client.port_named(PORT)
    client.close()
    bench.quit_cleanly(vm)


@check
def by_library_path(bench):
    load_all(bench)


@check
def by_preload(bench):
    if bench.library.file:
        bench.library = copy.copy(bench.library)
        bench.library.preload = True
    load_all(bench)
