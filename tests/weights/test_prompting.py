"""How a model is spoken to: read from folders of all kinds, written for all tools."""

import json
from pathlib import Path

import pytest

from cloche.errors import CheckpointError
from cloche.text.tokenizer import SpecialIds
from cloche.weights.checkpoint import save_checkpoint
from cloche.weights.prompting import (
    load_begins_with_bos,
    load_chat_template,
    load_special_ids,
    load_stop_ids,
)

BOS_FIRST = {
    "type": "TemplateProcessing",
    "single": [
        {"SpecialToken": {"id": "<s>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    ],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
}


def write(folder: Path, **files: object) -> Path:
    for name, values in files.items():
        (folder / f"{name}.json").write_text(json.dumps(values))
    return folder


def test_special_and_stop_ids_come_from_every_place_none_twice(tmp_path):
    write(
        tmp_path,
        config={"bos_token_id": 0, "eos_token_id": [3, 5], "pad_token_id": -1},
        generation_config={"eos_token_id": [5, 4]},
    )
    assert load_special_ids(tmp_path) == SpecialIds(bos=0, eos=3)
    assert load_stop_ids(tmp_path) == (5, 4, 3)


def test_ids_beyond_the_vocabulary_can_never_occur(tmp_path):
    write(
        tmp_path,
        config={"vocab_size": 5, "bos_token_id": 5, "eos_token_id": [50256, 4]},
        generation_config={"eos_token_id": 50256},
    )
    assert load_special_ids(tmp_path) == SpecialIds(eos=4)
    assert load_stop_ids(tmp_path) == (4,)


@pytest.mark.parametrize("eos", [None, [], -1])
def test_a_model_may_know_no_end(tmp_path, eos):
    write(tmp_path, config={"eos_token_id": eos})
    assert load_special_ids(tmp_path) == SpecialIds()
    assert load_stop_ids(tmp_path) == ()


@pytest.mark.parametrize("eos", ["2", True, [1, "2"], {"id": 2}, 1.5])
def test_ids_that_are_none_are_refused(tmp_path, eos):
    write(tmp_path, config={"eos_token_id": eos})
    with pytest.raises(CheckpointError, match=r"eos_token_id is .*no id"):
        load_stop_ids(tmp_path)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"config": {"bos_token_id": 1}, "tokenizer": {}}, False),
        ({"config": {"bos_token_id": 1}, "tokenizer": {"post_processor": BOS_FIRST}}, True),
        ({"config": {"bos_token_id": 2}, "tokenizer": {"post_processor": BOS_FIRST}}, False),
        ({"config": {}, "tokenizer": {"post_processor": BOS_FIRST}}, False),
        (
            {
                "config": {"bos_token_id": 1},
                "tokenizer": {
                    "post_processor": {
                        "type": "Sequence",
                        "processors": [{"type": "ByteLevel"}, BOS_FIRST],
                    }
                },
            },
            True,
        ),
        (
            {
                "config": {"bos_token_id": 1},
                "tokenizer": {"post_processor": BOS_FIRST},
                "tokenizer_config": {"add_bos_token": False},
            },
            True,
        ),
        ({"config": {"bos_token_id": 1}, "tokenizer_config": {"add_bos_token": True}}, True),
        ({"config": {}, "tokenizer_config": {"add_bos_token": True}}, False),
        ({"config": {"bos_token_id": 1}, "tokenizer_config": {"add_bos_token": False}}, False),
        # SentencePiece alone: as transformers' class for Llama does
        ({"config": {"bos_token_id": 1}}, True),
        (
            {"config": {"bos_token_id": 1}, "tokenizer_config": {"tokenizer_class": "T5Tokenizer"}},
            False,
        ),
        (
            {
                "config": {"bos_token_id": 1, "cloche_begins_with_bos": True},
                "tokenizer_config": {"add_bos_token": False},
            },
            True,
        ),
        ({"config": {"bos_token_id": 1}, "tokenizer": {"post_processor": {"type": 3}}}, False),
        (
            {
                "config": {"bos_token_id": 1},
                "tokenizer": {
                    "post_processor": {"type": "TemplateProcessing", "single": [{"a": []}]}
                },
            },
            False,
        ),
    ],
)
def test_whether_prompts_begin_with_bos_is_found_where_it_is_said(tmp_path, files, expected):
    assert load_begins_with_bos(write(tmp_path, **files)) == expected


def test_the_chat_template_is_found_where_it_lies(tmp_path):
    assert load_chat_template(tmp_path) is None
    named = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]
    write(tmp_path, tokenizer_config={"chat_template": named})
    assert load_chat_template(tmp_path) == "D"
    write(tmp_path, tokenizer_config={"chat_template": "one"})
    assert load_chat_template(tmp_path) == "one"
    (tmp_path / "chat_template.jinja").write_text("two\r\n{{ x }}", newline="")
    assert load_chat_template(tmp_path) == "two\r\n{{ x }}"


@pytest.mark.parametrize("template", [3, {"default": "x"}])
def test_a_template_that_is_no_text_is_refused(tmp_path, template):
    write(tmp_path, tokenizer_config={"chat_template": template})
    with pytest.raises(CheckpointError, match="no text"):
        load_chat_template(tmp_path)


def test_what_is_saved_comes_back(tmp_path, tiny, characters):
    model, config = tiny(characters.vocab_size)
    folder = tmp_path / "m"
    save_checkpoint(
        folder,
        model=model,
        config=config,
        tokenizer=characters,
        card="",
        special_ids=SpecialIds(bos=0, eos=2, pad=2),
        stop_ids=(2, 5, 3),
        begins_with_bos=True,
        chat_template="{{ messages }}\r\n",
    )
    assert load_special_ids(folder) == SpecialIds(bos=0, eos=2, pad=2)
    assert load_stop_ids(folder) == (2, 5, 3)
    assert load_begins_with_bos(folder)
    assert load_chat_template(folder) == "{{ messages }}\r\n"
    assert json.loads((folder / "tokenizer_config.json").read_text())["add_bos_token"] is True


def test_a_checkpoint_begins_plainly_and_stops_at_its_end_unless_told(tmp_path, save, characters):
    folder = save(tmp_path / "m")
    assert load_stop_ids(folder) == (characters.special_ids.eos,)
    assert not load_begins_with_bos(folder)
    assert load_chat_template(folder) is None
