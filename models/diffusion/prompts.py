"""Prompts with weights, in the syntax of Compel: ``(words)1.3``, ``word++``, ``word--``.

What a network says of a photo is a sentence, so none of its characters may be read as syntax:
`escape` puts a backslash before those that Compel would read. Compel's grammar takes a backslash
before each of them, but removes it only before brackets and quotes; `unescape` removes it before
all. What a person writes may hold weights: `to_compel` reads them, and `without_weights` leaves
them out for networks that read plain text.
"""

import re
from dataclasses import dataclass

SYNTAX = '()"+-=.,'
_ESCAPED = re.compile(r"\\([()\"+\-=.,])")
_BLEND = re.compile(r"(?<=[^\\]\))\.(?:blend|and)\([^()]*\)")
_QUOTED = re.compile(r'(?<!\\)"((?:\\.|[^"\\])*)"')
# An escaped character, which is kept; brackets with their weight; signs that a word ends with.
_SYNTAX = re.compile(
    r"\\(.)|\)(?:[+-]+|\d+\.?\d*|\.\d+)?|\(|(?<=\w)(?:\+{2,}|-{2,}|[+-](?![\w+-]))"
)
_WEIGHT_AT_END = re.compile(r"\s*:\s*(\d+\.?\d*|\.\d+)\s*$")


@dataclass(frozen=True)
class Part:
    """A part of a prompt: its text in the syntax of Compel, and how much it counts.

    ``weight`` 1 leaves the text as it is; 0 takes it out, more than 1 stresses it.
    """

    text: str
    weight: float = 1.0


def escape(text: str) -> str:
    """A text in which each character means itself, as part of a prompt.

    Runs of white space become a space, and backslashes are dropped: Compel can't express them.

    Example:
        >>> escape("C++ book (red)")
        'C\\\\+\\\\+ book \\\\(red\\\\)'
    """
    plain = " ".join(text.replace("\\", " ").split())
    return "".join(f"\\{one}" if one in SYNTAX else one for one in plain)


def unescape(text: str) -> str:
    """The text that `escape` was given, up to white space and backslashes."""
    return _ESCAPED.sub(r"\1", text)


def to_compel(prompt: str) -> str:
    """A person's prompt as Compel reads it.

    ``(words:1.3)``, as other programs write weights, becomes ``(words)1.3``: Compel would read the
    literal text "words:1 . 3". Such brackets may be nested; escaped ones are left alone, and so is
    a colon without a number after it. A bracket or a quote without its partner means itself, and is
    escaped: Compel would take the weights around it for text.
    """
    done, opened, quote, at = "", list[int](), list[int](), 0
    while at < len(prompt):
        one = prompt[at : at + 2] if prompt[at] == "\\" else prompt[at]
        at += len(one)
        if one == "(":
            opened.append(len(done))
        elif one == '"':
            quote = [] if quote else [len(done)]
        elif one == ")" and not opened:
            one = "\\)"
        elif one == ")":
            inside = done[opened[-1] :]
            done = done[: opened.pop()]
            weight = _WEIGHT_AT_END.search(inside)
            one = f"{inside[: weight.start()]}){float(weight[1]):g}" if weight else f"{inside})"
        done += one
    for lone in sorted([*opened, *quote], reverse=True):
        done = f"{done[:lone]}\\{done[lone:]}"
    return done


def without_weights(prompt: str) -> str:
    """The words of a person's prompt, or of a weighted one: no weights, and no escaped characters.

    Example:
        >>> without_weights("(a C\\+\\+ book)1.2 on grass++")
        'a C++ book on grass'
    """
    bracketed = _QUOTED.sub(r"(\1)", _BLEND.sub("", to_compel(prompt)))
    return " ".join(_SYNTAX.sub(r"\1", bracketed).split())


def weighted_prompt(*parts: Part) -> str:
    """One prompt of several parts: ``(a photo of red shoes)1.2 (on grass)0.9``.

    Parts without text are left out, and a weight of 1 needs no brackets.

    Raises:
        ValueError: a weight is negative or not finite.
    """
    return " ".join(_bracketed(part) for part in parts if part.text.strip())


def _bracketed(part: Part) -> str:
    if not 0 <= part.weight < float("inf"):
        raise ValueError(f"weight {part.weight} of {part.text!r}: give a number from 0 to 2")
    text = part.text.strip()
    return text if part.weight == 1 else f"({text}){part.weight:g}"
