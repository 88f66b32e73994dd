"""Code blocks and links of the Markdown pages, for the tests that run them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced code block.

    Attributes:
        page: the page, relative to the repository.
        line: number of its first line of code.
        language: what follows the opening fence; may be empty.
        intro: the last line of text before the block.
        code: its lines.
    """

    page: str
    line: int
    language: str
    intro: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """README, CONTRIBUTING and all pages of docs/."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def read_blocks(page: Path) -> list[Block]:
    """All code blocks of a page in order.

    Raises:
        ValueError: a block has no end.
    """
    blocks: list[Block] = []
    intro, code, language, first = "", [], None, 0
    for number, line in enumerate(page.read_text("utf-8").splitlines(), start=1):
        if language is None and line.startswith("```"):
            language, code, first = line.removeprefix("```").strip(), [], number + 1
        elif language is not None and line == "```":
            name = page.relative_to(ROOT).as_posix()
            blocks.append(Block(name, first, language, intro, "".join(f"{c}\n" for c in code)))
            language = None
        elif language is not None:
            code.append(line)
        elif line.strip():
            intro = line
    if language is not None:
        raise ValueError(f"{page}:{first}: the code block has no end; add ```")
    return blocks


def prose(page: Path) -> str:
    """The text of a page without its code blocks and code spans."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`]*`", "", text)


def links(page: Path) -> list[str]:
    """The targets of all links and pictures of a page."""
    return _LINK.findall(page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = _HEADING.findall(page.read_text("utf-8"))
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}
