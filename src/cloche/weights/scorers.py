"""A model that scores as a folder on disk: Hugging Face's classes for sequence classification.

transformers opens it with AutoModelForSequenceClassification and gives the same scores. Their
classes read a text's score at its last token that is not the padding token, so that one must never
end a text: a model whose padding token is its end-of-text token gets another, or none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cloche.errors import CheckpointError, WrongKindError
from cloche.model.config import ModelConfig
from cloche.model.decoder import Decoder
from cloche.model.scorer import Scorer, headless
from cloche.text.files import CONFIG_FILE
from cloche.text.tokenizer import SpecialIds, Tokenizer
from cloche.weights.checkpoint import (
    SCORES,
    TrainerState,
    check_tokenizer,
    is_scorer,
    stored_tensors,
    write_checkpoint,
)
from cloche.weights.folder import ADAPTER_CONFIG, CONFIG, WEIGHTS, read_json, write_json
from cloche.weights.hf import from_hf_config, in_layout, layout_in, layout_of
from cloche.weights.manifest import MANIFEST, verify_model
from cloche.weights.reading import Weights, find_weights, read_into, require_enough_tensors
from cloche.weights.tensors import read_each, write_tensors

SCORE = "score.weight"
REWARD = ("reward",)
"""The labels of a model that gives one number to a text."""
CAUSAL = ("ForCausalLM", "LMHeadModel")
LABEL_KEYS = ("num_labels", "id2label", "label2id", "problem_type")
FLOATS = ("F64", "F32", "F16", "BF16")
MOST_LABELS = 100_000


@dataclass(frozen=True, eq=False)
class OpenedScorer:
    """A scorer from its folder."""

    scorer: Scorer
    config: ModelConfig
    labels: tuple[str, ...]
    """The name of each number of a score, in order."""


def save_scorer(
    folder: Path,
    *,
    scorer: Scorer,
    labels: Sequence[str],
    tokenizer: Tokenizer,
    trainer: TrainerState | None = None,
    card: str,
    special_ids: SpecialIds | None = None,
    stop_ids: Sequence[int] = (),
    begins_with_bos: bool = False,
    chat_template: str | None = None,
) -> None:
    """Write a whole scorer to `folder`, replacing what is there; equal states, equal bytes.

    `labels` names the numbers of a score; all else is as for `save_checkpoint`. Raises
    CheckpointError where the disk refuses: then nothing has changed.
    """
    assert len(labels) == scorer.labels, "each number of a score has a name"
    learned = special_ids or tokenizer.special_ids
    padding = padding_token(tokenizer, special_ids=learned, stop_ids=stop_ids)
    pad = tokenizer.special_tokens[padding] if padding is not None else None
    write_checkpoint(
        folder,
        partial(_write_scorer, scorer=scorer, labels=labels, padding=padding),
        tokenizer=tokenizer,
        trainer=trainer,
        card=card,
        special_ids=replace(learned, pad=pad),
        stop_ids=stop_ids,
        begins_with_bos=begins_with_bos,
        chat_template=chat_template,
    )


def load_scorer(folder: Path, *, dtype: torch.dtype = torch.float32) -> OpenedScorer:
    """The scorer of a folder that cloche or transformers wrote, on the CPU.

    A manifest, where there is one, is verified first. Raises CheckpointError, also for a model
    that writes texts and scores none.
    """
    if (folder / ADAPTER_CONFIG).exists() and not (folder / CONFIG).exists():
        raise WrongKindError(f"{folder} holds an adapter, which scores no texts")
    check_tokenizer(folder)
    if (folder / MANIFEST).exists():
        verify_model(folder)
    values = read_json(folder / CONFIG)
    if not is_scorer(values):
        raise WrongKindError(
            f"{folder} holds a model that writes texts and scores none: make one that scores of it "
            "with cloche align reward, or with cloche tune --task classify"
        )
    described = {key: value for key, value in values.items() if key not in LABEL_KEYS}
    config = headless(from_hf_config(described))
    weights = find_weights(folder)
    require_enough_tensors(config, weights)
    labels = _labels_in(values)
    scorer = _empty(config, labels=len(labels))
    body = {name: header for name, header in weights.headers.items() if name != SCORE}
    read_into(
        scorer.decoder,
        config,
        layout_in(described).names,
        Weights(weights.source, body),
        dtype=dtype,
    )
    scorer.decoder.tie_weights()
    _read_score(scorer, weights, dtype=dtype)
    return OpenedScorer(scorer, config, labels)


def padding_token(
    tokenizer: Tokenizer, *, special_ids: SpecialIds, stop_ids: Sequence[int] = ()
) -> str | None:
    """The name of a special token that never ends a text: the padding token, if it is one.

    None where there is no such token: transformers then scores one text at a time.
    """
    end_texts = {special_ids.bos, special_ids.eos, special_ids.unk, *stop_ids}
    end_texts.add(tokenizer.special_ids.unk)
    ids = tokenizer.special_tokens
    fit = [name for name, number in ids.items() if number not in end_texts]
    return next((name for name in fit if ids[name] == special_ids.pad), next(iter(fit), None))


def _write_scorer(
    folder: Path,
    special_ids: SpecialIds,
    own: dict[str, Any],
    *,
    scorer: Scorer,
    labels: Sequence[str],
    padding: str | None,
) -> None:
    config = headless(scorer.config)
    layout = layout_of(config, folder=folder)
    values = in_layout(layout, config, special_ids, dtype="float32")
    described = values | {
        "architectures": [_scoring_class(values["architectures"][0])],
        **_describe_labels(labels),
        **own,
    }
    write_json(folder / CONFIG, described)
    path = folder / CONFIG_FILE
    write_json(path, read_json(path) | {"pad_token": padding})
    tensors = layout.names.to_stored(stored_tensors(scorer.decoder), config)
    score = stored_tensors(scorer.score)["weight"]
    write_tensors(folder / WEIGHTS, tensors | {SCORE: score})


def _scoring_class(writes: str) -> str:
    """The class that scores with the same body as a class that writes."""
    ending = next(ending for ending in CAUSAL if writes.endswith(ending))
    return writes.removesuffix(ending) + SCORES


def _describe_labels(labels: Sequence[str]) -> dict[str, Any]:
    return {
        "num_labels": len(labels),
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
        "problem_type": "regression" if len(labels) == 1 else "single_label_classification",
    }


def _labels_in(values: dict[str, Any]) -> tuple[str, ...]:
    """The labels that a config.json names, by number; Hugging Face's two where it names none."""
    named = values.get("id2label")
    if named is None:
        count = values.get("num_labels", 2)
        if not isinstance(count, int) or isinstance(count, bool) or not 0 < count <= MOST_LABELS:
            raise CheckpointError(f"{CONFIG}: num_labels must be a number from 1 on, not {count!r}")
        return tuple(f"LABEL_{number}" for number in range(count))
    expected = {str(number) for number in range(len(named))} if isinstance(named, dict) else set()
    if not expected or set(map(str, named)) != expected:
        raise CheckpointError(
            f"{CONFIG}: id2label must name the labels 0, 1, 2, ... and no others, "
            f"not {named!r:.120}"
        )
    by_number = {int(number): str(label) for number, label in named.items()}
    return tuple(by_number[number] for number in range(len(by_number)))


def _empty(config: ModelConfig, *, labels: int) -> Scorer:
    """A scorer without memory, to be filled."""
    if config.family in ("bigram", "ngram", "seq2seq"):
        raise CheckpointError(f"a {config.family} model cannot score texts: only a decoder does")
    with torch.device("meta"):
        return Scorer(Decoder(config), labels)


def _read_score(scorer: Scorer, weights: Weights, *, dtype: torch.dtype) -> None:
    header = weights.headers.get(SCORE)
    wanted = tuple(scorer.score.weight.shape)
    if header is None or header.dtype not in FLOATS or header.shape != wanted:
        found = "missing" if header is None else f"{header.dtype} of the shape {header.shape}"
        raise CheckpointError(
            f"{weights.source}: {SCORE} must hold numbers of the shape {wanted}, and is {found}"
        )
    ((_, tensor),) = read_each([header])
    if not bool(tensor.isfinite().all()):
        raise CheckpointError(f"{weights.source}: {SCORE} holds numbers that are none")
    scorer.score.load_state_dict({"weight": tensor.to(dtype, copy=True)}, assign=True)
