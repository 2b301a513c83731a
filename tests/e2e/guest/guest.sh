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

# Waits until the host's end of a virtio port is there. Before that a read of the
# port is an end of file.
wait_host() {
    device=$(readlink "/dev/virtio-ports/$1")
    wait_until "${2:-10}" grep -q 'host_connected: 1' "/sys/kernel/debug/virtio-ports/${device##*/}"
}
