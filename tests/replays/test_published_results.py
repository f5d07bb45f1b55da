"""Every published result, computed anew; and what is told where one cannot be."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cloche.errors import ClocheError, DataError, SettingError
from cloche.replays import materials as materials_module
from cloche.replays.materials import Materials
from cloche.replays.published import Published, choose_published, load_published
from cloche.replays.replay import MEASURES, replay, replay_row

PUBLISHED = load_published()
BY_NAME = {published.name: published for published in PUBLISHED}
WRONG_AS_PUBLISHED = {
    "124M untrained, likeliest next tokens, as text",
    "Llama 2 corpus in novels of 400,000 characters",
}


def refuse_download(corpus, path):
    raise DataError(f"{corpus.name} is not on this machine")


@pytest.fixture(scope="module")
def materials(tmp_path_factory) -> Iterator[Materials]:
    """Shared by all rows of this file: the 124M model is built once."""
    folder = os.environ.get("CLOCHE_DATA")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cloche.data.corpora.download", refuse_download)
        yield Materials(
            data_folder=Path(folder) if folder else None,
            cache_folder=tmp_path_factory.mktemp("cache"),
        )


@pytest.fixture
def without_texts(tmp_path, monkeypatch) -> Materials:
    monkeypatch.setattr("cloche.data.corpora.download", refuse_download)
    return Materials(data_folder=None, cache_folder=tmp_path)


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda published: published.name)
def test_the_published_result_comes_out_again(published, materials):
    row = replay_row(published, materials)
    if row.status == "not run":
        pytest.skip(row.cause or "")
    wrong = published.name in WRONG_AS_PUBLISHED
    assert row.status == ("wrong as published" if wrong else "met"), row.cause


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
    assert first.cause == "not run: verdict is not on this machine"
    assert second.met


def test_a_damaged_text_is_told_and_not_counted(tmp_path):
    (tmp_path / "the-verdict.txt").write_text("I HAD always thought", encoding="utf-8")
    materials = Materials(data_folder=tmp_path, cache_folder=tmp_path / "cache")
    row = replay_row(BY_NAME["the-verdict characters"], materials)
    assert row.status == "not run"
    assert "SHA-256" in (row.cause or "")


def test_what_cannot_be_had_is_asked_for_once(tmp_path, monkeypatch):
    asked = []

    def resolve(names, **_):
        asked.append(names)
        raise DataError("no network")

    monkeypatch.setattr(materials_module, "resolve", resolve)
    materials = Materials(data_folder=None, cache_folder=tmp_path)
    for _ in range(3):
        with pytest.raises(ClocheError, match="no network"):
            materials.text("verdict")
    assert len(asked) == 1


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
