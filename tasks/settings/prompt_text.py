"""Texts of a recipe that become parts of prompts, and the placeholders that each may hold."""

import re
from typing import Annotated

from pydantic import AfterValidator

from models.data.names import normal_form

_PLACEHOLDER = re.compile(r"\{[^{}]*\}")


def _knows(*names: str) -> AfterValidator:
    """A check that a text holds no other placeholders than these."""

    def check(text: str) -> str:
        for found in _PLACEHOLDER.findall(text):
            if found not in names:
                known = ", ".join(names) or "none"
                raise ValueError(f"{found[:40]} is no placeholder of this field; it knows: {known}")
        return text

    return AfterValidator(check)


# A text that is used as it is.
PlainText = Annotated[str, _knows()]
# Texts by class; classes in normal form C, as those of photos.
ClassTexts = Annotated[
    dict[str, PlainText],
    AfterValidator(lambda texts: {normal_form(label): text for label, text in texts.items()}),
]
# A text about the class, without and with the colour of the object.
LabelText = Annotated[str, _knows("{label}", "{a}")]
ColourText = Annotated[str, _knows("{label}", "{colour}", "{a}")]
# A text about the class and the word that names what was learned of it.
SubjectText = Annotated[str, _knows("{word}", "{label}", "{a}")]
# A text about the scene around the object.
SceneText = Annotated[str, _knows("{scene}")]
