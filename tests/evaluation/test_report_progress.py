"""A long measurement says how far it is."""

import pytest
import torch

from cloche.data.corpora import resolve
from cloche.evaluation import report
from cloche.evaluation.report import report_sources
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.run import LM
from cloche.text.characters import CharacterTokenizer
from cloche.text.sources import find_sources


@pytest.mark.parametrize(("seconds", "times"), [(-1.0, 1), (3600.0, 0)])
def test_tokens_read_so_far_are_told(tmp_path, monkeypatch, seconds, times):
    tokenizer = CharacterTokenizer(set("ab \n"))
    size = tokenizer.vocab_size
    torch.manual_seed(0)
    model = build_model(complete(ModelOptions(), vocab_size=size, layers=1, width=32, context=16))
    (tmp_path / "a.txt").write_text("ab ba\n" * 100)
    names = resolve([str(tmp_path / "a.txt")], data_folder=None, cache_folder=tmp_path)
    monkeypatch.setattr(report, "TELLING_SECONDS", seconds)
    said = []
    lm = LM(model.eval(), tokenizer, model.config, tmp_path)
    report_sources(lm, find_sources(names), encoding=None, tell=said.append)
    assert (len(said) > 0) == bool(times)
    assert all(line.endswith("of 600 tokens read") for line in said)
