"""Views: strict JSON of whatever they hold, and where their numbers come from."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from tiny_tables import printed, tiny_lm

from cloche.errors import SettingError
from cloche.lens.drawing import draw
from cloche.lens.parameters import see_parameters
from cloche.lens.view import Piece, Provenance, Table, View, pieces_of, printable, provenance_of
from cloche.lens.wording import Words, check_language
from cloche.model.lora import add_lora
from cloche.model.lora_config import LoraConfig
from cloche.run import load
from cloche.text.characters import CharacterTokenizer
from cloche.weights.adapters import save_adapter
from cloche.weights.checkpoint import save_checkpoint
from cloche.weights.history import point
from cloche.weights.identity import model_hash

HERE = Provenance("book", "step-000003", "ab12")


@dataclass(frozen=True, eq=False)
class OneValue(View):
    name: ClassVar[str] = "one-value"
    value: Any


def as_json(value: Any) -> Any:
    """What a program reads of the value, when only true JSON is written."""
    told = OneValue(HERE, value).to_json()
    return json.loads(json.dumps(told, allow_nan=False))["value"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (0.5, 0.5),
        ("猫 ⏎", "猫 ⏎"),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (np.float32(0.25), 0.25),
        (np.int64(7), 7),
        (np.bool_(False), False),
        (np.float64("nan"), "NaN"),
        (b"\xe4\xb8", "e4b8"),
        (Path("a") / "b", str(Path("a") / "b")),
        ((1, (2.0, math.nan)), [1, [2.0, "NaN"]]),
        ({"a": {3: math.inf}}, {"a": {"3": "Infinity"}}),
        ([Piece(1, "␣a")], [{"id": 1, "text": "␣a"}]),
        ((), []),
    ],
)
def test_every_kind_of_value_is_strict_json(value, expected):
    assert as_json(value) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[1.0, math.nan], [-math.inf, 2.0]]), [[1.0, "NaN"], ["-Infinity", 2.0]]),
        (np.array([1, 2], np.int32), [1, 2]),
        (np.array([True, False]), [True, False]),
        (np.zeros((2, 0), np.float32), [[], []]),
        (np.array(math.inf), "Infinity"),
    ],
)
def test_a_table_is_its_axes_its_shape_and_its_numbers(values, expected):
    axes = ("row", "column")[: values.ndim]
    shown = {"axes": list(axes), "shape": list(values.shape), "values": expected}
    assert as_json(Table(values, axes)) == shown


def test_numbers_of_a_table_are_exact_in_json():
    values = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    told = as_json(Table(values, ("row", "column")))
    np.testing.assert_array_equal(np.asarray(told["values"], np.float32), values)


def test_axes_that_are_not_as_many_as_the_numbers_have_are_refused():
    with pytest.raises(ValueError, match="2 axes of numbers"):
        Table(np.zeros((2, 2)), ("row",))


def test_json_begins_with_the_name_and_the_provenance():
    told = OneValue(HERE, 1).to_json()
    assert told["view"] == "one-value"
    assert told["provenance"] == {
        "run": "book",
        "checkpoint": "step-000003",
        "model_sha256": "ab12",
        "text": None,
        "seed": None,
    }


@pytest.fixture
def run(tmp_path) -> Path:
    lm = tiny_lm(tmp_path)
    checkpoint = tmp_path / "book" / "checkpoints" / "step-000003"
    save_checkpoint(checkpoint, model=lm.model, config=lm.config, tokenizer=lm.tokenizer, card="")
    point(tmp_path / "book", "best", checkpoint)
    return tmp_path / "book"


@pytest.mark.parametrize("opened", ["", "best", "checkpoints/step-000003"])
def test_a_run_and_its_checkpoint_are_named_however_it_was_opened(run, opened):
    checkpoint = run / "checkpoints" / "step-000003"
    found = provenance_of(load(run / opened), text="a cat", seed=4)
    expected = Provenance("book", "step-000003", model_hash(checkpoint), "a cat", 4)
    assert found == expected


def test_a_folder_that_is_no_run_is_named_alone(run, tmp_path):
    folder = (run / "checkpoints" / "step-000003").rename(tmp_path / "from-a-hub")
    found = provenance_of(load(folder))
    assert (found.run, found.checkpoint) == ("from-a-hub", "from-a-hub")
    assert found.model_sha256 == model_hash(folder)


def test_an_adapter_run_is_known_by_its_own_weights(run, tmp_path):
    base = load(run)
    config = LoraConfig(rank=2, targets=("q_proj",))
    add_lora(base.model, config, seed=0)
    folder = tmp_path / "tuned"
    digest = model_hash(base.folder)
    save_adapter(folder, base.model, config, base=str(base.folder.resolve()), base_hash=digest)
    found = provenance_of(load(folder))
    assert found.run == "tuned"
    assert len(found.model_sha256) == 64
    assert found.model_sha256 != digest


def test_a_model_that_lies_nowhere_has_no_hash(tmp_path):
    assert provenance_of(tiny_lm(tmp_path)).model_sha256 == ""


def test_what_cannot_be_seen_in_a_token_is_made_visible():
    tokenizer = CharacterTokenizer(set(" \n\t\r猫\u200b\u202e"))
    shown = {text: printable(tokenizer.encode(text)[0], tokenizer) for text in " \n\t\r猫\u200b"}
    assert shown == dict(
        zip(" \n\t\r猫\u200b", ["␣", "⏎", "⇥", "␍", "猫", "<U+200B>"], strict=True)
    )
    (turned,) = pieces_of(tokenizer.encode("\u202e"), tokenizer)
    assert turned.text == "<U+202E>", "a mark of direction would turn the page around"


def test_what_is_printed_is_headed_by_where_it_comes_from(run):
    head = printed(see_parameters(load(run))).splitlines()[0]
    assert head == "parameters · book · step-000003"


def test_a_page_says_where_its_numbers_come_from(run, tmp_path):
    draw(see_parameters(load(run)), tmp_path / "p.html")
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "<p>book · step-000003</p>" in page
    assert "<title>cloche lens: parameters</title>" in page


def test_an_unknown_language_or_theme_is_refused_with_the_known(run, tmp_path):
    with pytest.raises(SettingError, match="en, zh, got 'fr'"):
        check_language("fr")
    with pytest.raises(SettingError, match="light, dark"):
        draw(see_parameters(load(run)), tmp_path / "p.png", theme="sepia")
    assert not (tmp_path / "p.png").exists()


def test_words_are_said_in_both_languages_and_no_other_phrase_is():
    chinese = {"{count} layers": "{count} 层"}
    assert Words(chinese, "en")("{count} layers", count=2) == "2 layers"
    assert Words(chinese, "zh")("{count} layers", count=2) == "2 层"
    with pytest.raises(KeyError):
        Words(chinese, "en")("heads")
