"""Each token's surprisal, as records, as JSON and as a page."""

import html.parser
import json
import math

import numpy as np
import pytest
import torch

from cloche.errors import SettingError
from cloche.evaluation.measure import encode_passage, measure_sources, read_documents
from cloche.evaluation.surprisal import (
    Surprisals,
    SurprisalSettings,
    write_json,
)
from cloche.evaluation.surprisal_page import LEVELS, level_of, write_page
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.run import LM
from cloche.text.bpe import train_bpe
from cloche.text.sources import find_sources
from cloche.text.words import WordTokenizer

TEXT = '春眠不觉晓，处处闻啼鸟。\nThe <b>cat</b> & "dog" 🙂\u202e é\n'


def random_lm(tokenizer, folder) -> LM:
    config = complete(
        ModelOptions(), vocab_size=tokenizer.vocab_size, layers=1, width=32, context=16
    )
    torch.manual_seed(0)
    return LM(build_model(config).eval(), tokenizer, config, folder)


@pytest.fixture(scope="module")
def bpe():
    return train_bpe(["The cat and the dog. " * 20], vocab_size=280, rule="gpt-2")


@pytest.fixture
def lm(bpe, tmp_path):
    return random_lm(bpe, tmp_path)


def passages(lm, folder, *texts):
    for number, text in enumerate(texts):
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    names = [str(folder / f"{number}.txt") for number in range(len(texts))]
    documents = read_documents(find_sources(names), encoding="utf-8")
    return (encode_passage(lm.tokenizer, document) for document in documents)


def all_groups(surprisals):
    return [group for document in surprisals for group in document.groups]


def test_groups_are_whole_characters_that_join_to_the_text(lm, tmp_path):
    groups = all_groups(Surprisals(lm, passages(lm, tmp_path, TEXT)))
    assert "".join(group.text for group in groups) == TEXT
    spring = groups[0]
    assert spring.text == "春"
    assert [token.text for token in spring.tokens] == ["<E6>", "<98>", "<A5>"]
    assert {(token.start, token.end) for token in spring.tokens} == {(0, 1)}
    assert spring.bits == pytest.approx(sum(token.bits or 0 for token in spring.tokens))
    for group in groups:
        assert TEXT[group.start : group.end] == group.text


def test_the_bits_are_those_of_measuring(lm, tmp_path):
    groups = all_groups(
        Surprisals(lm, passages(lm, tmp_path, TEXT, "The dog."), SurprisalSettings(4))
    )
    sources = find_sources([str(tmp_path / "0.txt"), str(tmp_path / "1.txt")])
    costs = measure_sources(lm, sources, encoding="utf-8", stride=4)
    bits = sum(group.bits or 0.0 for group in groups)
    assert bits * math.log(2) == pytest.approx(costs.nats, rel=1e-5)
    assert sum(len(group.tokens) for group in groups) == costs.tokens


def test_alternatives_are_the_likeliest_and_the_rank_counts_them(lm, tmp_path):
    settings = SurprisalSettings(alternatives=lm.tokenizer.vocab_size)
    for group in all_groups(Surprisals(lm, passages(lm, tmp_path, "The cat"), settings)):
        for token in group.tokens:
            others = [other.id for other in token.alternatives]
            bits = [other.bits for other in token.alternatives]
            assert bits == sorted(bits)
            assert others[(token.rank or 0) - 1] == token.id
            assert np.exp2(-np.array(bits)).sum() == pytest.approx(1.0, rel=1e-4)


def test_a_first_token_that_nothing_stands_before_has_no_bits(tmp_path):
    words = WordTokenizer(["dog", "the", "sat"], special=("<|endoftext|>", "<|unk|>"))
    lm = random_lm(words, tmp_path)
    groups = all_groups(Surprisals(lm, passages(lm, tmp_path, "the dog sat")))
    assert [group.text for group in groups] == ["the", " dog", " sat"]
    assert (groups[0].bits, groups[0].tokens[0].rank) == (None, None)
    assert all(group.bits for group in groups[1:])


