"""Where the image lies in a JPEG or PNG file, beside all else that is there."""

import re
import struct
import zlib

# Of a JPEG: a marker that ends data or begins a segment. 0 stands for a data byte of
# 255, and those from D0 to D7 lie between data.
MARKER = re.compile(rb"\xff+([\x02-\xcf\xd8-\xfe])")
START_OF_SCAN, END_OF_IMAGE = b"\xda", b"\xd9"


def count_scans(jpeg: bytes) -> int:
    """Scans of a JPEG's image, which may be followed by another one or by a video."""
    scans, position = 0, 2
    while match := MARKER.search(jpeg, position):
        if match[1] == END_OF_IMAGE:
            break
        scans += match[1] == START_OF_SCAN
        # The segment's length counts its own two bytes.
        length = int.from_bytes(jpeg[match.end() : match.end() + 2])
        position = match.end() + max(2, length)
    return scans


def without_metadata(png: bytes) -> bytes:
    """A PNG file with only the chunks that the pixels depend on, and the EXIF data
    where they are whole, since they say how the image is turned."""
    whole, position = memoryview(png), 8
    kept = [whole[:position]]
    while position + 8 <= len(png):
        size, kind = struct.unpack_from(">I4s", png, position)
        chunk = whole[position : position + 12 + size]
        # A capital letter: no image without it. The transparent colour is none such.
        if kind[:1].isupper() or kind == b"tRNS" or kind == b"eXIf" and is_sound(chunk):
            kept.append(chunk)
        if kind == b"IEND":
            break
        position += len(chunk)
    return b"".join(kept)


def is_sound(chunk: memoryview) -> bool:
    """Whether a chunk of a PNG is what its checksum says."""
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])
