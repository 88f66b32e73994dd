"""`write_atomic` leaves the old file or the new one, and nothing else."""

from pathlib import Path

import pytest

from models.data.files import write_atomic


def test_writes_the_bytes_and_makes_the_folders(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a" / "b" / "c.bin", b"\x00\x01")
    assert (tmp_path / "a" / "b" / "c.bin").read_bytes() == b"\x00\x01"
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["c.bin"]


def test_replaces_an_older_file(tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    path.write_text("a much longer text than the new one")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


def test_keeps_the_old_file_and_no_temporary_file_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.txt"
    path.write_text("old")

    def fail(source: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, b"new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("c.txt", "old")]


def test_gives_the_permissions_of_an_ordinary_new_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "c", b"")
    (tmp_path / "d").touch()
    assert (tmp_path / "c").stat().st_mode == (tmp_path / "d").stat().st_mode
