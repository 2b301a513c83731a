"""Pictures of a screen: the PPM files of QEMU and clients, and those of X servers."""

import struct

HEADER_WORDS = 25
LITTLE_ENDIAN = 0
ZPIXMAP = 2


def ppm(data):
    """Width, height and the pixels, of three bytes each, of a PPM file."""
    kind, size, depth, pixels = data.split(b"\n", 3)
    assert (kind, depth) == (b"P6", b"255"), (kind, depth)
    width, height = map(int, size.split())
    assert len(pixels) == width * height * 3
    return width, height, pixels


def xwd(data):
    """The same of what xwd writes about a screen with 32 bits a pixel."""
    words = struct.unpack_from(f">{HEADER_WORDS}I", data)
    size, form, width, height, order = words[0], words[2], words[4], words[5], words[7]
    bits, stride, colours = words[11], words[12], words[19]
    assert (form, order, bits) == (ZPIXMAP, LITTLE_ENDIAN, 32), words
    at = size + 12 * colours
    pixels = bytearray()
    for line in range(height):
        row = data[at + line * stride:at + line * stride + width * 4]
        rgb = bytearray(width * 3)
        rgb[0::3], rgb[1::3], rgb[2::3] = row[2::4], row[1::4], row[0::4]
        pixels += rgb
    return width, height, bytes(pixels)
