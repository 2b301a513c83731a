# Shell functions that every command run in the guest can use.

# Loads a kernel module and what it depends on. No modprobe: the order of the
# files was worked out when the initramfs was made.
load() {
    while read -r file; do
        name=${file##*/}
        name=$(echo "${name%.ko}" | tr - _)
        [ -d "/sys/module/$name" ] || insmod "$file" || return 1
    done <"/modules/$1.order"
}

# What udev does on a full system: /dev/virtio-ports/NAME -> /dev/vportNpM.
link_ports() {
    for entry in /sys/class/virtio-ports/*; do
        [ -s "$entry/name" ] || continue
        read -r name <"$entry/name"
        ln -sfn "/dev/${entry##*/}" "/dev/virtio-ports/$name"
    done
    for link in /dev/virtio-ports/*; do
        [ -e "$link" ] || rm -f "$link"
    done
}

# Waits until a test command succeeds: wait_until SECONDS COMMAND...
wait_until() {
    left=$(($1 * 20))
    shift
    until "$@"; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || return 1
        usleep 50000
    done
}

# Writes so many bytes of a file said again and again: repeat_to FILE BYTES. Doubled each
# time, because an emulated processor takes long to start a program.
repeat_to() {
    cat "$1" >/tmp/repeat.one
    while [ "$(stat -c %s /tmp/repeat.one)" -lt "$2" ]; do
        cat /tmp/repeat.one /tmp/repeat.one >/tmp/repeat.two
        mv /tmp/repeat.two /tmp/repeat.one
    done
    head -c "$2" /tmp/repeat.one
    rm /tmp/repeat.one
}

# Waits until the host's end of a virtio port is there. Before that a read of the
# port is an end of file.
wait_host() { wait_host_is 1 "$@"; }

# Waits until it is gone.
wait_no_host() { wait_host_is 0 "$@"; }

wait_host_is() {
    device=$(readlink "/dev/virtio-ports/$2")
    wait_until "${3:-10}" grep -q "host_connected: $1" "/sys/kernel/debug/virtio-ports/${device##*/}"
}
