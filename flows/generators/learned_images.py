"""Images of a class that are drawn with what a generator learned of it."""

from models.data.records import Artifact
from tasks.engine.planning_run import PlanningRun
from tasks.engine.run_context import RunContext
from tasks.engine.work_items import WorkItem
from tasks.generate.finetuning.scratch import remove_copies
from tasks.generate.segment import segment
from tasks.generate.text_to_image import text_to_image
from tasks.settings.finetuning import SubjectImages
from tasks.settings.segment import Segment


def draw_class(
    run: RunContext | PlanningRun,
    drawing: SubjectImages,
    masks: Segment | None,
    item: WorkItem,
) -> list[Artifact]:
    """All images of the item's class, with alpha if ``masks`` says how objects are found.

    Args:
        drawing: its templates hold the learned word.
        item: its inputs are the weights of the class.
    """
    images = text_to_image(run, drawing, item.label, item.inputs)
    remove_copies(run, item.inputs)
    return images if masks is None else segment(run, masks, images)