def test_a_limit_ends_at_a_whole_character_and_is_told(lm, tmp_path):
    surprisals = Surprisals(lm, passages(lm, tmp_path, TEXT, TEXT), SurprisalSettings(limit=5))
    groups = all_groups(surprisals)
    assert [group.text for group in groups] == ["春"]  # two characters would be six tokens
    assert surprisals.limited
    assert surprisals.tokens == 3
    enough = Surprisals(lm, passages(lm, tmp_path, "The"), SurprisalSettings(limit=500))
    assert all_groups(enough)
    assert not enough.limited


def test_the_json_holds_tokens_groups_and_text(lm, tmp_path):
    path = tmp_path / "out.json"
    write_json(path, Surprisals(lm, passages(lm, tmp_path, TEXT, "", "a")), heading={"run": "春"})
    found = json.loads(path.read_text(encoding="utf-8"))
    assert (found["run"], found["limited"]) == ("春", False)
    first, last = found["documents"]
    assert first["text"] == TEXT
    assert last["text"] == "a"
    tokens = first["tokens"]
    assert {"id", "text", "start", "end", "bits", "rank", "alternatives"} == set(tokens[0])
    assert len(tokens[0]["alternatives"]) == 5
    for group in first["groups"]:
        assert TEXT[group["start"] : group["end"]] == group["text"]
        bits = sum(tokens[place]["bits"] for place in group["tokens"])
        assert bits == pytest.approx(group["bits"])
    covered = {place for token in tokens for place in range(token["start"], token["end"])}
    assert covered == set(range(len(TEXT)))


def test_a_limited_json_holds_the_text_of_its_tokens_only(lm, tmp_path):
    path = tmp_path / "out.json"
    write_json(
        path,
        Surprisals(lm, passages(lm, tmp_path, TEXT), SurprisalSettings(limit=7, alternatives=0)),
        heading={"run": "r"},
    )
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["limited"]
    assert found["documents"][0]["text"] == TEXT[:2]
    assert found["documents"][0]["tokens"][0]["alternatives"] == []


class Page(html.parser.HTMLParser):
    """The text, the titles and the addresses of a page."""

    def __init__(self, text):
        super().__init__()
        self.shown, self.titles, self.addresses = "", [], []
        self.tags: list[str] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.addresses += [given[name] for name in ("src", "href") if given.get(name)]
        self.inside = self.inside or (tag, given.get("class")) == ("p", "text")
        if self.inside and tag == "b":
            self.titles.append(given["title"])

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "p"

    def handle_data(self, data):
        if self.inside:
            self.shown += data


def test_the_page_shows_the_text_and_nothing_the_text_could_do(lm, tmp_path):
    path = tmp_path / "out.html"
    hostile = TEXT + '"><script>alert(1)</script><img src="http://x">'
    write_page(path, Surprisals(lm, passages(lm, tmp_path, hostile)), title="<run>")
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.shown == hostile.replace("\n", "↵").replace("\u202e", "<U+202E>")
    assert page.tags.count("script") == 1  # the page's own
    assert "img" not in page.tags
    assert not page.addresses
    assert "default-src 'none'" in text
    assert "&lt;run&gt;" in text
    assert page.titles[0].startswith("春: 3 tokens, ")
    assert "expected:" in page.titles[0]


def test_a_limited_page_says_so(lm, tmp_path):
    path = tmp_path / "out.html"
    settings = SurprisalSettings(limit=4)
    write_page(path, Surprisals(lm, passages(lm, tmp_path, TEXT), settings), title="run")
    assert "Only the first 3 tokens are shown" in path.read_text(encoding="utf-8")


def luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_colours_can_be_read_and_told_apart_without_seeing_colour():
    shades = [luminance(background) for _, background, _ in LEVELS]
    assert shades == sorted(shades, reverse=True)
    for _, background, ink in LEVELS:
        dark, light = sorted((luminance(background), luminance(ink)))
        assert (light + 0.05) / (dark + 0.05) >= 7
    assert [level_of(bits) for bits in (0.0, 1.0, 1.5, 9.0, 400.0)] == [0, 0, 1, 5, 7]


def test_nothing_is_left_where_a_file_cannot_be_written(lm, tmp_path):
    (tmp_path / "taken.json").mkdir()
    with pytest.raises(SettingError, match=r"taken\.json cannot be written"):
        write_json(tmp_path / "taken.json", Surprisals(lm, []), heading={"run": "r"})
    assert [path.name for path in tmp_path.iterdir()] == ["taken.json"]
