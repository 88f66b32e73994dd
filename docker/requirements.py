"""Print what pyproject.toml asks for, with the extras named on the command line, a line each.

The images install these before the code is copied: a changed line of code then costs no download.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
extras = [one for name in sys.argv[1:] for one in project["optional-dependencies"][name]]
print("\n".join([*project["dependencies"], *extras]))
