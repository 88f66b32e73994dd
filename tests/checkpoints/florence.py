"""Florence-2, tiny: the layout of ``florence-community/Florence-2-base``."""

import json
from pathlib import Path

import torch

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
SIDE = 64
# The vision tower shrinks by 32, and a token for the whole image comes first.
IMAGE_TOKENS = (SIDE // 32) ** 2 + 1


def build(folder: Path) -> None:
    """Random weights, seeded, whose captions differ from image to image."""
    from transformers import Florence2Config, Florence2ForConditionalGeneration

    folder.mkdir(parents=True, exist_ok=True)
    tokens = [*SPECIAL, *_letters(), "<mask>", "<image>"]
    vision = {
        **{"depths": [1, 1, 1, 1], "embed_dim": [8, 8, 16, 16], "num_heads": [1, 1, 2, 2]},
        **{"num_groups": [1, 1, 2, 2], "window_size": 4, "projection_dim": 16},
    }
    text = {
        **{"model_type": "bart", "vocab_size": len(tokens), "d_model": 16},
        **{"encoder_layers": 1, "decoder_layers": 1, "max_position_embeddings": 160},
        **{"encoder_attention_heads": 2, "decoder_attention_heads": 2},
        **{"encoder_ffn_dim": 32, "decoder_ffn_dim": 32},
        **{"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2},
    }
    config = Florence2Config(
        vision_config=vision, text_config=text, image_token_id=tokens.index("<image>")
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Florence2ForConditionalGeneration(config).eval()
        for name, weight in network.named_parameters():
            if weight.ndim > 1:
                loud = 3.0 if "vision" in name or "encoder_attn" in name else 1.0
                torch.nn.init.normal_(weight, std=loud / weight[0].numel() ** 0.5)
    network.save_pretrained(folder)
    _write(folder / "vocab.json", {token: at for at, token in enumerate(tokens)})
    (folder / "merges.txt").write_text("#version: 0.2\n")
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    _write(
        folder / "tokenizer_config.json",
        {
            **{"tokenizer_class": "BartTokenizer", "model_max_length": 1024, **named},
            **{"extra_special_tokens": {"image_token": "<image>"}, "mask_token": "<mask>"},
            "processor_class": "Florence2Processor",
        },
    )
    _write(
        folder / "preprocessor_config.json",
        {
            **{"image_processor_type": "CLIPImageProcessor", "image_seq_length": IMAGE_TOKENS},
            **{"do_center_crop": False, "do_resize": True, "do_rescale": True, "resample": 3},
            **{"do_normalize": True, "do_convert_rgb": None, "rescale_factor": 1 / 255},
            **{"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
            **{"size": {"height": SIDE, "width": SIDE}, "processor_class": "Florence2Processor"},
        },
    )
    _write(folder / "processor_config.json", {"processor_class": "Florence2Processor"})


def _letters() -> list[str]:
    """The character that stands for each byte in a byte-level vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [*map(chr, printable), *(chr(256 + extra) for extra in range(256 - len(printable)))]


def _write(file: Path, content: dict[str, object]) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
