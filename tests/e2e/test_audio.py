"""Sound: what ALSA plays in the guest on an HDA card arrives at a real client, and what
the client hears arrives in the guest."""

import array
import struct

from lib import raw_link
from lib.bench import check
from lib.devices import MACHINE, SPICE_TCP
from lib.tone import Heard, one_period, write_in_guest
from lib.waiting import wait_until

SOUND = ["-audiodev", "spice,id=sound", "-device", "intel-hda",
         "-device", "hda-duplex,audiodev=sound"]
CARD = "hw:0,0"
FORMAT = "-t raw -f S16_LE -r 48000 -c 2"
PLAYBACK, RECORD = "playback:0", "record:0"
FULL = 0xffff
PLAYBACK_TYPE, RECORD_TYPE = 5, 6
DATA, MODE, START, STOP, VOLUME, MUTE = range(101, 107)
RAW, OPUS = 1, 3


def start_vm(bench):
    vm = bench.qemu(MACHINE + SOUND + SPICE_TCP, boot=True, programs="sound", memory=256)
    vm.guest.wait_boot()
    vm.guest.sh("load snd_hda_codec_generic && load snd_hda_intel && "
                "wait_until 20 test -e /dev/snd/pcmC0D0p", 60)
    vm.guest.sh("ln -s aplay /bin/arecord; amixer -q -c 0 sset Master 100% unmute; amixer -q -c 0 sset Capture 100% cap", 20)
    return vm


def connect(bench, opened=PLAYBACK):
    client = bench.client()
    client.open(port=bench.vm.port, connect=["playback", "record"], opened=opened)
    return client


def play(guest, path):
    guest.sh(f"aplay -q -D {CARD} {FORMAT} {path}", 60)


def heard_by(client):
    return Heard((client.directory / "playback-0.1.pcm").read_bytes())


@check
def a_tone_arrives(bench):
    """Three seconds of 1 kHz, by Opus: the frequency, all of it, and no gaps."""
    write_in_guest(bench.vm.guest, "/tmp/tone", 1000, 3)
    client = connect(bench)
    mark = client.events.mark()
    play(bench.vm.guest, "/tmp/tone")
    start = client.wait("sound-start", 10, mark, channel=PLAYBACK)
    client.wait("sound-stop", 20, mark, channel=PLAYBACK)
    heard = heard_by(client)
    print(f"{heard.seconds():.3f} s, {heard.breaks(1000)} breaks, loudest {heard.loudest}")
    assert (start["ears"], start["rate"]) == (2, 48000), start
    assert heard.frequency() == 1000, heard.frequency()
    # The machine is emulated, and others are busy: a few periods may be lost on the way.
    assert 2.9 < heard.seconds() < 3.2, heard.seconds()
    assert heard.breaks(1000) <= 6, heard.breaks(1000)
    # Where something was lost the decoder swings over.
    assert 7500 < heard.loudest < 12000, heard.loudest
    client.close()


@check
def a_tone_as_it_is(bench):
    """The same without Opus, message by message: each sample is what the guest played."""
    write_in_guest(bench.vm.guest, "/tmp/tone", 1000, 1)
    session = raw_link.Session(bench.vm.port)
    # Only the capability VOLUME.
    with raw_link.Messages(session.channel(PLAYBACK_TYPE, channel_caps=(2,))) as channel:
        assert channel.next()[1][4:] == struct.pack("<H", RAW)
        bench.vm.guest.background(f"aplay -q -D {CARD} {FORMAT} /tmp/tone", "aplay")
        messages = channel.until(STOP)
        bench.vm.guest.wait_job(30, "aplay")
    kinds = [kind for kind, _body in messages if kind not in (VOLUME, MUTE)]
    frames = [body for kind, body in messages if kind == DATA]
    assert kinds[0] == START and set(kinds[1:-1]) == {DATA}, set(kinds)
    assert all(len(body) == 4 + 1920 for body in frames)
    times = [struct.unpack_from("<I", body)[0] for body in frames]
    assert times == sorted(times)
    heard = Heard(b"".join(body[4:] for body in frames))
    print(f"{heard.seconds():.3f} s, {heard.breaks(1000)} breaks, loudest {heard.loudest}")
    assert heard.loudest == 8000 and heard.frequency() == 1000
    assert heard.breaks(1000) <= 4 and heard.seconds() > 0.9, heard.seconds()
    period = array.array("h", one_period(1000))[::2]
    rise = heard.rises()[5]
    # The first sample of a period is 0, and where it comes up through zero.
    assert heard.samples[rise:rise + len(period)] == period
    session.main.close()


