"""The files of a study: a table, a page, and the charts as SVG and PNG."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from models.data.files import write_atomic
from models.evaluation.study import ScoredPoint, StudyScores, figure_rows
from models.evaluation.study_description import Description


def write_study(
    out: Path,
    title: str,
    description: Description,
    scores: StudyScores,
    scored: Sequence[ScoredPoint],
    left_out: Sequence[str],
    same_photos: Sequence[str],
) -> dict[str, Path]:
    """Write ``study.parquet``, ``study.html``, ``study.svg`` and ``study.png``.

    The same study gives the same bytes.

    Returns:
        The files under the names table, page, svg and png.
    """
    from models.reporting.plots.style import PNG, SVG
    from models.reporting.studies.figure import draw_study
    from models.reporting.studies.page import render_study

    page = render_study(title, description, scores, left_out, same_photos)
    table = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(figure_rows(scored))), table)
    contents = {
        "table": ("study.parquet", table.getvalue().to_pybytes()),
        "page": ("study.html", page.encode()),
        "svg": ("study.svg", draw_study(scores, description, SVG)),
        "png": ("study.png", draw_study(scores, description, PNG)),
    }
    for name, content in contents.values():
        write_atomic(out / name, content)
    return {kind: out / name for kind, (name, _) in contents.items()}
