"""What happens to the finished images of every generator: screening, resizing, annotating."""

from collections.abc import Sequence

from models.data.records import Artifact, Record, Sample
from tasks.assemble.annotate import Annotate, annotate
from tasks.assemble.resize import Resize, resize
from tasks.assemble.samples import make_samples
from tasks.engine.planning_run import PlanningRun
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import SharedInputs, WorkItem
from tasks.screen.measure import Measure, measure
from tasks.screen.screen import Screen, screen, verdicts_by_image


class Finish(Record):
    """What happens to the finished images of every generator."""

    screen: Screen
    resize: Resize


def finish_samples(
    run: RunContext,
    item: WorkItem,
    images: Sequence[Artifact],
    shared: SharedInputs,
    finish: Finish,
) -> tuple[Sample, ...]:
    """Screen finished images; accepted ones become JPEGs with their boxes and masks."""
    measures = measure(run, Measure(), images)
    verdicts = verdicts_by_image(
        run, measures, screen(run, finish.screen, measures, shared.heldout)
    )
    accepted = [image for image in images if verdicts[image.id]["accepted"]]
    jpegs = resize(run, finish.resize, accepted)
    masks = annotate(run, Annotate(longest_side=finish.resize.longest_side), accepted)
    return make_samples(run, item, images, verdicts, jpegs, masks)


def plan_finish(
    run: PlanningRun, images: Sequence[Artifact], shared: SharedInputs, resizing: Resize
) -> None:
    """Plan the stages of `finish_samples`, as if every image were accepted."""
    screen(run, Screen(), measure(run, Measure(), images), shared.heldout)
    resize(run, resizing, images)
    annotate(run, Annotate(longest_side=resizing.longest_side), images)
