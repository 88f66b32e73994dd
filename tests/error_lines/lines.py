"""The error lines of the product, and the reasons for which it refuses photos and images."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from tests.error_lines.program import Program, called_name, read_program
from tests.error_lines.reader import Reader
from tests.error_lines.templates import Template

# What ends a command without a line of its own, and Python's own signals.
_SILENT = {"Exit", "SystemExit", "NotImplementedError", "KeyboardInterrupt"}
# The parts of a line: what is wrong, then what to do about it.
_FIX = re.compile(
    r"(?:^|[;:,.(?] (?:or |then |and |so )?|\b(?:or|and|so) )"
    r"(?P<fix>['`]?(?:accept|add|annotate|call|cancel|change|check|choose|clear|compare|copy|correct"
    r"|crop|delete|deploy|download|export|fetch|fix|free|give|install|keep|leave|list|log in|lower"
    r"|make|merge|mount|move|name|pass|pip install|pull|put|quote|raise|remove|rename|restore|retry"
    r"|rerun|run|save|see|segment|set|sort|start|store|synthset|train|try|unpack|unset|update|use"
    r"|wait|write)\b.*)$"
)
# A line that states what has to be names its fix.
_DEMAND = re.compile(r"\b(must|needs?|has to|did you mean|knows)\b")


@dataclass(frozen=True)
class Line:
    """One line: where it is made, the class of its error (empty for a reason), and its text."""

    file: str
    number: int
    error: str
    template: Template

    def __str__(self) -> str:
        return f"{self.file}:{self.number}: {self.template.text}"


@cache
def error_lines() -> tuple[Line, ...]:
    """Every line with which the product raises an error, in the order of the source."""
    lines = []
    for reader, node in _nodes(ast.Raise):
        for error, template in reader.raised(node.exc) if node.exc else []:
            if error not in _SILENT:
                lines.append(Line(reader.module.file, node.lineno, error, template))
    return _sorted(lines)


@cache
def unread_raises() -> tuple[str, ...]:
    """The raise statements whose line is not found: those of an error that was caught before."""
    unread = []
    for reader, node in _nodes(ast.Raise):
        found = reader.raised(node.exc) if node.exc else [("", Template(""))]
        known = any(error in _SILENT or template.has_words for error, template in found)
        if not known and node.exc and ast.unparse(node.exc).split(".")[-1] not in _SILENT:
            unread.append(f"{reader.module.file}: raise {ast.unparse(node.exc)}")
    return tuple(sorted(unread))


@cache
def reasons() -> tuple[Line, ...]:
    """Every reason for which a file or an image is not used."""
    lines = []
    for reader, call in _nodes(ast.Call):
        for value in _reasons_in(call):
            lines += [
                Line(reader.module.file, call.lineno, "", template)
                for template in reader.read(value)
                if template.has_words
            ]
    return _sorted(lines)


def split_fix(text: str) -> tuple[str, str]:
    """What a line says is wrong, and what it says to do; the second is empty if nothing does."""
    found = _FIX.search(text)
    if found is None:
        return text, ""
    return text[: found.start("fix")].rstrip("; "), found["fix"]


def says_what_to_do(template: Template) -> bool:
    """Whether a line, or all that one of its placeholders can stand for, names a fix."""
    if split_fix(template.text)[1] or _DEMAND.search(template.text):
        return True
    return any(all(map(says_what_to_do, listed)) for _, listed in template.choices)


def _reasons_in(call: ast.Call) -> Iterator[ast.expr]:
    name = called_name(call)
    if name in ("Refused", "refuse") and len(call.args) == 2:
        yield call.args[1]
    for word in call.keywords:
        if name in ("StageOutput", "Unmade", "AnnotatedImage") and word.arg in (
            "reject_reason",
            "reason",
            "problem",
        ):
            yield word.value


def _nodes(kind: type[ast.Raise] | type[ast.Call]) -> Iterator[tuple[Reader, ast.AST]]:
    program: Program = read_program()
    for module in program.modules.values():
        for node in module.parents:
            if isinstance(node, kind):
                yield Reader(program, module), node


def _sorted(lines: list[Line]) -> tuple[Line, ...]:
    """Each text of a file once, in the order of the source."""
    first: dict[tuple[str, str, Template], Line] = {}
    for line in sorted(lines, key=lambda line: (line.file, line.number)):
        first.setdefault((line.file, line.error, line.template), line)
    return tuple(first.values())
