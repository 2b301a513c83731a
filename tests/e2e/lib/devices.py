"""The pieces of QEMU command lines that the tests share."""

PORT = "org.spice-space.fs.0"

SPICE_TCP = ["-spice", "port=PORT,addr=127.0.0.1,disable-ticketing=on"]
SERIAL_BUS = ["-device", "virtio-serial-pci,id=vs"]
USB_BUS = ["-device", "ich9-usb-ehci1,id=usb",
           "-device", "ich9-usb-uhci1,masterbus=usb.0,firstport=0,multifunction=on"]
MOUSE_SERVER, MOUSE_CLIENT = 1, 2

MACHINE = ["-M", "pc", "-vga", "std"]


def port(number, name):
    """A SPICE port with its virtio port: ids portN (chardev) and vportN."""
    return ["-chardev", f"spiceport,name={name},id=port{number}",
            "-device", f"virtserialport,chardev=port{number},name={name},id=vport{number}"]


def serial(number, name):
    """A SPICE port with a serial port of the PC; behind the console and the agent the
    first one is the guest's ttyS2. Ids serialN (chardev) and isaserialN."""
    return ["-chardev", f"spiceport,name={name},id=serial{number}",
            "-device", f"isa-serial,chardev=serial{number},id=isaserial{number}"]


VDAGENT = ["-chardev", "spicevmc,name=vdagent,id=vdagent",
           "-device", "virtserialport,chardev=vdagent,name=com.redhat.spice.0,id=vdagentport"]


def usbredir(number):
    """A USB redirection slot: ids redirN (chardev) and usbredirN."""
    return ["-chardev", f"spicevmc,name=usbredir,id=redir{number}",
            "-device", f"usb-redir,chardev=redir{number},id=usbredir{number}"]


def smartcard(number):
    """A card reader whose card is the client's: ids cardN (chardev) and passthruN."""
    return ["-device", f"usb-ccid,bus=usb.0,id=ccid{number}",
            "-chardev", f"spicevmc,name=smartcard,id=card{number}",
            "-device", f"ccid-card-passthru,bus=ccid{number}.0,chardev=card{number},id=passthru{number}"]
