"""What no input may do: run code, leave its folder, fill the memory, make us fetch an address."""

import ast
import io
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from flows.config.changes import RecipeError
from flows.config.recipe import load_recipe
from models.data.find_photos import find_photos
from models.data.names import check_label
from models.data.photo_colours import PhotoRejectedError
from models.data.read_photo import read_photo

ROOT = Path(__file__).resolve().parent.parent
OURS = sorted(
    path
    for folder in ("flows", "tasks", "models", "docker", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
)
# Loads that can run code, or that did so once: each is refused, or must be told not to.
FORBIDDEN = {
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "dill.load", "joblib.load"),
    *("cloudpickle.load", "cloudpickle.loads", "marshal.load", "marshal.loads", "shelve.open"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all"),
    *("eval", "exec", "os.system", "os.popen", "tempfile.mktemp"),
}


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """The calls in a file, by the dotted name that is called."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def is_set(call: ast.Call, name: str, value: object) -> bool:
    """Whether a call has the keyword, with this constant."""
    return any(
        one.arg == name and isinstance(one.value, ast.Constant) and one.value.value == value
        for one in call.keywords
    )


def faults(path: Path) -> list[str]:
    """What a file calls that it must not."""
    found = []
    for name, call in calls(path):
        where = f"{path.name}:{call.lineno}: {name}"
        if name in FORBIDDEN:
            found.append(where)
        elif name == "torch.load" and not is_set(call, "weights_only", True):
            found.append(f"{where} without weights_only=True")
        elif name in ("np.load", "numpy.load") and is_set(call, "allow_pickle", True):
            found.append(f"{where} with allow_pickle")
        elif is_set(call, "shell", True):
            found.append(f"{where} with shell=True")
        elif is_set(call, "trust_remote_code", True):
            found.append(f"{where} with trust_remote_code")
        elif is_set(call, "verify", False):
            found.append(f"{where} with verify=False")
    return found


def test_the_code_loads_nothing_that_can_run() -> None:
    assert len(OURS) > 100
    assert [fault for path in OURS for fault in faults(path)] == []


@pytest.mark.parametrize(
    "line",
    [
        *("import pickle\npickle.load(file)", "yaml.load(text)", "torch.load(path)"),
        *("torch.load(path, weights_only=False)", "subprocess.run(x, shell=True)", "eval(text)"),
        "Model.from_pretrained(x, trust_remote_code=True)",
    ],
)
def test_the_look_at_the_code_finds_what_it_is_for(tmp_path: Path, line: str) -> None:
    (tmp_path / "bad.py").write_text(line)
    assert faults(tmp_path / "bad.py")


def test_only_the_files_that_talk_to_servers_import_clients() -> None:
    allowed = {
        *(
            "deployments/local/services.py",
            "models/checkpoints/pull_hub.py",
            "models/checkpoints/pull_transfer.py",
            "models/checkpoints/pulling.py",
        ),
    }
    clients = {"requests", "urllib.request", "http.client", "urllib3", "aiohttp"}
    for path in OURS:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                {alias.name for alias in node.names}
                if isinstance(node, ast.Import)
                else {str(node.module)}
                if isinstance(node, ast.ImportFrom)
                else set()
            )
            if names & clients:
                assert path.relative_to(ROOT).as_posix() in allowed, path


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.jpg", "file:///etc/passwd", "ftp://x/y"])
def test_photos_are_never_read_from_an_address(
    tmp_path: Path, url: str, no_network: list[str]
) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.jpg").write_bytes(jpeg())
        (tmp_path / label / "2.jpg").write_text(url)
        (tmp_path / label / "3.url").write_text(f"[InternetShortcut]\nURL={url}\n")
    found, refused = find_photos(tmp_path)
    assert any(one.file == "a/3.url" for one in refused)
    for photo in found:
        if photo.path.name == "2.jpg":
            with pytest.raises(PhotoRejectedError):
                read_photo(photo.path.read_bytes())
    with pytest.raises(ValueError, match="does not exist"):
        find_photos(Path(url))
    assert no_network == []


def jpeg() -> bytes:
    """A small sound photo."""
    file = io.BytesIO()
    Image.new("RGB", (40, 40), (200, 30, 30)).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        *("..", ".", "../x", "a/b", "a\\b", "/etc", "C:x", "nul", "a\0b", "a\nb", " a", "a.", ""),
        *("x" * 300, "~/../x", ".ssh"),
    ],
)
def test_class_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="class name"):
        check_label(name)


@pytest.mark.parametrize(
    "name", ["..\\..\\evil.jpg", "...jpg", "a;rm -rf ~.jpg", "$(id).jpg", "-rf.jpg"]
)
def test_odd_photo_names_stay_inside_their_folder(tmp_path: Path, name: str) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.jpg").write_bytes(jpeg())
    (tmp_path / "a" / name).write_bytes(jpeg())
    found, refused = find_photos(tmp_path)
    for photo in found:
        assert ".." not in Path(photo.file).parts
        assert photo.path.resolve().is_relative_to(tmp_path)
    assert len(found) + len(refused) >= 2


def test_store_names_cannot_leave_the_store() -> None:
    from tasks.store.errors import StoreAccessError
    from tasks.store.store import open_store

    for url in ("s3://bucket/../other", "s3://bucket/a/../../b", "s3://../x", "s3://a b/c"):
        with pytest.raises((StoreAccessError, ValueError)):
            open_store(url)


def png_bomb(side: int) -> bytes:
    """A PNG of a few kilobytes whose header announces side x side pixels, all zero."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(4_000_000), 9)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("side", [10_001, 60_000, 2_000_000_000])
def test_decompression_bombs_are_refused_before_they_are_unpacked(side: int) -> None:
    import tracemalloc

    bomb = png_bomb(side)
    assert len(bomb) < 10_000
    tracemalloc.start()
    with pytest.raises(PhotoRejectedError):
        read_photo(bomb)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20_000_000


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch ran']",
        "name: !!python/object/new:os.system ['touch ran']",
        "!!python/name:os.system",
    ],
)
def test_recipes_run_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(RecipeError, match=r"bad\.yaml"):
        load_recipe(tmp_path / "bad.yaml")
    with pytest.raises(RecipeError):
        load_recipe("demo", [f"name={text.partition(': ')[2] or text}"])
    assert not (tmp_path / "ran").exists()


