"""The product's source as syntax trees: modules, functions, calls and where names come from."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("synthset", "deployments", "flows", "tasks", "models")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, eq=False)
class Module:
    """One file. ``imports`` maps a local name to the dotted name that it stands for.

    ``parents`` has all nodes but the root, each after the node around it.
    """

    name: str
    tree: ast.Module
    parents: dict[ast.AST, ast.AST]
    imports: dict[str, str]

    @property
    def file(self) -> str:
        """Its path below the repository."""
        return self.name.replace(".", "/") + ".py"

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around a node, the innermost first."""
        while node in self.parents:
            node = self.parents[node]
            yield node

    def functions_of(self, node: ast.AST) -> list[Function]:
        """The functions that a node stands in, the innermost first."""
        return [above for above in self.above(node) if isinstance(above, Function)]

    def function_of(self, node: ast.AST) -> Function | None:
        """The innermost function that a node stands in."""
        return next(iter(self.functions_of(node)), None)

    def class_of(self, node: ast.AST) -> ast.ClassDef | None:
        """The innermost class that a node stands in."""
        return next((above for above in self.above(node) if isinstance(above, ast.ClassDef)), None)

    def defined(self, name: str) -> ast.AST | None:
        """A function or class, or the value of a constant, of the module itself."""
        for node in self.tree.body:
            if isinstance(node, Function | ast.ClassDef) and node.name == name:
                return node
            if isinstance(node, ast.Assign | ast.AnnAssign) and name in _targets(node):
                return node.value
        return None


@dataclass(frozen=True, eq=False)
class Program:
    """All modules by name, and all calls by the last part of the called name."""

    modules: dict[str, Module]
    calls: dict[str, list[tuple[Module, ast.Call]]] = field(default_factory=dict)

    def find(self, module: Module, name: str) -> tuple[Module, ast.AST] | None:
        """What a name stands for in a module: a definition here, or in a module it imports."""
        node = module.defined(name)
        if node is not None:
            return module, node
        home, _, last = module.imports.get(name, "").rpartition(".")
        if home in self.modules:
            node = self.modules[home].defined(last)
        return (self.modules[home], node) if node is not None else None

    def find_called(self, module: Module, call: ast.Call) -> tuple[Module, ast.AST] | None:
        """The function, method or class of the product that a call calls."""
        match call.func:
            case ast.Name(id=name):
                return self.find(module, name)
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
                owner = module.class_of(call)
                body = owner.body if owner else []
                methods = (n for n in body if isinstance(n, Function) and n.name == name)
                method = next(methods, None)
                return (module, method) if method else None
            case ast.Attribute(value=ast.Name(id=name), attr=attr):
                home = self.modules.get(module.imports.get(name, ""))
                node = home.defined(attr) if home else None
                return (home, node) if home and node else None
        return None


@cache
def read_program() -> Program:
    """The source of the five packages of the product."""
    modules = {}
    calls = defaultdict(list)
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            module = _read(path)
            modules[module.name] = module
            for node in module.parents:
                if isinstance(node, ast.Call):
                    calls[called_name(node)].append((module, node))
    return Program(modules, dict(calls))


def called_name(call: ast.Call) -> str:
    """The last part of the name that a call calls; empty if it calls something else."""
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def returned(function: Function, module: Module) -> list[ast.expr]:
    """The values that a function returns."""
    return [
        node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Return) and node.value and module.function_of(node) is function
    ]


def assigned(scope: ast.AST, name: str) -> list[ast.expr]:
    """The values that a function or a class gives to a variable, or to the items of one.

    Args:
        name: the variable; ``self.name`` for an attribute.
    """
    found = []
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr) and name in _targets(node):
            found += [node.value] if node.value else []
        elif isinstance(node, ast.comprehension | ast.For):
            match node.target, node.iter:
                case (
                    ast.Tuple(elts=[_, ast.Name(id=value)]),
                    ast.Call(func=ast.Attribute(value=ast.Name(id=items), attr="items")),
                ) if value == name:
                    found += assigned(scope, items)
    return found


def _targets(node: ast.Assign | ast.AnnAssign | ast.NamedExpr) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {_variable(target) for target in targets}


def _variable(target: ast.expr) -> str:
    match target:
        case ast.Name(id=name) | ast.Subscript(value=ast.Name(id=name)):
            return name
        case ast.Attribute(value=ast.Name(id="self"), attr=attr):
            return f"self.{attr}"
    return ""


def _read(path: Path) -> Module:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parents: dict[ast.AST, ast.AST] = {}
    waiting: list[ast.AST] = [tree]
    for node in waiting:
        for child in ast.iter_child_nodes(node):
            parents[child] = node
            waiting.append(child)
    imports = {}
    for node in parents:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                imports[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                imports[alias.asname or alias.name] = alias.name
    return Module(name, tree, parents, imports)
