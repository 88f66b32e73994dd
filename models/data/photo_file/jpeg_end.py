"""JPEG files whose end marker is missing: are all pixels there?"""

from collections.abc import Iterator

START, END = b"\xff\xd8", b"\xff\xd9"
_SCAN = b"\xff\xda"
# Bytes that no decoder takes for a marker. They are long enough to fill several blocks of pixels.
_FILLER = bytes((37 * number + 11) % 251 for number in range(4096))
# A decoder puts zeros in place of missing bits. So the fillers begin with different bits.
_STARTS = (b"\xfe\xfd", b"\xaa\x55", b"\x55\xaa", b"\x0b")


def lacks_end(blob: bytes) -> bool:
    """Whether no end marker follows the first scan; thumbnails in the header have their own."""
    at = len(START)
    while blob[at : at + 1] == b"\xff" and blob[at : at + 2] != _SCAN:
        at += 2 + int.from_bytes(blob[at + 2 : at + 4], "big")
    return END not in blob[at:]


def endings(blob: bytes) -> Iterator[bytes]:
    """The file with five different ends.

    A decoder ignores bytes after the last block of pixels. So all give the same pixels if and only
    if the file lacks nothing that its pixels depend on.
    """
    body = blob.rstrip(b"\xff")
    yield body + END
    for start in _STARTS:
        yield body + start + _FILLER + END
