"""Every published result, computed anew; and what is told where one cannot be."""

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from cloche.errors import DataError, SettingError, TokenizerError
from cloche.replays import materials as materials_module
from cloche.replays.matching import Precision
from cloche.replays.materials import MaterialError, Materials
from cloche.replays.measured import Measured
from cloche.replays.published import Published, choose_published, load_published
from cloche.replays.replay import MEASURES, Row, replay, replay_row
from cloche.replays.table import markdown_table
from cloche.replays.windows import verdict_batches, verdict_parts

PUBLISHED = load_published()
BY_NAME = {published.name: published for published in PUBLISHED}
WRONG_AS_PUBLISHED = {
    "124M untrained, likeliest next tokens, as text",
    "Llama 2 corpus in novels of 400,000 characters",
}
DOCUMENT = Path(__file__).parents[2] / "docs" / "replays.md"
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
CUT = "…`"


def refuse_download(corpus, path):
    raise DataError(f"{corpus.name} is not on this machine")


def refuse_encoding(name):
    raise TokenizerError(f"{name} is not on this machine")


@pytest.fixture(scope="module")
def materials(tmp_path_factory) -> Iterator[Materials]:
    """Shared by all rows of this file: the 124M model is built once."""
    folder = os.environ.get("CLOCHE_DATA")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cloche.data.corpora.download", refuse_download)
        if "TIKTOKEN_CACHE_DIR" not in os.environ:
            patch.setattr(materials_module, "open_tokenizer", refuse_encoding)
        yield Materials(
            data_folder=Path(folder) if folder else None,
            cache_folder=tmp_path_factory.mktemp("cache"),
        )


@pytest.fixture
def without_texts(tmp_path, monkeypatch) -> Materials:
    monkeypatch.setattr("cloche.data.corpora.download", refuse_download)
    return Materials(data_folder=None, cache_folder=tmp_path)


def skip_where_nothing_is_given(row: Row) -> None:
    """A row is left out only where this machine was given no text, or no encoding, that it needs.

    What was given and cannot be used is a failure.
    """
    variable = {"text": "CLOCHE_DATA", "tokenizer": "TIKTOKEN_CACHE_DIR"}.get(row.lacking or "")
    if variable is not None and variable not in os.environ:
        pytest.skip(f"{variable} names no folder: {row.cause}")


def check_document(row: Row, lines: list[str]) -> None:
    """The document's line of a row is the one measured now, up to the rounding of machines."""
    (line,) = [line for line in lines if line.startswith(f"| {row.published.name} |")]
    told = line.split(" | ")
    found = markdown_table([row]).splitlines()[-1].split(" | ")
    assert (told[:2], told[3:]) == (found[:2], found[3:])
    check_measured(told[2], found[2], row.published)


def check_measured(told: str, found: str, published: Published) -> None:
    precision = (published.wrong or published).precision
    if not precision.allowed(1.0):
        assert told == found
        return
    both = [NUMBER.findall(cell) for cell in (told, found)]
    if told.endswith(CUT) or found.endswith(CUT):  # the last number is cut, or what is behind it
        both = [numbers[: min(map(len, both)) - 1] for numbers in both]
    else:
        assert NUMBER.sub("#", told) == NUMBER.sub("#", found)
    assert both[0]
    for one, other in zip(*both, strict=True):
        allowed = precision.tolerance or float(precision.allowed(float(other))) / 10
        assert float(one) == pytest.approx(float(other), rel=0, abs=allowed), (told, found)


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda published: published.name)
def test_the_published_result_comes_out_again_as_the_document_shows(published, materials):
    row = replay_row(published, materials)
    skip_where_nothing_is_given(row)
    wrong = published.name in WRONG_AS_PUBLISHED
    assert row.status == ("wrong as published" if wrong else "met"), row.cause
    check_document(row, DOCUMENT.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("softmax", "`[0.192498, 0.142606, 0.235217, 0.142606, 0.287161]`"),  # a digit
        ("softmax", "`[0.192498, 0.142606, 0.235129, 0.142606]`"),
        ("parameters: GPT-2 small", "`124439809`"),
        ("Chinchilla", '`{"tokens a parameter": 18.39, "tokens": 1400000000000}`'),
    ],
)
def test_a_measured_value_that_the_document_has_wrong_is_found(name, told, without_texts):
    row = replay_row(BY_NAME[name], without_texts)
    line = markdown_table([row]).splitlines()[-1]
    check_document(row, [line])
    cells = line.split(" | ")
    cells[2] = told
    with pytest.raises(AssertionError):
        check_document(row, [" | ".join(cells)])


