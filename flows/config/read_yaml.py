"""YAML of recipes: keys are names, so they stay text."""

import unicodedata
from typing import Any

import yaml

_MERGE = "tag:yaml.org,2002:merge"
_TEXT = "tag:yaml.org,2002:str"


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which reads each key as it is written: ``no``, ``007`` and ``2024-01-01``
    are names of classes, and neither False nor numbers nor dates."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        written: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                key.tag = _TEXT
                if key.value in written:
                    problem = f"the key {key.value!r} is there twice"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
                written.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        # Escapes in quotes can write what neither UTF-8 nor a database can hold.
        if isinstance(node, yaml.ScalarNode) and any(
            c == "\0" or unicodedata.category(c) == "Cs" for c in node.value
        ):
            problem = "a text holds a character that can't be stored"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        return super().construct_scalar(node)


def read_yaml(text: str) -> Any:
    """The content of a YAML text; every plain key of a mapping is a str.

    Raises:
        yaml.YAMLError: the text is no YAML, holds a key twice or a character that can't be stored,
            or names a type of Python.
    """
    return _Loader(text).get_single_data()


def quoting_hint(value: Any) -> str:
    """What to do where YAML read another type from a text; empty if ``value`` is none of these."""
    if isinstance(value, dict):
        return "; put a name that has a dot into braces: {name: text}"
    kinds = {bool: "a boolean", int: "a number", float: "a number", type(None): "no value"}
    kind = kinds.get(type(value), "a date" if type(value).__name__ in ("date", "datetime") else "")
    return f"; YAML reads it as {kind}: put it in quotes" if kind else ""
