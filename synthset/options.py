"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from synthset.output import renamed_option

Out = Annotated[Path, typer.Option(help="Folder for datasets, report and manifest.")]
Store = Annotated[
    str | None, typer.Option(help="Artifact store: a folder or s3://bucket/prefix [OUT/store].")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a field of the recipe, such as resize.longest_side=512."),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Use at most N reference photos.")]
MaxParallel = Annotated[
    int | None, typer.Option("--max-parallel", min=1, help="References at a time [CPU cores].")
]
OldAtOnce = Annotated[int | None, renamed_option("--at-once", "--max-parallel")]
RecipeName = Annotated[
    str, typer.Argument(help="A YAML file, or a name that `synthset recipe list` shows.")
]
Photos = Annotated[
    Path, typer.Option(help="Photos in class folders, COCO, VOC, YOLO, Oxford-IIIT Pet, Food-101.")
]
Profile = Annotated[str | None, typer.Option(help="classical or diffusion.")]
