"""The code blocks, links and words of README, CONTRIBUTING and docs/ are right.

Commands are executed on a small finished run, or only parsed where they need servers, a GPU,
weights or minutes.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer

from flows.config.recipe import RECIPES, load_recipe
from synthset.main import app
from tests.markdown import ROOT, Block, anchors, links, pages, prose, read_blocks
from tests.tiny import Cli, Undisturbed

RESULTS = ROOT / "benchmarks" / "RESULTS.md"
PAGES = [*pages(), ROOT / "CHANGELOG.md", RESULTS]
# The blocks of CONTRIBUTING.md are applied by tests/test_contributing.py.
READ = [*(page for page in pages() if page.name != "CONTRIBUTING.md"), RESULTS]
BLOCKS = [block for page in READ for block in read_blocks(page)]
FORBIDDEN = re.compile(
    r"\b(anew|mends?|hangs? on|whoever|adopts?|torn|told|beside|luck|bench|story|patience|damaged?"
    r"|upkeep|quiet|plates?|nights?|zombies?|arms?|crumbs|at work|be had|goes on)\b",
    re.IGNORECASE,
)
# Commands that are executed; of `run` only its plan. The others are parsed.
EXECUTED = {
    *("run", "plan", "export", "recipe list", "recipe schema", "models list"),
    *("store ls", "store verify", "store gc"),
}
OTHER_PROGRAMS = {"docker", "export", "pip", "prefect", "set", "source", "sudo", "."}
TIMEOUT_S = 60.0


def ids(value: object) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else str(value)


def blocks_in(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


@pytest.fixture(scope="module")
def folder(undisturbed: Undisturbed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run under the names that the pages use."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(undisturbed.out, folder / "OUT")
    for name in ("demo-run", "runs/garments"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(folder / "OUT")
    (folder / "photos").symlink_to(undisturbed.photos)
    return folder


def test_every_code_block_has_a_language_that_is_tested() -> None:
    unknown = [block for block in BLOCKS if block.language not in ("sh", "python", "yaml", "text")]
    assert not unknown, f"use sh, python, yaml or text: {', '.join(map(str, unknown))}"


@pytest.mark.slow
@pytest.mark.parametrize("block", blocks_in("sh"), ids=ids)
def test_commands_work_as_written(block: Block, cli: Cli, folder: Path, tmp_path: Path) -> None:
    subprocess.run(["bash", "-n"], input=block.code, text=True, check=True)
    for program, arguments in commands_of(block):
        if program == "synthset":
            check_synthset(block, arguments, cli, folder, tmp_path)
        elif program == "make":
            targets = [word for word in arguments if "=" not in word]
            makefile = (ROOT / "Makefile").read_text()
            assert all(re.search(f"^{target}:", makefile, re.M) for target in targets), block
        elif program == "python":
            assert arguments[0] == "-m", f"{block}: python {arguments[0]} is not tested"
            name = arguments[2] if arguments[1] == "pytest" else arguments[1].replace(".", "/")
            assert (ROOT / name).exists() or (ROOT / f"{name}.py").exists(), f"{block}: {name}"
        else:
            is_known = program in OTHER_PROGRAMS or (ROOT / program).is_file()
            assert is_known, f"{block}: {program} is not known; add it to OTHER_PROGRAMS"


def commands_of(block: Block) -> Iterator[tuple[str, list[str]]]:
    """The program and the arguments of each command of a block."""
    for line in block.code.replace("\\\n", " ").splitlines():
        command: list[str] = []
        for word in [*shlex.split(re.sub(r";", " ; ", line), comments=True), ";"]:
            if word not in (";", "&&"):
                command.append(word)
                continue
            while command and re.fullmatch(r"\w+=\S*", command[0]):
                command.pop(0)
            if command:
                yield command[0].removeprefix(".venv/bin/"), command[1:]
            command = []


def check_synthset(
    block: Block, arguments: list[str], cli: Cli, folder: Path, scratch: Path
) -> None:
    """Parse a synthset command; execute it if that is quick."""
    name, rest = "", list(arguments)
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        assert rest[0] in command.commands, f"{block}: no command {name} {rest[0]}"
        name = f"{name} {rest[0]}".strip()
        command = command.commands[rest.pop(0)]
    try:
        options = command.make_context(name, list(rest)).params
    except Exception as error:
        raise AssertionError(f"{block}: synthset {shlex.join(arguments)}: {error}") from error
    recipe = options.get("recipe") or ("demo" if name == "demo" else None)
    if recipe and (RECIPES / f"{recipe}.yaml").is_file():
        load_recipe(recipe, options.get("changes"))
    if name not in EXECUTED or options.get("old_layout"):
        return
    paths = {
        "photos": folder / "photos",
        "url": folder / "OUT" / "store",
        "to": scratch / "export",
        "out": folder / "OUT" if name == "export" else scratch / "out",
    }
    replaced = {str(options[key]): str(path) for key, path in paths.items() if key in options}
    words = [replaced.get(word, word) for word in rest]
    ended = cli.run(*name.split(), *words, *(["--dry-run"] if name == "run" else []))
    assert ended.code == 0, f"{block}: synthset {name} {shlex.join(words)}\n{ended.err[-2000:]}"


@pytest.mark.slow
@pytest.mark.parametrize("block", blocks_in("python"), ids=ids)
def test_python_blocks_run(block: Block, folder: Path) -> None:
    photo = json.loads((folder / "OUT/metrics.json").read_text())["references"][0]["name"]
    printed = run_python(block.code.replace("mug/mug_004", photo), folder)
    assert printed.strip(), block
    if "conclude_from" in block.code:
        check_scores(printed, folder)
    if "parents" in block.code:
        assert printed.splitlines()[-1].startswith("ingest "), printed


def check_scores(printed: str, folder: Path) -> None:
    """What the script of docs/outputs.md prints is what metrics.json says."""
    metrics = json.loads((folder / "OUT/metrics.json").read_text())
    *scores, verdict = printed.splitlines()
    assert verdict == metrics["verdict"]["text"]
    expected = sorted(
        f"{run['dataset']} seed {run['seed']}: macro F1 {run['test']['f1_macro']:.3f}"
        for run in metrics["runs"]
    )
    assert scores == expected


def run_python(code: str, folder: Path) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return ended.stdout


@pytest.mark.parametrize("block", blocks_in("yaml"), ids=ids)
def test_yaml_blocks_are_recipes(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(block.code)
    load_recipe(path)


def test_readme_names_every_command() -> None:
    (listed,) = [block for block in BLOCKS if block.code.startswith("synthset demo |")]
    words = set(re.findall(r"\w+", listed.code))
    group = typer.main.get_command(app)
    for name, command in group.commands.items():
        if not command.hidden:
            assert {name, *getattr(command, "commands", ())} <= words, name


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{page}: {link}"
        assert not anchor or anchor in anchors(path), f"{page}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_pages_use_plain_words(page: Path) -> None:
    found = sorted({match[0].lower() for match in FORBIDDEN.finditer(prose(page))})
    assert not found, f"{page}: replace {', '.join(found)}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name == "docs"], ids=ids)
def test_pages_begin_with_what_the_reader_can_do(page: Path) -> None:
    title, _, rest = page.read_text().partition("\n\n")
    assert title.startswith("# ")
    assert rest.startswith("After this page"), page


def test_the_walkthrough_names_files_and_functions_that_exist() -> None:
    text = (ROOT / "docs/walkthrough.md").read_text()
    for name in re.findall(r"`(\w+/[\w/]+\.py)`", text):
        assert len((ROOT / name).read_text().splitlines()) < 200, f"{name} is too long to read"
    for name, functions in re.findall(r"`([\w/]+\.py)` \(([`\w, ]+)\)", text):
        content = (ROOT / name).read_text()
        for function in re.findall(r"`(\w+)`", functions):
            assert f"def {function}(" in content, f"{name} has no function {function}"


def test_readme_is_short_and_the_glossary_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 200
    assert len((ROOT / "docs/glossary.md").read_text().splitlines()) < 60


def test_the_path_to_the_pixels_is_five_files_that_import_one_another() -> None:
    text = (ROOT / "README.md").read_text().partition("## Read the code")[2]
    files = re.findall(r"^\d\. `([^`]+)`", text, re.M)
    assert len(files) <= 5
    assert files[0] == "flows/pipeline.py"
    catalog = (ROOT / "flows/generators/catalog.py").read_text()
    for caller, callee in pairwise(files):
        module = callee.removesuffix(".py").replace("/", ".")
        imported = (ROOT / caller).read_text()
        if callee.startswith("flows/generators/"):
            assert "flows.generators.catalog" in imported
            assert module.rpartition(".")[2] in catalog
        else:
            assert f"from {module} import" in imported, f"{caller} does not import {callee}"
