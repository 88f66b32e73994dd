"""Print the requirements of pyproject.toml and of the extras named on the command line.

The images install them before they copy the code, so a change of the code downloads nothing.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
extras = [
    requirement for name in sys.argv[1:] for requirement in project["optional-dependencies"][name]
]
print("\n".join([*project["dependencies"], *extras]))
