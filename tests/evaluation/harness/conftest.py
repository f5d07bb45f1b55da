"""Tiny models that both sides open, small local tasks, and no network."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.run import LM, load
from cloche.text.bpe import train_bpe
from cloche.text.characters import CharacterTokenizer
from cloche.text.tokenizer import END_OF_TEXT, UNKNOWN, Tokenizer
from cloche.text.words import WordTokenizer
from cloche.weights.checkpoint import save_checkpoint
from cloche.weights.exporting import export_folder
from cloche.weights.imported import Imported

TEXT = "The cat sat on the mat. A dog ran over the hill, and the bird sang: 春眠不觉晓 Paris!\n"
CONTEXT = 48


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
    """Data sets and their caches in a folder of the test; a look at the network is an error."""
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def tokenizer_of(kind: str) -> Tokenizer:
    if kind == "characters":
        return CharacterTokenizer(set(TEXT) - {"Q", "z"}, with_unknown=True)
    if kind == "words":
        words = set(TEXT.replace(".", " ").split()) | {".", "?"}
        return WordTokenizer(sorted(words), special=(END_OF_TEXT, UNKNOWN))
    return train_bpe([TEXT * 20], vocab_size=330, rule="gpt-2")


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory) -> Callable[..., Path]:
    """A Hugging Face folder, exported from a tiny random model, with each kind of tokenizer."""
    made: dict[tuple[str, bool], Path] = {}

    def make(kind: str = "bpe", *, begins_with_bos: bool = False) -> Path:
        if (kind, begins_with_bos) not in made:
            made[kind, begins_with_bos] = export(
                kind, begins_with_bos, tmp_path_factory.mktemp("model")
            )
        return made[kind, begins_with_bos]

    return make


def export(kind: str, begins_with_bos: bool, place: Path) -> Path:
    tokenizer = tokenizer_of(kind)
    size = tokenizer.vocab_size
    config = complete(ModelOptions(), vocab_size=size, layers=2, width=32, context=CONTEXT)
    torch.manual_seed(3)
    model = build_model(config).eval()
    with torch.no_grad():
        model.get_parameter("lm_head.weight").mul_(6)  # opinions strong enough to differ
    if kind == "words":  # as it lies: its own export is held against more than these words
        save_checkpoint(
            place / "exported", model=model, config=config, tokenizer=tokenizer, card=""
        )
        return place / "exported"
    parts = Imported(
        model=model,
        config=config,
        tokenizer=tokenizer,
        special_ids=tokenizer.special_ids,
        stop_ids=(),
        begins_with_bos=begins_with_bos,
        chat_template=None,
        origin="a test",
    )
    export_folder(parts, place / "exported")
    return place / "exported"


@pytest.fixture
def lm(folder_of) -> LM:
    return load(folder_of(), device="cpu")


def write_rows(path: Path, rows: list[dict]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def task_folder(tmp_path) -> Path:
    """Three tasks, one of each kind, with their data beside them; a group of two of them."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    endings = [" hill", " Paris", " mat and the cat", "dog"]
    questions = [
        {"question": f"The {what} sat on the", "choices": endings, "answer": number % 4}
        for number, what in enumerate(["cat", "dog", "bird", "hill", "mat", "晓", "cat sat"])
    ]
    write_rows(folder / "questions.jsonl", questions)
    write_rows(folder / "texts.jsonl", [{"text": TEXT * times} for times in (1, 2, 5)])
    start = "dataset_path: json\ntest_split: test\n"
    (folder / "choice.yaml").write_text(
        f"task: choice\n{start}"
        "dataset_kwargs: {data_files: {test: questions.jsonl}}\n"
        "output_type: multiple_choice\n"
        'doc_to_text: "{{question}}"\ndoc_to_choice: "{{choices}}"\ndoc_to_target: answer\n'
        'target_delimiter: ""\n'
    )
    (folder / "text.yaml").write_text(
        f"task: text\n{start}"
        "dataset_kwargs: {data_files: {test: texts.jsonl}}\n"
        "output_type: loglikelihood_rolling\n"
        'doc_to_text: ""\ndoc_to_target: "{{text}}"\n'
        "metric_list: [{metric: byte_perplexity}, {metric: bits_per_byte}]\n"
    )
    (folder / "answer.yaml").write_text(
        f"task: answer\n{start}"
        "dataset_kwargs: {data_files: {test: questions.jsonl}}\n"
        "output_type: generate_until\n"
        'doc_to_text: "{{question}}"\ndoc_to_target: " hill"\n'
        'generation_kwargs: {until: ["\\n", "."], max_gen_toks: 8}\n'
        "metric_list: [{metric: exact_match}]\n"
    )
    (folder / "both.yaml").write_text(
        "group: both\ntask: [choice, answer]\n"
        "aggregate_metric_list: [{metric: acc, aggregation: mean, weight_by_size: true}]\n"
    )
    return folder
