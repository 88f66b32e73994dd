"""BLIP, tiny: the layout of ``Salesforce/blip-image-captioning-large``."""

import json
from pathlib import Path

import torch

WORDS = [
    *("a", "an", "the", "of", "on", "in", "with", "and", "there", "is", "to", "it"),
    *("photo", "picture", "mug", "shoe", "car", "cup", "table", "grass", "room", "man", "dog"),
    *("red", "blue", "white", "small", "old", "wooden", "standing", "sitting", "arafed"),
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIDE = 32


def build(folder: Path) -> None:
    """Random weights, seeded, whose captions differ from image to image.

    As in the published files, the start token lies beyond the tokenizer's vocabulary and the
    weights hold a buffer of positions that today's class no longer has.
    """
    from safetensors.torch import save_file
    from transformers import BlipForConditionalGeneration

    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = BlipForConditionalGeneration(_config()).eval()
        for name, weight in network.named_parameters():
            if weight.ndim > 1:
                loud = 3.0 if "vision_model" in name or "crossattention" in name else 1.0
                torch.nn.init.normal_(weight, std=loud / weight[0].numel() ** 0.5)
    network.config.save_pretrained(folder)
    tied = ("text_decoder.cls.predictions.decoder.weight",)
    weights = {name: one for name, one in network.state_dict().items() if name not in tied}
    weights["text_decoder.cls.predictions.decoder.bias"] = network.state_dict()[
        "text_decoder.cls.predictions.bias"
    ].clone()
    weights["text_decoder.bert.embeddings.position_ids"] = torch.arange(64)[None]
    weights = {name: one.contiguous() for name, one in weights.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *WORDS, *_letters()]) + "\n")
    settings = _tokenizer_settings()
    special = {name: one for name, one in settings.items() if name.endswith("_token")}
    _write(folder / "special_tokens_map.json", special)
    _write(folder / "tokenizer_config.json", settings)
    _write(folder / "preprocessor_config.json", _processor_settings())


def _config() -> object:
    from transformers import BlipConfig

    text = {
        **{"vocab_size": len(SPECIAL) + len(WORDS) + len(_letters()) + 2},
        **{"hidden_size": 32, "encoder_hidden_size": 32, "intermediate_size": 64},
        **{"num_hidden_layers": 2, "num_attention_heads": 4, "projection_dim": 16},
        **{"max_position_embeddings": 64, "pad_token_id": 0, "sep_token_id": 3, "eos_token_id": 2},
        "bos_token_id": len(SPECIAL) + len(WORDS) + len(_letters()),
    }
    vision = {
        **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2},
        **{"num_attention_heads": 4, "image_size": SIDE, "patch_size": 16, "projection_dim": 16},
    }
    return BlipConfig(
        text_config=text, vision_config=vision, projection_dim=16, image_text_hidden_size=16
    )


def _letters() -> list[str]:
    letters = [chr(ord("a") + at) for at in range(26)]
    return [*letters[1:], *(f"##{one}" for one in letters), "-", "'"]


def _tokenizer_settings() -> dict[str, object]:
    return {
        **{"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512},
        **{"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"},
        **{"unk_token": "[UNK]", "mask_token": "[MASK]", "tokenize_chinese_chars": True},
    }


def _processor_settings() -> dict[str, object]:
    return {
        **{"image_processor_type": "BlipImageProcessor", "processor_class": "BlipProcessor"},
        **{"do_normalize": True, "do_rescale": True, "do_resize": True, "resample": 3},
        **{"image_mean": [0.48145466, 0.4578275, 0.40821073], "rescale_factor": 1 / 255},
        **{"image_std": [0.26862954, 0.26130258, 0.27577711], "size_divisor": 32},
        **{"size": {"height": SIDE, "width": SIDE}},
    }


def _write(file: Path, content: dict[str, object]) -> None:
    file.write_text(json.dumps(content))