def test_weights_that_are_pickled_code_are_not_run(tmp_path: Path) -> None:
    import torch

    from models.runtime.loading import read_tensors

    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(ran),)

    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="no file of tensors"):
        read_tensors(tmp_path)
    assert not ran.exists()


def test_dependencies_are_pinned_and_none_comes_from_an_address() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(line.count("==") == 1 and "@" not in line and "://" not in line for line in pins)
    assert len({line.partition("==")[0].lower() for line in pins}) == len(pins)


FINE = {"name": "a", "version": "1", "vulns": []}
HOLE = {"id": "CVE-1", "fix_versions": ["2"]}
BAD = {"name": "b", "version": "1", "vulns": [HOLE]}
UNKNOWN = {"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited"}


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        ([FINE], 0, "audited: 1 packages, 0 with known holes\n"),
        ([FINE, BAD], 1, "b 1: CVE-1, mended in 2\naudited: 2 packages, 1 with known holes\n"),
        ([FINE, UNKNOWN], 0, "NOT AUDITED: 1 of 2 packages are not known there: c, ...\n"),
        ([BAD, UNKNOWN], 1, "NOT AUDITED: 1 of 2"),
        (None, 0, "NOT AUDITED: ConnectionError: no route\n"),
    ],
)
def test_the_audit_fails_on_holes_and_says_what_it_did_not_see(
    tmp_path: Path, answer: list[dict[str, Any]] | None, code: int, said: str
) -> None:
    script = "import sys; sys.exit('ConnectionError: no route')"
    if answer is not None:
        holes = any(one.get("vulns") for one in answer)
        script = f"print({json.dumps({'dependencies': answer})!r}); raise SystemExit({int(holes)})"
    (tmp_path / "pip_audit.py").write_text(script)
    ended = subprocess.run(
        [sys.executable, ROOT / ".ci" / "audit.py", sys.executable, tmp_path / "pip_audit.py"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == code
    assert said in ended.stdout + ended.stderr
    assert "make audit" in (ROOT / ".ci" / "run").read_text().splitlines()


def test_no_secret_is_in_a_tracked_file() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--", "deployments", "docker", "recipes", "docs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    files = [ROOT / name for name in listed.stdout.splitlines()] or [
        path for folder in ("deployments", "docker") for path in (ROOT / folder).rglob("*.*")
    ]
    for path in files:
        if path.suffix in (".json", ".yaml", ".sh", ".md", ".cpu", ".gpu"):
            text = path.read_text(encoding="utf-8")
            assert "AKIA" not in text, path
            assert "PRIVATE KEY" not in text, path
            if path.suffix == ".json":
                json.loads(text)


@pytest.mark.parametrize("name", ["../../../outside", "/synthset-outside", "a/../../../outside"])
def test_a_forged_store_writes_nothing_outside_the_dataset(tmp_path: Path, name: str) -> None:
    import hashlib

    from models.data.records import Annotation, Artifact, Sample
    from tasks.assemble.write_datasets import write_datasets
    from tasks.store.store import open_store

    store, blob = open_store(tmp_path / "store"), jpeg()
    digest = hashlib.sha256(blob).hexdigest()
    artifact = Artifact(
        key=digest,
        stage="resize",
        version=1,
        name=name,
        media="jpg",
        digest=digest,
        size=len(blob),
    )
    store.put(artifact, blob)
    sample = Sample(
        name=name, split="train", image=artifact, annotations=(Annotation(label="a"),), sources=()
    )
    before = {path for path in tmp_path.rglob("*.jpg") if "store" not in path.parts}
    with pytest.raises(ValueError, match="outside"):
        write_datasets(store, tmp_path / "run", {"real": {"train": [sample], "val": []}}, [], ["a"])
    after = {path for path in tmp_path.rglob("*.jpg") if "store" not in path.parts}
    assert after == before
    assert not Path("/synthset-outside.jpg").exists()
