"""What networks say, made fit for a prompt: repeats, invented words and wrong subjects mended."""

import re
from itertools import pairwise

# BLIP's captioners say "arafed" (an adjective of nothing) and "araffe" (a thing that is none).
_INVENTED = re.compile(r"ar+aff?(?:es?|ed|é|y),?", re.IGNORECASE)
_NO_NOUN = re.compile(r"ar+aff?es?\b", re.IGNORECASE)
_OPENINGS = re.compile(r"^(?:there (?:is|are)|this is|the image shows|we see)\s+", re.IGNORECASE)
# Words that no caption ends with: what is left where the search was cut off.
_LOOSE_END = re.compile(
    "(?:a|an|the|and|or|of|on|in|at|with|to|by|for|from|that|which|is|are|its|his|her|their|near|"
    "next|top|wearing)[,.;:]*",
    re.IGNORECASE,
)
_AFTER_A_NOUN = re.compile(
    r"(?:is|are|that|which|with|on|in|at|and|of|near|next|by|to|from|\w+ing)[,.]?|", re.IGNORECASE
)
_AROUND_A_WORD = ',.;:!?()[]{}<>"\u201c\u201d'
_LONGEST_REPEAT = 8
_VOWELS = "aeiou"


def clean_caption(said: str, label: str, *, max_words: int = 40) -> str:
    """A network's caption as plain words that name its class.

    In this order: spaces are set as a person would set them; BLIP's invented words go, or make way
    for the class where they are the subject; phrases that follow themselves are said once; what
    exceeds ``max_words`` is cut, at a sentence's end if there is one, and loose ends with it. A
    caption that does not name its class gets it: by its last word (``sports car`` where "car" is
    said), else in front (``mug: a white cup``). Brackets, quotes and ``+`` stay: where a prompt may
    hold weights, the caption is escaped (models/diffusion/prompts.py).

    Args:
        said: what the network said; may be empty.
        label: the class, with ``-`` or ``_`` between its words.
        max_words: 1 or more; 40 fit into the 77 tokens of CLIP.

    Example:
        >>> clean_caption("there is an arafed mug on a table on a table on a", "mug")
        'a mug on a table'
    """
    name = class_words(label)
    text = _without_invented_words(_tidy(said), name)
    words = _once(_OPENINGS.sub("", text).split())
    kept = " ".join(_cut(words, max_words))
    return _naming(kept, name) if kept else f"a photo of {with_article(name)}"


def class_words(label: str) -> str:
    """The class as words: ``red-shoes`` is "red shoes"."""
    return " ".join(re.split(r"[-_\s]+", label.strip()))


def with_article(name: str) -> str:
    """``a mug``, ``an apple``, ``shoes``: a plural has no article."""
    if _is_plural(name):
        return name
    return f"an {name}" if name[:1].lower() in _VOWELS else f"a {name}"


def with_class(text: str, name: str) -> str:
    """A recipe's words with ``{label}``, the class, and ``{a}``, its article, filled in."""
    article = with_article(name).removesuffix(name)
    return text.replace("{a}", article).replace("{label}", name)


def _tidy(said: str) -> str:
    """Words and signs with spaces as a person would set them; "" where there is no word. The
    tokenizers of captioners part every sign from its word: ``c + + ( red )``."""
    text = re.sub(r"(?<=\w)(?: ?\+){2,}(?!\S)", lambda found: found[0].replace(" ", ""), said)
    text = re.sub(r"([(\[{])\s+|\s+(?=[)\]}])", r"\1", text)
    text = re.sub(r"(\w) ?- ?(?=\w)", r"\1-", text)
    text = re.sub(r"(?<!\w)-+|-+(?!\w)", " ", text)
    text = re.sub(r'"\s*([^"]*?)\s*"', r'"\1"', text)
    text = re.sub(r"\s+(['\u2019])\s*(s|t|re|ll)\b", r"\1\2", text)
    text = re.sub(r"\s+([,.;:!?])", r"\1", text)
    return " ".join(text.split()) if re.search(r"\w", text) else ""


def _without_invented_words(text: str, name: str) -> str:
    kept: list[str] = []
    mended = False
    for word, after in pairwise([*text.split(), ""]):
        if _INVENTED.fullmatch(word):
            subject = _NO_NOUN.match(word) and _AFTER_A_NOUN.fullmatch(after)
            kept, mended = (_with(kept, name.split()), False) if subject else (kept, True)
        else:
            kept, mended = (_with(kept, [word]) if mended else [*kept, word]), False
    return " ".join(kept)


def _with(words: list[str], added: list[str]) -> list[str]:
    """Words and others after them, in front of which "a" and "an" are put right."""
    if words and words[-1] in ("a", "an"):
        words = [*words[:-1], "an" if added[0][:1].lower() in _VOWELS else "a"]
    return [*words, *added]


def _once(words: list[str]) -> list[str]:
    """Words less each phrase of up to eight that only says the one before it again."""
    for length in range(_LONGEST_REPEAT, 0, -1):
        kept: list[str] = []
        for word in words:
            kept.append(word)
            if _bare(kept[-length:]) == _bare(kept[-2 * length : -length]):
                del kept[-length:]
        words = kept
    return words


def _bare(words: list[str]) -> list[str]:
    return [word.strip(",.;:").lower() for word in words]


def _cut(words: list[str], most: int) -> list[str]:
    kept = words[:most]
    if len(words) > most:
        ends = [at for at, word in enumerate(kept) if word.endswith(".")]
        kept = kept[: ends[-1] + 1] if ends else kept
    while kept and _LOOSE_END.fullmatch(kept[-1]):
        kept = kept[:-1]
    return [*kept[:-1], kept[-1].rstrip(",.;:")] if kept else []


def _naming(caption: str, name: str) -> str:
    words = caption.split()
    said = [_forms(word) for word in words]
    every = {form for forms in said for form in forms}
    missing = [word for word in name.split() if not _forms(word) & every]
    if not missing:
        return caption
    subject = _forms(name.split()[-1])
    at = next((at for at, forms in enumerate(said) if forms & subject), None)
    if at is None:
        return f"{name}: {caption}"
    return " ".join([*_with(words[:at], missing), *words[at:]])


def _forms(word: str) -> set[str]:
    """A word and its parts, with whatever may be their singulars; only for comparisons."""
    plain = word.strip(_AROUND_A_WORD).lower().removesuffix("'s")
    forms = {plain, *plain.split("-")}
    for ending, instead in (("s", ""), ("es", ""), ("ies", "y"), ("ves", "f")):
        forms |= {one[: -len(ending)] + instead for one in forms if one.endswith(ending)}
    return forms - {""}


def _is_plural(word: str) -> bool:
    return word.endswith("s") and not word.endswith(("ss", "us", "is"))
