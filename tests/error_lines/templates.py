"""A text with named placeholders, and how a placeholder is called."""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

_PLACEHOLDER = re.compile(r"<[^<>]*>")
_WORD = re.compile(r"[A-Za-z]{2,}")


@dataclass(frozen=True)
class Template:
    """A text with placeholders such as ``<file>``.

    ``choices`` are placeholders with the texts that each can stand for.
    """

    text: str
    choices: tuple[tuple[str, tuple["Template", ...]], ...] = ()

    @property
    def has_words(self) -> bool:
        """Whether two words of it stand in the source."""
        return len(_WORD.findall(_PLACEHOLDER.sub(" ", self.text))) > 1 or any(
            choice.has_words for _, listed in self.choices for choice in listed
        )

    @property
    def is_value(self) -> bool:
        """Whether it is a value of the run and nothing else: the line of another error."""
        return not self.choices and not _PLACEHOLDER.sub("", self.text)

    @property
    def length(self) -> int:
        """Characters of the longest text that it gives, without values."""
        return len(_PLACEHOLDER.sub("", self.text)) + sum(
            max(choice.length for choice in listed) for _, listed in self.choices
        )

    def texts(self) -> list[str]:
        """Its own text, and all texts that its placeholders can stand for."""
        below = [choice for _, listed in self.choices for choice in listed]
        return [self.text, *(text for choice in below for text in choice.texts())]


def concatenate(parts: Sequence[Template]) -> Template:
    """The parts as one text."""
    choices = dict(choice for part in parts for choice in part.choices)
    return Template("".join(part.text for part in parts), tuple(choices.items()))


def as_part(node: ast.AST, templates: Sequence[Template]) -> Template:
    """A part of a longer text: the only text, or a placeholder for texts with words."""
    known = tuple(dict.fromkeys(templates))
    is_plural = len(known) == 2 and known[1].text == f"{known[0].text}s"
    if len(known) == 1 or is_plural:
        return known[-1]
    worded = tuple(template for template in known if template.has_words)
    if worded:
        return Template(placeholder(node).text, ((placeholder(node).text, worded),))
    return known[-1] if isinstance(node, ast.IfExp) else placeholder(node)


def placeholder(node: ast.AST) -> Template:
    """A placeholder for a value that is known only when the program runs."""
    return Template(f"<{_name(node)}>")


def _name(node: ast.AST) -> str:
    """What a value is called: the name of the variable, attribute or function that it is of."""
    match node:
        case ast.Name(id=name):
            return name.strip("_").replace("_", " ")
        case ast.Attribute(value=value, attr="strerror" | "msg" | "__name__"):
            return _name(value)
        case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=attr):
            return attr.strip("_").replace("_", " ")
        case ast.Attribute(value=value, attr=attr):
            return f"{_name(value)} {attr.strip('_').replace('_', ' ')}"
        case ast.Call(func=ast.Name(id="len"), args=[first, *_]):
            return f"number of {_name(first)}"
        case ast.Call(func=ast.Attribute(attr="join"), args=[first]):
            return _name(first)
        case ast.Call(func=ast.Attribute(value=value, attr="get")):
            return _name(value)
        case ast.Call(args=[first, *_]) if not isinstance(first, ast.Constant):
            return _name(first)
        case ast.Call(func=ast.Attribute(value=value)):
            return _name(value)
        case ast.Call(func=func):
            return _name(func)
        case ast.GeneratorExp(generators=[generator]) | ast.ListComp(generators=[generator]):
            return _name(generator.iter)
        case ast.Subscript(value=value, slice=ast.Constant(value=str(key))):
            return f"{_name(value)} {key}"
        case ast.BinOp(left=part) | ast.Subscript(value=part) | ast.Starred(value=part):
            return _name(part)
        case ast.BoolOp(values=[part, *_]) | ast.IfExp(body=part) | ast.FormattedValue(value=part):
            return _name(part)
        case ast.Constant(value=value):
            return str(value)
    return "value"
