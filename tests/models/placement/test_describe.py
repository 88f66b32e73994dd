"""Images say what is real, what is new, and which photos are behind them."""

from models.data.records import Annotation, Artifact, SourceImage
from models.placement.describe import describe_scene, new_object, with_sources

PHOTO = Artifact(
    key="a" * 64,
    stage="ingest",
    version=1,
    name="cell/1",
    media="png",
    digest="d" * 64,
    size=1,
    metadata={"width": 40},
)
SCENE = SourceImage(
    name="cell/1",
    file="1.png",
    split="train",
    image=PHOTO,
    annotations=(Annotation(label="cell", box=(1, 2, 3, 4)),),
)


def test_a_scene_names_itself_and_its_teachers_once() -> None:
    described = with_sources(SCENE, ["cell/2", "cell/1"])
    assert described.metadata == {"width": 40, "sources": ["cell/1", "cell/2"]}
    assert described.id == PHOTO.id
    assert "sources" not in PHOTO.metadata


def test_real_objects_stay_and_new_ones_are_marked() -> None:
    placement = {"objects": [{"label": "cell", "box": [1, 2, 3, 4], "mask": None}]}
    new = new_object("rare", (5, 6, 7, 8), "runs", "rare/9", chosen=1)
    described = describe_scene(PHOTO, "rare", placement, [new], ["cell/1", "rare/9"])
    assert [(e["label"], e["source"], e["is_new"]) for e in described["objects"]] == [
        ("cell", "cell/1", False),
        ("rare", "rare/9", True),
    ]
    assert described["objects"][1]["box"] == [5, 6, 7, 8]
    assert (described["counted_as"], described["sources"]) == ("rare", ["cell/1", "rare/9"])
    assert PHOTO.digest.startswith(described["composition"])