@pytest.mark.parametrize("lacking", ["text", "tokenizer", None])
def test_only_what_was_not_given_is_left_out(lacking, monkeypatch):
    row = Row(BY_NAME["softmax"], "not run", lacking=lacking)
    monkeypatch.setenv("CLOCHE_DATA", "here")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "here")
    skip_where_nothing_is_given(row)
    monkeypatch.delenv("CLOCHE_DATA")
    if lacking != "text":
        skip_where_nothing_is_given(row)
        return
    with pytest.raises(pytest.skip.Exception, match="CLOCHE_DATA"):
        skip_where_nothing_is_given(row)


def test_with_the_texts_at_hand_no_row_lacks_its_text(materials, shared_data):
    for name in ("verdict", "shakespeare"):
        assert materials.text(name)


def test_there_is_a_computation_for_each_result_and_no_other():
    assert MEASURES.keys() == BY_NAME.keys()
    assert len(PUBLISHED) == len(BY_NAME) >= 43


def test_every_fraction_says_how_exactly_it_was_printed():
    def fractions(value) -> Iterator[float]:
        if isinstance(value, dict | list):
            for inner in value.values() if isinstance(value, dict) else value:
                yield from fractions(inner)
        elif isinstance(value, float):
            yield value

    for published in PUBLISHED:
        if any(fractions(published.expected)):
            rule = published.precision
            assert (rule.decimals, rule.significant, rule.tolerance) != (None, None, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("softmax", [0.1925, 0.1426, 0.2353, 0.1426, 0.2872]),
        ("softmax", [0.1925, 0.1426, 0.2351, 0.1426]),
        ("parameters: GPT-2 small", 124_439_809),
        ("regex split, spaces kept then dropped", ["Hello,", "world.", "This", "is", "a", "test"]),
        ("Embedding(6, 3), seed 123", BY_NAME["Embedding(4, 5), seed 123"].values),
    ],
)
def test_a_wrong_figure_is_not_met_and_the_cause_names_it(name, value, without_texts):
    row = replay_row(replace(BY_NAME[name], values=value), without_texts)
    assert (row.met, row.expected, row.status) == (False, False, "not met")
    assert row.cause
    assert "published" in row.cause


@pytest.mark.parametrize("error", [SettingError, DataError, TokenizerError])
def test_a_computation_that_fails_is_not_met_and_told(error, without_texts, monkeypatch):
    def fail(config):
        raise error("heads must divide width")

    monkeypatch.setattr("cloche.planning.flops.parameter_count", fail)
    row = replay_row(BY_NAME["parameters: GPT-2 small"], without_texts)
    assert (row.status, row.met, row.expected, row.lacking) == ("not met", False, False, None)
    assert row.cause == "the computation failed: heads must divide width"


def test_a_mistake_of_the_program_is_not_hidden(without_texts, monkeypatch):
    monkeypatch.setattr("cloche.planning.flops.parameter_count", lambda config: config.nothing)
    with pytest.raises(AttributeError):
        replay_row(BY_NAME["parameters: GPT-2 small"], without_texts)


@pytest.mark.parametrize("name", sorted(WRONG_AS_PUBLISHED))
def test_a_figure_is_wrong_as_published_only_where_the_right_value_comes_out(
    name, without_texts, monkeypatch
):
    published = BY_NAME[name]

    def status(value) -> str:
        monkeypatch.setitem(MEASURES, name, lambda *_: Measured(value))
        return replay_row(published, without_texts).status

    assert published.wrong is not None
    assert status(published.wrong.right) == "wrong as published"
    assert status(published.expected) == "met"
    for other in ({"copies": 1.0}, {"targets 1": " effort moves you", "outputs 1": "anything"}):
        assert status(other) == "not met"
    row = replay_row(published, without_texts)
    assert not row.expected
    assert "nor right" in (row.cause or "")


