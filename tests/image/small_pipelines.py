"""Pipelines of a few thousand numbers, built from configuration, in the shapes that are common."""

import importlib
import json
import warnings
from pathlib import Path
from typing import Any

import torch

SIDE = 64
"""Of their pictures: 8 cells of 8 pixels."""
CHANNELS = (8, 16)
WORDS = ("sea", "dusk")
"""What the tokenizer has as one piece; all else it spells in bytes."""


def byte_signs() -> list[str]:
    """The 256 signs that byte-level vocabularies write bytes with, in the order of GPT-2's."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + place) for place in range(len(others))]


def make_tokenizer(folder: Path) -> Any:
    """CLIP's kind of tokenizer, whose vocabulary knows two words."""
    from transformers import CLIPTokenizer

    merges = ["s e", "se a</w>", "d u", "du s", "dus k</w>"]
    signs = byte_signs()
    pieces = [*signs, *(f"{sign}</w>" for sign in signs)]
    pieces += ["".join(merge.split()) for merge in merges]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    vocab = {piece: number for number, piece in enumerate(pieces)}
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    return CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77
    )


def make_encoder(tokenizer: Any, *, projected: bool) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    size = len(tokenizer)
    config = CLIPTextConfig(
        vocab_size=size,
        hidden_size=32,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=2,
        projection_dim=32,
        bos_token_id=size - 2,
        eos_token_id=size - 1,
        pad_token_id=size - 1,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def diffusers() -> Any:
    """The library, whose names are loaded at first use: type checkers do not see them."""
    return importlib.import_module("diffusers")


def make_decoder() -> Any:
    return diffusers().AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        sample_size=SIDE,
    )


def make_unet(**more: Any) -> Any:
    return diffusers().UNet2DConditionModel(
        sample_size=SIDE // 8,
        layers_per_block=1,
        block_out_channels=CHANNELS,
        norm_num_groups=4,
        attention_head_dim=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **more,
    )


def save_sd(folder: Path) -> Path:
    """Stable Diffusion's shape: one text encoder."""

    tokenizer = make_tokenizer(folder / "words")
    pipeline = diffusers().StableDiffusionPipeline(
        vae=make_decoder(),
        text_encoder=make_encoder(tokenizer, projected=False),
        tokenizer=tokenizer,
        unet=make_unet(cross_attention_dim=32),
        scheduler=diffusers().DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder / "sd")
    return folder / "sd"


def save_sdxl(folder: Path) -> Path:
    """SDXL's shape, under turbo's name: two text encoders; sizes are told as times are."""

    tokenizer = make_tokenizer(folder / "words")
    time_width = 8
    pipeline = diffusers().StableDiffusionXLPipeline(
        vae=make_decoder(),
        text_encoder=make_encoder(tokenizer, projected=False),
        text_encoder_2=make_encoder(tokenizer, projected=True),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=make_unet(
            cross_attention_dim=64,
            addition_embed_type="text_time",
            addition_time_embed_dim=time_width,
            projection_class_embeddings_input_dim=6 * time_width + 32,
        ),
        scheduler=diffusers().EulerAncestralDiscreteScheduler(timestep_spacing="trailing"),
    )
    out = folder / "sdxl-turbo"
    pipeline.save_pretrained(out)
    pipeline.save_pretrained(out, variant="fp16")
    return out


def save_pipelines(folder: Path) -> dict[str, Path]:
    """Both, by their shapes' names."""
    from cloche.image.extras import quietly

    with quietly(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return {"sd": save_sd(folder / "one"), "sdxl": save_sdxl(folder / "two")}
