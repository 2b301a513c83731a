"""The SPICE agent in the test guest: Debian's programs (the set `vdagent` of
guest/make-programs) and what a user there does with them."""

from .guest import GuestError
from .waiting import wait_until

PORT_NAME = "com.redhat.spice.0"
FILES = "/tmp/files"
LOG = "/tmp/vdagentd.log"
SCREEN = (1600, 1200)  # an Xvfb can shrink its screen and come back to this

_XCLIP = "DISPLAY=:0 xclip -selection clipboard"


class Programs:
    """spice-vdagentd, and spice-vdagent on an X server without a screen."""

    def __init__(self, guest):
        self.guest = guest
        width, height = SCREEN
        guest.sh(f"""load uinput && load evdev || exit
            mkdir -p /run/spice-vdagentd /tmp/.X11-unix /var/lib/xkb {FILES}
            Xvfb :0 -screen 0 {width}x{height}x24 -extension GLX -nolisten tcp -ac \\
                >/tmp/x.log 2>&1 &
            wait_until 30 test -S /tmp/.X11-unix/X0""", 60)
        self.start_daemon()
        # It waits for the daemon, and ends with it; a session starts it again.
        guest.sh(f"""export DISPLAY=:0 HOME=/tmp NO_AT_BRIDGE=1
            while :; do spice-vdagent -x -d -f {FILES} -o 0; usleep 100000; done \
                >/tmp/vdagent.log 2>&1 &""")
        self.wait_port()

    def start_daemon(self):
        """-X: nobody has logged in here, each session is the right one."""
        self.guest.sh(f"""spice-vdagentd -x -d -d -X >>{LOG} 2>&1 &
            wait_until 20 test -S /run/spice-vdagentd/spice-vdagent-sock""", 40)

    def stop_daemon(self):
        self.guest.sh("""killall spice-vdagentd && gone() { ! pidof spice-vdagentd; }
            wait_until 20 gone""", 40)

    def wait_port(self):
        """The daemon opens the port when the first program of a session talks to it."""
        self.guest.sh("opened() { ls -l /proc/$(pidof spice-vdagentd)/fd | grep -q /dev/vport; }; "
                      "wait_until 30 opened", 40)

    # ---- a user in the guest

    def copy(self, path):
        """Makes a file's text the contents of the guest's clipboard, and waits until the
        daemon has been told."""
        told = len(self.log("received clipboard grab"))
        self.guest.sh(f"{_XCLIP} -t UTF8_STRING <{path}")
        wait_until(lambda: len(self.log("received clipboard grab")) > told, 20,
                   "the guest's daemon to hear of the clipboard")

    def clear(self):
        """The guest's clipboard is nobody's, unless it is the client's."""
        self.guest.sh("killall xclip 2>/dev/null; gone() { ! pidof xclip; }; wait_until 10 gone")

    def wait_offer(self):
        """Until the guest's clipboard is the client's: the session agent offers text by
        more names than xclip does."""
        self.guest.sh(f"offered() {{ {_XCLIP} -o -t TARGETS 2>/dev/null | grep -q text/plain; }}; "
                      "wait_until 20 offered", 40)

    def paste(self, path, seconds=60):
        """What an application gets that pastes text: (status of xclip, SHA-256)."""
        status, output = self.guest.run(
            f"{_XCLIP} -o -t UTF8_STRING >{path} 2>/dev/null; echo $? $(sha256sum <{path})",
            seconds)
        if status:
            raise GuestError(f"pasting in the guest: status {status}")
        words = output.decode().split()
        return int(words[0]), words[1]

    def paste_in_background(self, path):
        """Like `paste`, as the guest's background job."""
        self.guest.background(f"{_XCLIP} -o -t UTF8_STRING >{path}")

    def screen(self):
        """The size of the X server's screen."""
        text = self.guest.sh("DISPLAY=:0 xrandr | sed -n 's/.* current \\(.*\\),.*/\\1/p'")
        return tuple(int(word) for word in text.split(" x "))

    def log(self, pattern):
        """The lines of the daemon's log that match."""
        return self.guest.run(f"grep '{pattern}' {LOG}")[1].decode().splitlines()

    def moved(self, direction):
        """Bytes that have passed through the guest's port: `sent` or `received`."""
        port = f"$(basename $(readlink /dev/virtio-ports/{PORT_NAME}))"
        return int(self.guest.sh(
            f"sed -n 's/bytes_{direction}: //p' /sys/kernel/debug/virtio-ports/{port}"))
