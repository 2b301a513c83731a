"""A folder that the client shares, in the guest through Debian's spice-webdavd."""

import shutil
import xml.etree.ElementTree as xml
from urllib.parse import urlparse

from lib.bench import check
from lib.devices import MACHINE, SERIAL_BUS, SPICE_TCP, port
from lib.spice_client import random_file, sha256_file
from lib.waiting import settled, wait_until

FOLDER = "org.spice-space.webdav.0"
STATE = f"/sys/kernel/debug/virtio-ports/$(basename $(readlink /dev/virtio-ports/{FOLDER}))"
URL = "http://127.0.0.1:9843"
MIB = 1 << 20
SIZE = 20 * MIB
HELLO = "hello from the client's folder\n"

# The server in the client (phodav 3.0) stores an empty file, and says that all is
# well, when it is asked `Expect: 100-continue`.
CURL = "curl -sS --fail -H Expect:"


def start_vm(bench):
    # Memory for the programs, which are there twice while the guest boots, and for
    # files in /tmp.
    vm = bench.qemu(MACHINE + SERIAL_BUS + port(1, FOLDER) + SPICE_TCP, boot=True,
                    programs="webdav", memory=320)
    vm.guest.wait_boot(120)
    # What systemd does by the packages' units, restarting on success included. The
    # daemon's log tells when it has noticed that a client is gone.
    vm.guest.sh(f"""ip link set lo up
        mkdir -p /run/dbus; chown messagebus /run/dbus
        dbus-daemon --config-file=/usr/share/dbus-1/system.conf
        avahi-daemon -D --no-chroot --no-rlimits
        export G_MESSAGES_DEBUG=all
        while spice-webdavd -p 9843; do usleep 100000; done >>/tmp/webdavd.log 2>&1 &
        head -c {SIZE} /dev/urandom >/tmp/upload""", 60)
    return vm


def make_folder(bench):
    """A new folder and the file in it that the guest is to fetch."""
    folder = bench.logs / "folder"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "hello.txt").write_text(HELLO)
    return folder, random_file(folder / "from-client", SIZE)


def connect(bench):
    """A client without a window that shares a new folder."""
    folder, data = make_folder(bench)
    client = bench.client()
    client.open(port=bench.vm.port, connect=["webdav"], shared_dir=str(folder))
    client.wait_channel("webdav:0", "opened")
    return client, folder, data


def share(bench):
    client, folder, data = connect(bench)
    wait_folder(bench.vm)
    return client, folder, data


def wait_folder(vm):
    """spice-webdavd looks for a client once a second. Until then it lets connections
    wait, and it drops them when a client goes."""
    vm.guest.sh(f"until curl -s --fail -m 3 {URL}/ >/tmp/listing; do usleep 100000; done", 60)


def listing(vm, path):
    """Names and sizes by PROPFIND; None for a folder. spice-gtk adds a folder of its
    own for the clipboard."""
    answer = vm.guest.sh(f"{CURL} -X PROPFIND -H 'Depth: 1' {URL}{path}")
    found = {}
    for response in xml.fromstring(answer).iterfind("{DAV:}response"):
        name = urlparse(response.findtext("{DAV:}href")).path
        is_folder = response.find(".//{DAV:}resourcetype/{DAV:}collection") is not None
        size = response.findtext(".//{DAV:}getcontentlength")
        found[name] = None if is_folder else int(size)
    found.pop("/.spice-clipboard", None)
    return found


def fetch(vm, data):
    """The client's file into the guest."""
    vm.guest.sh(f"{CURL} -o /tmp/fetched {URL}/{data.name}", 60)
    assert vm.guest.sha256("/tmp/fetched") == sha256_file(data), \
        "the guest fetched other bytes than the client has"


def store(vm, folder):
    """The guest's file into the client's folder."""
    vm.guest.sh(f"{CURL} -T /tmp/upload {URL}/from-guest", 60)
    assert sha256_file(folder / "from-guest") == vm.guest.sha256("/tmp/upload"), \
        "other bytes came to the client than the guest has stored"