@check
def volume_and_mute(bench):
    """The guest's mixer in the client, both ways; what a late client is told."""
    guest = bench.vm.guest
    client = connect(bench)
    levels = {}
    # QEMU tells each ear's change, and of a muted output that its volume is 0.
    for command, mute, least, most in (
        ("50%", False, 1, FULL - 1), ("mute", True, 0, 0), ("unmute", False, 1, FULL - 1),
        ("100%", False, FULL, FULL),
    ):
        mark = client.events.mark()
        guest.sh(f"amixer -q -c 0 sset Master {command}")
        told = lambda e: (e["event"] == "levels" and e["channel"] == PLAYBACK
                          and e["mute"] == mute and e["volume"][0] == e["volume"][1]
                          and least <= e["volume"][0] <= most)
        levels[command] = client.events.wait(told, 10, f"the output at {command}", mark)["volume"]
    bench.observe("levels", levels)
    wanted_mute = lambda e: e["event"] == "levels" and e["channel"] == RECORD and e["mute"]
    mark = client.events.mark()
    guest.sh("amixer -q -c 0 sset Capture 40% nocap")
    client.events.wait(wanted_mute, 10, "the input is muted", mark)
    late = bench.client()
    late.open(port=bench.vm.port, connect=["record"], opened=RECORD)
    late.events.wait(wanted_mute, 10, "a late client is told")
    bench.observe("late", late.seen("levels", channel=RECORD)[-1]["volume"])
    guest.sh("amixer -q -c 0 sset Capture 100% cap")
    late.wait("levels", 10, channel=RECORD, mute=False, volume=[FULL, FULL])
    late.close()


@check
def the_guest_records(bench):
    """Two seconds of the client's tone."""
    client = connect(bench, RECORD)
    count = record(bench.vm.guest, 2)
    client.wait("sound-start", 5, channel=RECORD, ears=2, rate=48000)
    client.wait("sound-stop", 10, channel=RECORD)
    print(count)
    # Without what comes before the client has heard of it, and the ring's first half.
    assert 1500 < count["rises"] <= 2001 and count["samples"] == 96000, count
    assert count["odd"] <= 20, count
    client.close()


@check
def clients_come_and_go_while_it_plays(bench):
    """A client killed, one in its place, and nobody at all: the guest plays on."""
    guest = bench.vm.guest
    write_in_guest(guest, "/tmp/tone", 1000, 6)
    first = connect(bench)
    guest.background(f"aplay -q -D {CARD} {FORMAT} /tmp/tone", "aplay")
    first.wait("sound-start", 10, channel=PLAYBACK)
    first.kill()
    second = connect(bench)
    second.wait("sound-start", 10, channel=PLAYBACK)
    wait_until(lambda: heard_by(second).seconds() > 0.5, 20, "the second client hears it")
    assert heard_by(second).frequency() == 1000
    second.close()
    guest.wait_job(60, "aplay")
    third = connect(bench)
    write_in_guest(guest, "/tmp/tone", 500, 1)
    play(guest, "/tmp/tone")
    third.wait("sound-stop", 20, channel=PLAYBACK)
    assert heard_by(third).frequency() == 500
    third.close()


@check
def a_client_that_does_not_read(bench):
    """What it misses is lost; what it gets then is new."""
    guest = bench.vm.guest
    write_in_guest(guest, "/tmp/tone", 1000, 3)
    client = connect(bench)
    client.pause()
    play(guest, "/tmp/tone")
    client.resume()
    client.wait("sound-stop", 30, channel=PLAYBACK)
    mark = client.events.mark()
    write_in_guest(guest, "/tmp/tone", 500, 1)
    play(guest, "/tmp/tone")
    client.wait("sound-stop", 30, mark, channel=PLAYBACK)
    client.close()


@check
def nonsense_ends_the_channel(bench):
    """A recording client that sends what is no sound."""
    session = raw_link.Session(bench.vm.port)
    bench.vm.guest.background(f"arecord -q -D {CARD} {FORMAT} -d 1 /tmp/recorded", "arecord")
    for messages in (
        [(MODE, struct.pack("<IH", 0, 2))],
        [(MODE, struct.pack("<IH", 0, OPUS)), (101, bytes(4) + b"\xff" * 700)],
        [(101, b"\0\0")],
        [(104, bytes(8))],
    ):
        with raw_link.Messages(session.channel(RECORD_TYPE, channel_caps=(6,))) as channel:
            channel.send(*(raw_link.message(kind, body) for kind, body in messages))
            channel.rest()
    with raw_link.Messages(session.channel(RECORD_TYPE, channel_caps=(6,))) as channel:
        channel.send(raw_link.message(101, bytes(4) + b"\7" * 200_001))
        bench.vm.guest.wait_job(30, "arecord")
    bench.expect_stderr(r"record|sound|Opus|packet|message type|[Mm]ode|codec|decode|parse")
    session.main.close()


def record(guest, seconds):
    """What arecord gets, counted in the guest: samples, rises through zero, and periods of
    another length than 1 kHz has."""
    guest.sh(f"arecord -q -D {CARD} {FORMAT} -d {seconds} /tmp/recorded", 60)
    counts = guest.sh(
        "od -An -v -t d2 -w4 /tmp/recorded | awk '{ if (last < 0 && $1 >= 0) { "
        "if (n && (NR - at > 50 || NR - at < 46)) odd++; n++; at = NR } last = $1 } "
        "END { print NR, n + 0, odd + 0 }'", 120)
    return dict(zip(("samples", "rises", "odd"), map(int, counts.split())))
