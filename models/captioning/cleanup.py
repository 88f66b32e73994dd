"""Turn a network's caption into a prompt: no invented words, no repeats, and the class is named."""

import re

from models.captioning.template import article, class_words, with_article

# BLIP invents "arafed" (an adjective) and "araffe" (a noun). The noun stands for the object where a
# verb, a preposition or nothing follows it.
_INVENTED_NOUN = re.compile(
    r"\b(an? )?ar+aff?es?\b(?=$|[,.]| (?:is|are|that|which|with|on|in|at|and|of|near|\w+ing)\b)",
    re.IGNORECASE,
)
_INVENTED = re.compile(r"\b(an? )?ar+aff?(?:es?|ed|é|y)(?!\w),? ?(\w?)", re.IGNORECASE)
_OPENING = re.compile(r"^(?:there (?:is|are)|this is|the image shows|we see)\s+", re.IGNORECASE)
_REPEATED = re.compile(r"(?<!\S)(\S+(?: \S+){0,7}?)(?:,? \1)+(?!\w)", re.IGNORECASE)
# Words that end no caption. They remain where the search stopped at its longest length.
_LOOSE_END = re.compile(
    r"(?:a|an|the|and|or|of|on|in|at|with|to|by|for|from|that|which|is|are|its|his|her|their|near|"
    r"next|top|wearing)?[,.;:]*",
    re.IGNORECASE,
)


def clean_caption(text: str, label: str, *, max_words: int = 40) -> str:
    """Return a network's caption in plain words that name its class.

    Brackets, quotes and ``+`` stay: `models.diffusion.prompts` escapes them for prompts with
    weights.

    Args:
        text: the network's words; may be empty.
        label: the class, with ``-`` or ``_`` between its words.
        max_words: 1 or more; 40 fit into the 77 tokens of CLIP.

    Example:
        >>> clean_caption("there is an arafed mug on a table on a table on a", "mug")
        'a mug on a table'
    """
    name = class_words(label)
    text = _INVENTED_NOUN.sub(lambda m: with_article(name) if m[1] else name, _join_tokens(text))
    text = _INVENTED.sub(lambda m: (article(m[2]) if m[1] else "") + m[2], text)
    text = _OPENING.sub("", text)
    while (shorter := _REPEATED.sub(r"\1", text)) != text:
        text = shorter
    text = _cut(text, max_words)
    return _name_class(text, name) if re.search(r"\w", text) else f"a photo of {with_article(name)}"


def _join_tokens(text: str) -> str:
    """Remove the spaces that tokenizers put around signs: ``t - shirt``, ``( red )``, ``c + +``."""
    text = re.sub(r"(\w) ?- ?(?=\w)", r"\1-", text)
    text = re.sub(r"(?<=\w)(?: ?\+){2,}(?!\S)", lambda m: m[0].replace(" ", ""), text)
    text = re.sub(r" +(['\u2019]) ?(s|t|re|ll)\b", r"\1\2", text)
    text = re.sub(r"(?<=[(\[{]) +| +(?=[,.;:!?)\]}])", "", text)
    return " ".join(text.split())


def _cut(text: str, max_words: int) -> str:
    """Keep whole sentences within the words allowed, if there are any; drop loose ends."""
    words = text.split()
    if len(words) > max_words:
        words = words[:max_words]
        ends = [index for index, word in enumerate(words) if word.endswith(".")]
        words = words[: ends[-1] + 1] if ends else words
    while words and _LOOSE_END.fullmatch(words[-1]):
        words.pop()
    return " ".join(words).rstrip(",.;:")


def _name_class(caption: str, name: str) -> str:
    """Add the class: before its last word (``sports car`` for "car"), else in front."""
    words = caption.split()
    forms = [_forms(word) for word in words]
    missing = [word for word in name.split() if not _forms(word) & set().union(*forms)]
    if not missing:
        return caption
    noun = _forms(name.split()[-1])
    at = next((index for index, form in enumerate(forms) if form & noun), None)
    if at is None:
        return f"{name}: {caption}"
    if at and words[at - 1] in ("a", "an"):
        words[at - 1] = article(missing[0]).strip()
    return " ".join([*words[:at], *missing, *words[at:]])


def _forms(word: str) -> set[str]:
    """Return a word, its parts and their possible singulars, for comparisons only."""
    plain = re.sub(r"^[^\w+]+|[^\w+]+$", "", word.lower()).removesuffix("'s")
    forms = {plain, *plain.split("-")}
    for ending, singular in (("s", ""), ("es", ""), ("ies", "y"), ("ves", "f")):
        forms |= {form.removesuffix(ending) + singular for form in forms if form.endswith(ending)}
    return forms - {""}
