"""The texts that an expression of the source can give.

Literal parts are kept. Constants, local variables, arguments and the product's own functions are
followed. Everything else becomes a placeholder.
"""

import ast
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tests.error_lines.program import (
    Function,
    Module,
    Program,
    assigned,
    called_name,
    returned,
)
from tests.error_lines.templates import Template, as_part, concatenate, placeholder

# How many variables, arguments and functions are followed on the way to a literal.
DEPTH = 6


@dataclass(frozen=True)
class Reader:
    """Reads expressions of one module. ``bound`` has the arguments of the call that led here."""

    program: Program
    module: Module
    bound: Mapping[str, tuple[Template, ...]] = field(default_factory=dict)
    depth: int = DEPTH

    def read(self, node: ast.AST) -> list[Template]:
        """Every text that an expression can give; a placeholder where it is not known."""
        match node:
            case ast.Constant(value=value):
                return [Template(str(value))]
            case ast.JoinedStr(values=parts):
                return [concatenate([as_part(part, self.read(part)) for part in parts])]
            case ast.FormattedValue(value=value):
                return [as_part(value, self.read(value))]
            case ast.IfExp(body=body, orelse=orelse):
                return [*self.read(body), *self.read(orelse)]
            case ast.BoolOp(values=values):
                return [template for value in values for template in self.read(value)]
            case ast.BinOp(op=ast.Add(), left=left, right=right):
                return [concatenate([as_part(part, self.read(part)) for part in (left, right)])]
            case ast.BinOp(op=ast.Div(), left=left, right=ast.Constant(value=str(right))):
                return [concatenate([as_part(left, self.read(left)), Template(f"/{right}")])]
            case ast.Name():
                return self._read_name(node)
            case ast.Attribute(value=ast.Name(id="self")):
                return self._read_own(node) or [placeholder(node)]
            case ast.Attribute(value=ast.Name(id=name), attr=attr):
                return self._read_constant_of(name, attr) or [placeholder(node)]
            case ast.Subscript(value=ast.Name() as mapping):
                return self._read_values(mapping) or [placeholder(node)]
            case ast.Call():
                return self._read_call(node)
        return [placeholder(node)]

    def raised(self, node: ast.AST) -> list[tuple[str, Template]]:
        """The class and the text of every error that a raised expression can be."""
        match node:
            case ast.Call():
                found = self.program.find_called(self.module, node)
                if found and isinstance(found[1], Function):
                    inner = self._within(found[0], found[1], node)
                    values = returned(found[1], found[0])
                    return [error for value in values for error in inner.raised(value)]
                texts = [*node.args, *(word.value for word in node.keywords)][:1]
                return [(called_name(node), text) for value in texts for text in self.read(value)]
            case ast.Name(id=name):
                function = self.module.function_of(node)
                values = assigned(function, name) if function else []
                return [error for value in values for error in self.raised(value)]
        return []

    def _read_name(self, node: ast.Name) -> list[Template]:
        """The texts of a variable that have words, or those of a constant."""
        if node.id in self.bound:
            return list(self.bound[node.id])
        found: list[Template] = []
        if self.depth:
            for function in self.module.functions_of(node):
                values = assigned(function, node.id)
                inner = replace(self, depth=self.depth - 1)
                found = [template for value in values for template in inner.read(value)]
                found = found or self._read_parameter(function, node.id)
                if found:
                    worded = [template for template in found if template.has_words]
                    return worded or [placeholder(node)]
            if caught := self._read_caught(node):
                return caught
        return self._read_constant(node.id) or [placeholder(node)]

    def _read_caught(self, node: ast.Name) -> list[Template]:
        """The texts of the product's own error that a handler has caught under this name."""
        for above in self.module.above(node):
            if isinstance(above, ast.ExceptHandler) and above.name == node.id:
                found = self.program.find(self.module, ast.unparse(above.type or node))
                if found and isinstance(found[1], ast.ClassDef):
                    return self._read_error(*found)
        return []

    def _read_parameter(self, function: Function, name: str) -> list[Template]:
        """What the product's own calls of a function give for a parameter, and its default."""
        arguments = function.args
        names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
        if name not in [*names, *(argument.arg for argument in arguments.kwonlyargs)]:
            return []
        found = []
        for module, call in self.program.calls.get(function.name, []):
            called = self.program.find_called(module, call)
            if called and called[1] is function:
                value = _arguments(function, call).get(name)
                if value is not None:
                    reader = Reader(self.program, module, depth=self.depth - 1)
                    found += reader.read(value)
        default = _defaults(function).get(name)
        return [*found, *(self.read(default) if default is not None else [])] or [
            Template(f"<{name}>")
        ]

    def _read_constant(self, name: str) -> list[Template]:
        found = self.program.find(self.module, name)
        if found and isinstance(found[1], ast.Constant | ast.JoinedStr | ast.BinOp):
            return Reader(self.program, found[0]).read(found[1])
        return []

    def _read_constant_of(self, name: str, attr: str) -> list[Template]:
        home = self.program.modules.get(self.module.imports.get(name, ""))
        value = home.defined(attr) if home else None
        if home and isinstance(value, ast.Constant | ast.JoinedStr):
            return Reader(self.program, home).read(value)
        return []

    def _read_own(self, node: ast.Attribute) -> list[Template]:
        """The texts with words that a class gives to an attribute of its objects."""
        owner = self.module.class_of(node)
        if owner is None or not self.depth:
            return []
        inner = replace(self, depth=self.depth - 1)
        values = assigned(owner, ast.unparse(node))
        read = [template for value in values for template in inner.read(value)]
        return [template for template in read if template.has_words]

    def _read_values(self, mapping: ast.Name) -> list[Template]:
        """The values of a constant dictionary."""
        found = self.program.find(self.module, mapping.id)
        if found and isinstance(found[1], ast.Dict):
            reader = Reader(self.program, found[0])
            read = [text for value in found[1].values for text in reader.read(value)]
            return [template for template in read if template.has_words]
        return []

    def _read_call(self, node: ast.Call) -> list[Template]:
        match node.func:
            case ast.Name(id="str" | "repr") if node.args:
                return self.read(node.args[0])
            case ast.Attribute(value=ast.Name() as mapping, attr="get"):
                return self._read_values(mapping) or [placeholder(node)]
        found = self.program.find_called(self.module, node)
        if found and isinstance(found[1], ast.ClassDef) and self.depth:
            return self._read_error(*found) or [placeholder(node)]
        if found and isinstance(found[1], Function) and self.depth:
            inner = self._within(found[0], found[1], node)
            read = [text for value in returned(found[1], found[0]) for text in inner.read(value)]
            worded = [template for template in read if template.has_words]
            if worded:
                return worded
        return [placeholder(node)]

    def _read_error(self, module: Module, error: ast.ClassDef) -> list[Template]:
        """The texts of an error that writes its own line, in its call of the class above."""
        reader = Reader(self.program, module, depth=self.depth - 1)
        for node in ast.walk(error):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "super().__init__":
                return [text for value in node.args[:1] for text in reader.read(value)]
        return []

    def _within(self, module: Module, function: Function, call: ast.Call) -> "Reader":
        """A reader of a function's body, with the arguments of a call."""
        bound = {
            name: (as_part(value, self.read(value)),)
            for name, value in _arguments(function, call).items()
        }
        return Reader(self.program, module, bound, self.depth - 1)


def _arguments(function: Function, call: ast.Call) -> dict[str, ast.expr]:
    """The arguments of a call by the names of the parameters."""
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    if names[:1] in (["self"], ["cls"]):
        names = names[1:]
    plain = itertools.takewhile(lambda value: not isinstance(value, ast.Starred), call.args)
    positional = dict(zip(names, plain, strict=False))
    return positional | {word.arg: word.value for word in call.keywords if word.arg}


def _defaults(function: Function) -> dict[str, ast.expr]:
    """The defaults of a function's parameters."""
    arguments = function.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    found = dict(zip(reversed(names), reversed(arguments.defaults), strict=False))
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is not None:
            found[argument.arg] = default
    return found
