"""Sources of a photo folder, and notes about their classes."""

from pathlib import Path

from tasks.ingest.find_sources import find_sources


def test_notes_classes_that_prompts_call_by_the_same_words(tmp_path: Path) -> None:
    for label in ("a-b", "A b", "a_b", "c"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.jpg").write_bytes(b"content is read elsewhere")
    (note,) = find_sources(tmp_path, "auto").notes
    assert note == (
        "the classes 'A b', 'a-b', 'a_b' have the same words in prompts; give each a sentence in"
        " caption.prompts"
    )
