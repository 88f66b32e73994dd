"""The prompt of a photo: a text file of its name, in words."""

import codecs
import re
import unicodedata
from pathlib import Path

from models.data.names import holds_control_characters

LONGEST_PROMPT = 500
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)
# A row of a YOLO file is a class and four numbers or more; other annotation files add words.
_LEAST_NUMBERS = 4


class PromptError(ValueError):
    """A text file holds no prompt; the message is the reason in one line."""


def read_prompt(path: Path) -> str:
    """The words in a text file (UTF-8, or UTF-16 with its byte order mark), in one line.

    Raises:
        PromptError: the file holds no prompt, or one that is too long.
        OSError: the file can't be read.
    """
    with path.open("rb") as opened:
        blob = opened.read(8 * LONGEST_PROMPT + 1)
    is_utf16 = blob.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if len(blob) > 8 * LONGEST_PROMPT:
        if _are_numbers(blob.decode("latin-1").rpartition("\n")[0]):
            raise PromptError(_NUMBERS)
        raise PromptError(f"the prompt is longer than {LONGEST_PROMPT} characters")
    try:
        text = blob.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        raise PromptError("the prompt is no UTF-8 text; save it as UTF-8") from None
    if _are_numbers(text):
        raise PromptError(_NUMBERS)
    prompt = " ".join(text.split())
    if len(prompt) > LONGEST_PROMPT:
        raise PromptError(f"the prompt is longer than {LONGEST_PROMPT} characters")
    if not prompt or holds_control_characters(prompt):
        raise PromptError("the prompt is empty or holds control characters")
    if not any(unicodedata.category(character)[0] in "LS" for character in prompt):
        raise PromptError(f"the prompt {prompt[:40]!r} holds no word")
    return prompt


_NUMBERS = (
    "rows of numbers, such as boxes, and no prompt; for boxes, give a data.yaml with names and the"
    " folders images and labels"
)


def _are_numbers(text: str) -> bool:
    """Whether every row has four numbers or more, and no more other words than numbers."""
    rows = [row.replace(",", " ").split() for row in text.splitlines() if row.strip()]
    counts = [(sum(bool(_NUMBER.fullmatch(word)) for word in row), len(row)) for row in rows]
    return bool(rows) and all(
        numbers >= _LEAST_NUMBERS and 2 * numbers >= words for numbers, words in counts
    )
