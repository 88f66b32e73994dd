"""Prompts with weights, in the syntax of Compel: ``(words)1.3``, ``word++``, ``word--``.

A caption that a network wrote is plain text, so Compel must not read its characters as syntax:
`escape` puts a backslash before those that it would read. Compel's grammar accepts a backslash
before each of them, but removes it only before brackets and quotes; `unescape` removes all. Prompts
of a recipe may hold weights: `to_compel` converts them, and `without_weights` removes them for
networks that read plain text.
"""

import re
import unicodedata
from dataclasses import dataclass

SYNTAX = '()"+-=.,'
_ESCAPED = re.compile(r"\\([()\"+\-=.,])")
_BLEND = re.compile(r"(?<=[^\\]\))\.(?:blend|and)\([^()]*\)")
_QUOTED = re.compile(r'(?<!\\)"((?:\\.|[^"\\])*)"')
# Either an escaped character, or brackets with their weight, or signs at the end of a word.
_SYNTAX = re.compile(
    r"\\(.)|\)(?:[+-]+|\d+\.?\d*|\.\d+)?|\(|(?<=\w)(?:\+{2,}|-{2,}|[+-](?![\w+-]))"
)
_WEIGHT_AT_END = re.compile(r"\s*:\s*(\d+\.?\d*|\.\d+)\s*$")


# CLIP's text encoders read 77 positions; a start and an end take two of them.
MOST_TOKENS = 75
# What CLIP's tokenizer never joins into one token (github.com/openai/CLIP, simple_tokenizer.py).
_PIECES = re.compile(r"'(?:s|t|re|ve|m|ll|d)\b|[^\W\d_]+|\d|[^\s\w]+|_+", re.IGNORECASE)


@dataclass(frozen=True)
class Part:
    """A part of a prompt: its text in the syntax of Compel, and its weight.

    Weight 1 leaves the text as it is, 0 removes its effect, more than 1 emphasises it.
    """

    text: str
    weight: float = 1.0


def escape(text: str) -> str:
    """The text with a backslash before each character that Compel would read as syntax.

    Each run of white space becomes a space. Backslashes are removed, as Compel can't express them.

    Example:
        >>> escape("C++ book (red)")
        'C\\\\+\\\\+ book \\\\(red\\\\)'
    """
    plain = " ".join(text.replace("\\", " ").split())
    return "".join(f"\\{char}" if char in SYNTAX else char for char in plain)


def unescape(text: str) -> str:
    """The text before `escape`, except for white space and backslashes."""
    return _ESCAPED.sub(r"\1", text)


def to_compel(prompt: str) -> str:
    """Convert a prompt written by a person to Compel's syntax.

    ``(words:1.3)``, as other programs write weights, becomes ``(words)1.3``; Compel would read the
    literal text "words:1 . 3". Such brackets may be nested. Escaped brackets and colons without a
    number stay as they are. A bracket or quote without its partner is escaped, because Compel would
    read the weights around it as text.
    """
    # `brackets` and `quote` are the positions of open brackets and of an open quote in `result`.
    result, brackets, quote, position = "", list[int](), list[int](), 0
    while position < len(prompt):
        token = prompt[position : position + 2] if prompt[position] == "\\" else prompt[position]
        position += len(token)
        if token == "(":
            brackets.append(len(result))
        elif token == '"':
            quote = [] if quote else [len(result)]
        elif token == ")" and not brackets:
            token = "\\)"
        elif token == ")":
            inside = result[brackets[-1] :]
            result = result[: brackets.pop()]
            weight = _WEIGHT_AT_END.search(inside)
            token = f"{inside[: weight.start()]}){float(weight[1]):g}" if weight else f"{inside})"
        result += token
    for unpaired in sorted([*brackets, *quote], reverse=True):
        result = f"{result[:unpaired]}\\{result[unpaired:]}"
    return result


def without_weights(prompt: str) -> str:
    """The words of a prompt, without weights and without escapes.

    Example:
        >>> without_weights("(a C\\+\\+ book)1.2 on grass++")
        'a C++ book on grass'
    """
    bracketed = _QUOTED.sub(r"(\1)", _BLEND.sub("", to_compel(prompt)))
    return " ".join(_SYNTAX.sub(r"\1", bracketed).split())


def count_tokens(prompt: str) -> int:
    """The least number of CLIP tokens of a prompt; words that CLIP splits have more.

    Signs of a script without an alphabet count one by one. Brackets and weights count, because the
    encoder that summarises a prompt reads them.
    """
    pieces = _PIECES.findall(unescape(prompt))
    return sum(max(1, sum(unicodedata.category(sign) == "Lo" for sign in text)) for text in pieces)


def weighted_prompt(*parts: Part) -> str:
    """One prompt of several parts, such as ``(a photo of red shoes)1.2 (on grass)0.9``.

    Parts without text are omitted. A part of weight 1 gets no brackets.

    Raises:
        ValueError: a weight is negative or not finite.
    """
    return " ".join(_format_part(part) for part in parts if part.text.strip())


def _format_part(part: Part) -> str:
    if not 0 <= part.weight < float("inf"):
        raise ValueError(f"weight {part.weight} of {part.text!r}: give a number from 0 to 2")
    text = part.text.strip()
    return text if part.weight == 1 else f"({text}){part.weight:g}"