def test_the_right_number_of_novels_is_held_to_its_three_digits(without_texts, monkeypatch):
    name = "Llama 2 corpus in novels of 400,000 characters"
    found = {}
    for copies in (19_849_999, 19_850_001, 19_949_999, 19_950_001):
        measured = Measured({"copies": copies})
        monkeypatch.setitem(MEASURES, name, lambda *_, measured=measured: measured)
        found[copies] = replay_row(BY_NAME[name], without_texts).expected
    assert list(found.values()) == [False, True, True, False]


def test_chinchilla_is_met_exactly_and_the_fitted_law_stands_beside_it(without_texts):
    published = BY_NAME["Chinchilla"]
    row = replay_row(published, without_texts)
    assert published.precision == Precision()
    assert row.measured == {"tokens": 1.4e12, "tokens a parameter": 20}
    assert row.beside["tokens a parameter, by a fitted law"] == pytest.approx(18.39, abs=0.005)


TINY = {"family": "gpt", "layers": 1, "heads": 1, "width": 4, "context": 256, "tied": False}


def test_the_untrained_losses_are_means_of_the_means_of_the_loaders_batches(
    without_texts, monkeypatch
):
    ids = torch.arange(12).view(3, 4)
    batches = [[ids[:1], ids[:1] + 1], [ids[1:], ids[1:] + 1]]  # of 4 and of 8 tokens
    monkeypatch.setattr("cloche.replays.untrained.verdict_batches", lambda *_: (batches, batches))
    published = BY_NAME["124M untrained losses"]
    inputs = {**published.inputs, "options": TINY, "vocab_size": 13}
    found = replay_row(replace(published, inputs=inputs), without_texts).measured
    with torch.no_grad():
        model = without_texts.untrained(inputs)
        means = [cross_entropy(model(one).flatten(0, 1), two.flatten()) for one, two in batches]
    assert abs(means[0] - means[1]) > 1e-3
    assert found["train"] == pytest.approx(float(sum(means)) / 2, rel=1e-6)


def test_the_loaders_shuffle_train_as_torch_does_under_its_global_seed(materials):
    published = BY_NAME["the-verdict loaders, context 256, batch 2"]
    skip_where_nothing_is_given(replay_row(published, materials))
    train, validation = verdict_batches(published, materials)
    windows, held_out = verdict_parts(published.inputs, materials)
    torch.manual_seed(123)
    loader = DataLoader(windows, batch_size=2, shuffle=True, drop_last=True)
    for (inputs, _), (expected, _) in zip(train, loader, strict=True):
        assert torch.equal(inputs, expected)
    assert torch.equal(validation[0][0], torch.stack([inputs for inputs, _ in held_out]))


def test_the_loaders_drop_the_last_partial_batch_of_train_alone(materials):
    published = BY_NAME["the-verdict loaders, context 256, batch 2"]
    other = replace(published, inputs={**published.inputs, "batch": 4})
    row = replay_row(other, materials)
    skip_where_nothing_is_given(row)
    assert (row.measured["train_batches"], row.measured["train_tokens"]) == (4, 16 * 256)
    assert (row.measured["validation_batches"], row.measured["validation_tokens"]) == (1, 2 * 256)


def test_other_options_or_vocabularies_have_other_logits(without_texts):
    inputs = {"options": TINY, "vocab_size": 11, "seed": 1, "ids": [[1, 2, 3]]}
    first = without_texts.logits(inputs)
    assert without_texts.logits(dict(inputs)) is first
    assert without_texts.logits({**inputs, "vocab_size": 12}).shape == (1, 3, 12)
    deeper = without_texts.logits({**inputs, "options": {**TINY, "layers": 2}})
    assert not torch.equal(deeper, first)


