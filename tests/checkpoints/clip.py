"""A CLIP tokenizer of 514 tokens and the settings of tiny CLIP text encoders that fit it.

The vocabulary is the published one's first part: 256 bytes, 256 bytes that end a word, start and
end. It has no merges, so a word is as many tokens as it has bytes.
"""

import json
from pathlib import Path
from typing import Any

START, END = "<|startoftext|>", "<|endoftext|>"
TOKENS = 514


def write_tokenizer(folder: Path, pad_token: str = END) -> None:
    """A byte-level tokenizer in the published layout, for `CLIPTokenizer.from_pretrained`.

    ``pad_token`` is ``"!"`` (id 0) in Stable Diffusion 2 and in the second tokenizer of SDXL.
    """
    folder.mkdir(parents=True, exist_ok=True)
    letters = _letters()
    tokens = [*letters, *(f"{one}</w>" for one in letters), START, END]
    _write(folder / "vocab.json", {token: at for at, token in enumerate(tokens)})
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    named = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": pad_token}
    _write(folder / "special_tokens_map.json", named)
    settings = {
        **named,
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": 77,
        "tokenizer_class": "CLIPTokenizer",
    }
    _write(folder / "tokenizer_config.json", settings)


def text_config(**overrides: Any) -> Any:
    """A `CLIPTextConfig` of two narrow layers for the tokenizer above, with fields replaced."""
    from transformers import CLIPTextConfig

    settings = {
        **{"vocab_size": TOKENS, "hidden_size": 32, "intermediate_size": 64},
        **{"num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 77},
        **{"projection_dim": 32, "hidden_act": "quick_gelu"},
        **{"bos_token_id": TOKENS - 2, "eos_token_id": TOKENS - 1, "pad_token_id": 1},
        **overrides,
    }
    return CLIPTextConfig(**settings)


def _letters() -> list[str]:
    """The character that stands for each byte, in the order of the published vocabulary: the
    printable ones as themselves, the others from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [*map(chr, printable), *(chr(256 + extra) for extra in range(256 - len(printable)))]


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