@check
def shared_by_spicy(bench):
    """A client with a window: the folder as a page and by PROPFIND, 20 MiB into the
    guest, 20 MiB back, and what the guest deletes is gone."""
    vm = bench.vm
    folder, data = make_folder(bench)
    bench.spicy(port=vm.port, shared_dir=folder)
    wait_folder(vm)
    page = vm.guest.sh("cat /tmp/listing")
    assert 'href="from-client"' in page, f"the folder as a page: {page}"
    assert listing(vm, "/") == {"/": None, "/sub": None, "/from-client": SIZE}
    assert listing(vm, "/sub") == {"/sub": None, "/sub/hello.txt": len(HELLO)}
    assert vm.guest.sh(f"wget -q -O - {URL}/sub/hello.txt") == HELLO.strip()
    fetch(vm, data)
    store(vm, folder)
    vm.guest.sh(f"{CURL} -X DELETE {URL}/from-client")
    assert not data.exists(), "the guest deleted the file, the client still has it"
    assert listing(vm, "/") == {"/": None, "/sub": None, "/from-guest": SIZE}


@check
def both_ways_at_once(bench):
    """Two files into the guest and two into the folder at the same time, all over
    one channel."""
    vm = bench.vm
    client, folder, _ = share(bench)
    part = random_file(folder / "part", 4 * MIB)
    vm.guest.background(f"""head -c {4 * MIB} /tmp/upload >/tmp/part
        for n in 1 2; do
            {CURL} -o /tmp/fetched.$n {URL}/part & jobs="$jobs $!"
            {CURL} -T /tmp/part {URL}/stored.$n & jobs="$jobs $!"
        done
        for job in $jobs; do wait $job || exit 1; done
        sha256sum /tmp/part /tmp/fetched.* | cut -c1-64; rm -f /tmp/part /tmp/fetched.*""")
    status, output = vm.guest.job_end(90)
    assert status == 0, f"the copies in the guest: status {status}: {output}"
    wanted, *fetched = output.split()
    assert fetched == [sha256_file(part)] * 2, "the guest fetched other bytes"
    assert [sha256_file(folder / f"stored.{n}") for n in (1, 2)] == [wanted] * 2, \
        "other bytes came to the client"
    client.close()


def moved(vm, direction):
    """Bytes that have passed through the guest's port: `sent` or `received`."""
    return int(vm.guest.sh(f"sed -n 's/bytes_{direction}: //p' {STATE}"))


def lose_client(bench, direction, copy):
    """The client stops in the middle of a copy that the guest makes, and is killed when
    nothing moves any more: the last message is cut off somewhere."""
    vm = bench.vm
    client, _, _ = share(bench)
    before = moved(vm, direction)
    vm.guest.background(f"{copy} --limit-rate 4M")
    wait_until(lambda: moved(vm, direction) - before > MIB, 40, "the first MiB of the copy")
    client.pause()
    settled(lambda: moved(vm, direction))
    assert vm.guest.run("test -s /tmp/job.status")[0] != 0, "the copy was over before the client went"
    client.kill()
    vm.guest.sh(f"wait_until 10 grep -q 'host_connected: 0' {STATE}")


def wait_noticed(vm):
    """spice-webdavd has seen that there is no client and awaits the next one."""
    vm.guest.sh(": >/tmp/webdavd.log; wait_until 30 grep -q 'connected: 0' /tmp/webdavd.log", 40)


def share_again(bench):
    """Only when a client shares the folder again does spice-webdavd end the old copy's
    connection in the guest."""
    client, folder, data = share(bench)
    status, _ = bench.vm.guest.job_end(30)
    assert status != 0, "a copy from or to a client that went in the middle succeeded"
    return client, folder, data


@check
def client_lost_while_the_guest_fetches(bench):
    lose_client(bench, "received", f"{CURL} -o /tmp/fetched {URL}/from-client")
    wait_noticed(bench.vm)
    client, _, data = share_again(bench)
    fetch(bench.vm, data)
    client.close()


@check
def client_lost_while_the_guest_stores(bench):
    """spice-webdavd hangs in a write until another client comes, whom it gives the rest
    of the old copy. That client may not understand a word, as the beginning is missing;
    when it goes too, the daemon begins anew. Nobody in the guest waits so long."""
    vm = bench.vm
    lose_client(bench, "sent", f"{CURL} -T /tmp/upload {URL}/from-guest")
    vm.guest.sh("killall curl")
    client, _, _ = connect(bench)
    settled(lambda: moved(vm, "sent"), interval=1)
    client.kill()
    wait_noticed(vm)
    client, folder, _ = share_again(bench)
    store(vm, folder)
    client.close()