def test_another_seed_is_another_result(without_texts):
    published = BY_NAME["masked self-attention, seed 1337"]
    other = replace(published, inputs={**published.inputs, "seed": 1338})
    assert replay_row(other, without_texts).status == "not met"


def test_a_missing_text_is_told_and_the_other_rows_go_on(without_texts):
    names = ["the-verdict characters", "softmax"]
    told = []
    first, second = replay([BY_NAME[name] for name in names], without_texts, tell=told.append)
    assert told == ["1 of 2: the-verdict characters", "2 of 2: softmax"]
    assert (first.status, first.met, first.measured) == ("not run", False, None)
    assert first.lacking == "text"
    assert first.cause == "not run: verdict is not on this machine"
    assert second.met


def test_a_damaged_text_is_told_and_not_counted(tmp_path):
    (tmp_path / "the-verdict.txt").write_text("I HAD always thought", encoding="utf-8")
    materials = Materials(data_folder=tmp_path, cache_folder=tmp_path / "cache")
    row = replay_row(BY_NAME["the-verdict characters"], materials)
    assert row.status == "not run"
    assert "SHA-256" in (row.cause or "")


def test_a_missing_encoding_is_told(without_texts, monkeypatch):
    monkeypatch.setattr(materials_module, "open_tokenizer", refuse_encoding)
    row = replay_row(BY_NAME["gpt2 encode"], without_texts)
    assert (row.status, row.lacking) == ("not run", "tokenizer")
    assert row.cause == "not run: gpt2 is not on this machine"


@pytest.mark.parametrize("error", [DataError, PermissionError])
def test_what_cannot_be_had_is_asked_for_once(error, tmp_path, monkeypatch):
    asked = []

    def fetch(name, **_):
        asked.append(name)
        raise error("no network")

    monkeypatch.setattr(materials_module, "fetch", fetch)
    materials = Materials(data_folder=None, cache_folder=tmp_path)
    for _ in range(3):
        with pytest.raises(MaterialError, match="no network"):
            materials.text("verdict")
    assert len(asked) == 1


def test_a_file_of_the_users_that_is_called_as_a_text_is_not_taken_for_it(
    without_texts, tmp_path, monkeypatch
):
    (tmp_path / "verdict").write_text("another text", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert replay_row(BY_NAME["the-verdict characters"], without_texts).status == "not run"


def test_replaying_leaves_the_callers_random_numbers_alone(without_texts):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    names = ["Embedding(6, 3), seed 123", "masked self-attention, seed 1337", "running mean: loop,"]
    for name in names:
        (published,) = choose_published(PUBLISHED, [name])[:1]
        assert replay_row(published, without_texts).met
    assert torch.equal(torch.rand(3), expected)


def test_a_count_by_formula_that_differs_from_the_built_model_is_not_met(
    without_texts, monkeypatch
):
    monkeypatch.setattr("cloche.planning.flops.parameter_count", lambda config: 1)
    row = replay_row(BY_NAME["parameters: GPT-2 small"], without_texts)
    assert row.status == "not met"
    assert row.measured == {"by formula": 1, "built": 124_439_808}


def names(chosen: tuple[Published, ...]) -> list[str]:
    return [published.name for published in chosen]


def test_rows_are_chosen_by_name_or_by_part_of_it():
    assert names(choose_published(PUBLISHED, ["softmax"])) == ["softmax"]
    found = names(choose_published(PUBLISHED, ["gpt-2 s", "CHINCHILLA", "gpt-2 x"]))
    assert found == ["parameters: GPT-2 small", "parameters: GPT-2 xl", "Chinchilla"]
    assert choose_published(PUBLISHED, []) == PUBLISHED


@pytest.mark.parametrize("name", ["perplexiti", "zzz", "", "  "])
def test_a_name_that_fits_none_is_an_error_with_the_way_on(name):
    with pytest.raises(SettingError, match="cloche replay --list") as caught:
        choose_published(PUBLISHED, [name])
    assert ("'perplexity'" in str(caught.value)) == (name == "perplexiti")
