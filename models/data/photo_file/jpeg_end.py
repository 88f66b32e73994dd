"""JPEG files whose end marker is missing: are all pixels there?"""

START, END = b"\xff\xd8", b"\xff\xd9"
# Bytes that no decoder takes for a marker. They are long enough to fill several blocks of pixels.
_FILLER = bytes((37 * number + 11) % 251 for number in range(4096))


def endings(blob: bytes) -> tuple[bytes, bytes]:
    """The file with two different ends.

    A decoder ignores bytes after the last block of pixels. So both give the same pixels if and only
    if the file lacks nothing that its pixels depend on.
    """
    body = blob.rstrip(b"\xff")
    return body + END, body + _FILLER + END
