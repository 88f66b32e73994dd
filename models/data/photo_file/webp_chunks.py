"""A WebP file whose metadata after the pixels is cut short."""

import struct

_EXTENDED = b"VP8X"
# Chunks that hold no pixels, and their flags in the header of the extended format.
_METADATA = {b"EXIF": 0x08, b"XMP ": 0x04}


def drop_cut_metadata(blob: bytes) -> bytes:
    """The file without a last chunk of EXIF or XMP that is cut short; any other file as it is.

    See https://developers.google.com/speed/webp/docs/riff_container.
    """
    if blob[:4] != b"RIFF" or blob[8:12] != b"WEBP":
        return blob
    at, kept = 12, list[bytes]()
    while at + 8 <= len(blob):
        name, size = struct.unpack("<4sI", blob[at : at + 8])
        end = at + 8 + size + size % 2
        if end > len(blob):
            return _without(name, kept) if name in _METADATA else blob
        kept.append(blob[at:end])
        at = end
    return blob


def _without(name: bytes, kept: list[bytes]) -> bytes:
    head = bytearray(kept[0])
    if head[:4] == _EXTENDED:
        head[8] &= ~_METADATA[name]
    body = b"WEBP" + bytes(head) + b"".join(kept[1:])
    return b"RIFF" + struct.pack("<I", len(body)) + body
