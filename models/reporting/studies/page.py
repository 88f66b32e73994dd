"""The page of a study: the answer, the charts, and all points as a table."""

from collections.abc import Iterator, Sequence

from models.evaluation.study import Choice, PointScores, StudyScores
from models.evaluation.study_description import Description
from models.reporting.figures import inline_svg
from models.reporting.input import Figure
from models.reporting.page import template_environment
from models.reporting.studies.figure import draw_study, has_several_amounts
from models.reporting.studies.plots import METRIC_NAMES, draw_gains, draw_scores, line_name
from models.reporting.tables import percent, points


def render_study(
    title: str,
    description: Description,
    scores: StudyScores,
    left_out: Sequence[str],
    same_photos: Sequence[str] = (),
) -> str:
    """The study as one self-contained HTML page in the look of the report.

    Args:
        title: the name of the recipe.
        description: what the study asks, and the published figures.
        scores: all points and choices.
        left_out: a line per number of photos or point that is left out.
        same_photos: numbers of photos with which all replicates take the same photos.
    """
    template = template_environment().get_template("study.html.j2")
    return template.render(
        title=title,
        description=description,
        metric=METRIC_NAMES[scores.metric],
        answer=say_answer(scores),
        scores=scores,
        charts=[(figure, inline_svg(figure)) for figure in _draw_charts(scores, description)],
        left_out=left_out,
        same_photos=same_photos,
        line_name=line_name,
        metric_names=METRIC_NAMES,
        published_of=lambda found: list(_published_of(found, description)),
        say_choice=say_choice,
    )


def _published_of(found: PointScores, description: Description) -> Iterator[str]:
    """The published figures of a point, such as ``test accuracy 91.0%``."""
    point = found.point
    amounts = ("", point.amount_name, f"{100 * point.share:g}%", str(point.images_per_class))
    for row in description.published:
        if (
            row.series == point.method
            and row.photos in ("", point.photos_label)
            and row.x in (*amounts, point.photos_label, point.method)
        ):
            yield f"{row.split} {METRIC_NAMES[row.figure]} {percent(row.value)}"


def say_answer(scores: StudyScores) -> str:
    """What the choices of val gained on test, in one sentence per method."""
    if not scores.choices:
        return "No point with generated images was trained."
    return " ".join(
        _say_method(scores, method, len(scores.methods) > 1) for method in scores.methods
    )


def say_choice(choice: Choice) -> str:
    """What val chose for a number of photos, with its test score and its gain."""
    gain, test, rival = choice.best.gain, choice.best.test, choice.rival
    if gain is None:
        return (
            f"{rival.point.photos_name}: val chooses {line_name(rival)}, "
            f"{percent(test.value)} on test"
        )
    return (
        f"{rival.point.photos_name}: val chooses {line_name(choice.best)}, "
        f"{percent(test.value)} on test against {percent(rival.test.value)} of {line_name(rival)}: "
        f"{points(gain.difference)} points ({points(gain.low)} to {points(gain.high)})"
    )


def _say_method(scores: StudyScores, method: str, is_named: bool) -> str:
    outcomes: dict[str, list[str]] = {}
    for choice in scores.choices:
        if choice.method == method:
            outcomes.setdefault(_outcome(choice.best, scores.margin), []).append(
                _say_photos(choice, scores.margin)
            )
    who = f"images of {method}" if is_named else "generated images"
    parts: list[str] = []
    for outcome, text in _OUTCOMES.items():
        if outcome in outcomes:
            parts.append(
                text.format(
                    who="they" if parts else who,
                    photos=_join(outcomes[outcome]),
                    instead_of=f" to {who}" if is_named and not parts else "",
                    margin=f"{100 * scores.margin:g}",
                )
            )
    sentence = "; ".join(parts)
    return f"{sentence[:1].upper()}{sentence[1:]}."


# What is said of the numbers of photos with each outcome.
_OUTCOMES = {
    "gain": "{who} help with {photos} per class",
    "loss": "{who} lower the test score with {photos} per class",
    "none": "{who} do not help with {photos} per class: a gain of {margin} points is excluded",
    "open": "this test cannot tell whether {who} help with {photos} per class",
    "alone": "with {photos} per class, val prefers the photos alone{instead_of}",
}


def _say_photos(choice: Choice, margin: float) -> str:
    """The number of photos, with both test scores where the test tells them apart."""
    if _outcome(choice.best, margin) not in ("gain", "loss"):
        return choice.photos_per_class
    ahead, behind = choice.best.test.value, choice.rival.test.value
    return f"{choice.photos_per_class} ({percent(ahead)} instead of {percent(behind)})"


def _outcome(best: PointScores, margin: float) -> str:
    if best.gain is None:
        return "alone"
    if best.gain.low > 0:
        return "gain"
    if best.gain.high < 0:
        return "loss"
    return "none" if best.gain.high < margin else "open"


def _join(names: Sequence[str]) -> str:
    """``5, 8 and all photos``, ``5% and 20% of the photos``."""
    *first, last = names
    joined = f"{', '.join(first)} and {last}" if first else last
    number = last.partition(" ")[0]
    if number.endswith("%"):
        return f"{joined} of the photos"
    return f"{joined} photo{'s' if first or number != '1' else ''}"


def _draw_charts(scores: StudyScores, description: Description) -> Iterator[Figure]:
    """The figure of the study's axis; for numbers of photos, two charts per method."""
    if description.x != "photos" or not has_several_amounts(scores):
        yield Figure(
            "study",
            description.question,
            "; ".join(
                f"{found.point.photos_name}, {found.point.method}, "
                f"{line_name(found)}: {percent(found.test.value)}"
                for found in scores.points
            ),
            draw_study(scores, description),
        )
        return
    for method in scores.methods:
        yield Figure(
            f"scores-{method}",
            f"{method}: test score by number of photos",
            "; ".join(
                f"{found.point.photos_name}, {line_name(found)}: {percent(found.test.value)}"
                for found in scores.of(method)
            ),
            draw_scores(scores, method),
        )
        yield Figure(
            f"gains-{method}",
            f"{method}: gain over photos alone by share of generated images",
            "; ".join(
                f"{found.point.photos_name}, {line_name(found)}: "
                f"{points(found.gain.difference)} points"
                for found in scores.of(method)
                if found.gain is not None and found.point.has_images
            ),
            draw_gains(scores, method),
        )
