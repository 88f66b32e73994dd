"""What Textual Inversion learns and draws, as a planned run shows it."""

from flows.generators.textual_inversion import Settings, learn_words, make_images
from models.data.records import Artifact
from tasks.engine.planning_run import PlanningRun
from tasks.engine.work_items import SharedInputs
from tasks.settings.finetuning import LearnWord, SubjectSd15, SubjectSdxl
from tests.flows.generators.test_dreambooth import item_of


def learn(settings: Settings) -> Artifact:
    (word,) = learn_words(PlanningRun(), settings, item_of(), SharedInputs())
    return word


def test_an_initializer_of_another_class_changes_no_word() -> None:
    word = learn(Settings())
    assert word.variant == {"label": "mug", "initializer": "mug"}
    other = LearnWord(initializers={"kiwi": "fruit"})
    assert learn(Settings(training=other)).id == word.id
    own = learn(Settings(training=LearnWord(initializers={"mug": "cup"})))
    assert (own.variant["initializer"], own.id == word.id) == ("cup", False)


def test_prompts_hold_the_word_as_each_network_reads_it() -> None:
    for drawing, prompt in (
        (SubjectSd15(templates=("{a}{word} like {label}",)), r"a <funny\-ret> like mug"),
        (SubjectSdxl(prompts={"mug": ("(a {word}:1.2)",)}), r"(a <funny\-ret>)1.2"),
    ):
        settings = Settings(text_to_image=drawing.model_copy(update={"n_images": 1}))
        run = PlanningRun()
        (image,) = make_images(run, settings, item_of(learn(settings)), SharedInputs())
        assert image.variant["prompt"] == prompt
        assert image.name == "mug/textual_inversion"
