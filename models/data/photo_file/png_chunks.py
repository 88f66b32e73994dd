"""A PNG file without what decides nothing: text, broken ancillary chunks, a missing end.

A PNG is a row of chunks (https://www.w3.org/TR/png-3/#5DataRep). A lower-case first letter marks a
chunk as ancillary: the pixels can be decoded without it. Pillow refuses a file whose text is long
or whose ancillary chunk has a wrong checksum, although its pixels are sound.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from models.data.photo_colours import PhotoRejectedError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
NO_END = "the end marker is missing, no pixel is"
_END = b"\0\0\0\0IEND\xaeB`\x82"
# Ancillary chunks that change the pixels or the number of frames.
_USED = {b"tRNS", b"acTL", b"fcTL", b"fdAT"}
_LARGEST_PROFILE = 16 * 2**20
# The encoding exponent of sRGB in units of 1/100,000, and how far another may differ unnoticed.
_SRGB_GAMMA, _NEAR_SRGB = 45_455, 1_500


@dataclass(frozen=True)
class CleanPng:
    """The chunks that decide the pixels, the bytes of the colour profile, and notes."""

    blob: bytes
    profile: bytes | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Chunk:
    name: bytes
    body: bytes
    whole: bytes
    is_sound: bool
    is_cut: bool

    @property
    def is_ancillary(self) -> bool:
        return self.name[:1].islower()


def clean_png(blob: bytes) -> CleanPng:
    """The file without text, colour profile and damaged ancillary chunks, and with its end.

    Chunks that pixels depend on are kept as they are. Whether one that is cut short lacks pixels is
    for the decoder to find.

    Raises:
        PhotoRejectedError: a chunk that pixels depend on has a wrong checksum. Pillow does not see
            it, and some wrong bytes decompress to wrong pixels without an error.
    """
    kept, notes = [SIGNATURE], list[str]()
    exif = b""
    profile, gamma, has_colour_space = None, _SRGB_GAMMA, False
    for chunk in _chunks(blob):
        if chunk.name == b"IEND":
            break
        if not chunk.is_ancillary:
            if not chunk.is_sound and not chunk.is_cut:
                name = chunk.name.decode()
                raise PhotoRejectedError(f"the file is corrupt (wrong checksum of chunk {name})")
            kept.append(chunk.whole)
        elif not chunk.is_sound:
            notes.append(f"the damaged chunk {chunk.name.decode()} is ignored")
        elif chunk.name == b"eXIf":
            exif = chunk.whole
        elif chunk.name in _USED:
            kept.append(chunk.whole)
        elif chunk.name == b"iCCP":
            profile, has_colour_space = _read_profile(chunk.body), True
            if profile is None:
                notes.append("the ICC profile can't be decompressed; it is ignored")
        elif chunk.name in (b"sRGB", b"cICP"):
            has_colour_space = True
        elif chunk.name == b"gAMA" and len(chunk.body) == 4:
            gamma = struct.unpack(">I", chunk.body)[0]
    else:
        notes.append(NO_END)
    if not has_colour_space and abs(gamma - _SRGB_GAMMA) > _NEAR_SRGB:
        notes.append(f"the gamma {gamma / 100_000:g} of the file is not applied")
    if len(kept) > 1 and kept[-1][4:8] in (b"IDAT", b"fdAT", b"tRNS"):
        kept.append(_END)
    # Some programs write it after the pixels, where Pillow finds it only after decoding them.
    kept.insert(2, exif)
    return CleanPng(b"".join(kept), profile, tuple(notes))


def _chunks(blob: bytes) -> Iterator[_Chunk]:
    """The chunks of a file; the last one may be cut short, and is then not sound."""
    at = len(SIGNATURE)
    while at + 8 <= len(blob):
        length, name = struct.unpack(">I4s", blob[at : at + 8])
        if not name.isalpha():
            return
        end = at + 12 + length
        body, checksum = blob[at + 8 : end - 4], blob[end - 4 : end]
        is_sound = checksum == struct.pack(">I", zlib.crc32(name + body))
        yield _Chunk(name, body, blob[at:end], is_sound, is_cut=end > len(blob))
        at = end


def _read_profile(body: bytes) -> bytes | None:
    """The profile of an iCCP chunk: a name, a zero, the method 0, and compressed bytes."""
    _, _, packed = body.partition(b"\0")
    decompressor = zlib.decompressobj()
    try:
        profile = decompressor.decompress(packed[1:], _LARGEST_PROFILE)
    except zlib.error:
        return None
    return None if decompressor.unconsumed_tail or not profile else profile
