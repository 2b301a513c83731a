"""An X server in the guest, with the qxl driver and programs that draw: what a client shows
is the machine's own picture, pixel for pixel."""

from lib.bench import check
from lib.devices import SPICE_TCP
from lib.picture import ppm
from lib.waiting import wait_until

# Without KMS the driver has the device for itself: it makes surfaces and draws by commands.
# With it the kernel's driver passes the commands on. Debian's driver takes none of the values
# that it says are its defaults, and ends at once without a monitor.
CONFIGURATION = """Section "Device"
    Identifier "card"
    Driver "qxl"
    Option "NumHeads" "1"
    Option "EnableImageCache" "True"
    Option "EnableFallbackCache" "True"
    Option "EnableSurfaces" "True"
EndSection
Section "Screen"
    Identifier "screen"
    Device "card"
    DefaultDepth {depth}
EndSection
Section "ServerFlags"
    Option "AutoAddDevices" "false"
    Option "BlankTime" "0"
EndSection
"""
# What each program draws again when it is covered is drawn by X from its pixmaps.
PROGRAMS = ("xlogo -geometry 200x200+20+20", "xclock -analog -update 0 -geometry 200x200+240+20",
            "xlogo -render -geometry 150x150+460+20")
# A fixed number of each: how much is done does not depend on the machine.
PERFORMANCE = ("rect100", "srect100", "tilerect100", "line100", "ftext", "copywinwin100",
               "copypixwin100", "scroll100", "putimage100", "getimage100", "popup")


def start(bench, depth=24, kms=False):
    vm = bench.own_vm(["-M", "pc", "-vga", "qxl", *SPICE_TCP], boot=True, programs="xorg",
                      memory=640)
    vm.guest.wait_boot(120)
    if kms:
        vm.guest.sh("load qxl; wait_until 10 test -e /dev/dri/card0")
    vm.guest.sh(f"""mkdir -p /var/lib/xkb /tmp/.X11-unix /dev/pts; mount -t devpts devpts /dev/pts
cat >/tmp/x.conf <<'END'
{CONFIGURATION.format(depth=depth)}END
Xorg :0 -config /tmp/x.conf -logfile /tmp/x.log -nolisten tcp -ac -noreset -s 0 >/tmp/x.out 2>&1 &
wait_until 60 test -S /tmp/.X11-unix/X0
DISPLAY=:0 xrandr || {{ tail -n 20 /tmp/x.out; exit 1; }}""", 90)
    return vm


def connect(bench, vm):
    client = bench.client()
    client.open(port=vm.port, connect=["display"], opened="display:0")
    return client


def check_shown(bench, vm, client, name):
    """The client comes to show what the machine shows; returns that."""
    shot, dump = (bench.logs / f"{name}-{what}.ppm" for what in ("client", "dump"))

    def same():
        saved = client.command("picture", channel="display:0", path=str(shot))["saved"]
        vm.qmp.command("screendump", filename=str(dump))
        picture = ppm(dump.read_bytes())
        return picture if saved and ppm(shot.read_bytes()) == picture else None

    return wait_until(same, 30, f"the same picture in {shot.name} and {dump.name}")


def x(vm, script, seconds=60):
    return vm.guest.sh(f"export DISPLAY=:0 HOME=/tmp; {script}", seconds)


def draw_all(bench, vm, name):
    client = connect(bench, vm)
    x(vm, "xsetroot -solid '#204060'")
    bare = check_shown(bench, vm, client, f"{name}-bare")
    assert bare[2][:3] == bytes.fromhex("204060"), bare[2][:3]
    x(vm, " & ".join(f"{program} >/tmp/out 2>&1" for program in PROGRAMS) + " & usleep 10000")
    x(vm, "xterm -geometry 80x20+20+240 -fn fixed -e sh -c 'for i in $(seq 60); do echo line $i "
          "of a text that scrolls; done; echo done >/tmp/term; sleep 1000' >/tmp/out 2>&1 & "
          "wait_until 30 test -s /tmp/term")
    full = check_shown(bench, vm, client, f"{name}-programs")
    assert len(set(full[2][at:at + 3] for at in range(0, len(full[2]), 3))) > 2
    x(vm, "xsetroot -mod 16 5 -fg red -bg blue")
    tests = " ".join(f"-{test}" for test in PERFORMANCE)
    x(vm, f"x11perf -repeat 1 -reps 1 -sync {tests} >/tmp/perf 2>&1", 120)
    last = check_shown(bench, vm, client, f"{name}-after")
    client.close()
    late = connect(bench, vm)
    # Programs that were covered may go on drawing: what counts is the machine's picture now.
    check_shown(bench, vm, late, f"{name}-late")
    late.close()
    bench.observe(name, (full[:2], last[:2]))


@check
def drawn_by_the_driver(bench):
    vm = start(bench)
    draw_all(bench, vm, "driver")
    bench.quit_cleanly(vm)


@check
def drawn_through_the_kernel(bench):
    vm = start(bench, kms=True)
    draw_all(bench, vm, "kernel")
    bench.quit_cleanly(vm)
