"""`cloche lens` over weights that are NaN on disk: shown as such, where others refuse them."""

import json
from pathlib import Path

import pytest
import torch

import cloche
from cloche.cli.main import main
from cloche.errors import CheckpointError
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.initialise import initialise
from cloche.model.presets import complete
from cloche.text.characters import CharacterTokenizer
from cloche.weights.checkpoint import save_checkpoint

TEXT = "the cat saw the dog"
BROKEN = "layers.1.mlp.down_proj.weight"
ARGUMENTS = {
    "tokens": [TEXT],
    "embeddings": ["t"],
    "positions": [],
    "attention": [TEXT],
    "residual": [TEXT],
    "windows": [TEXT, "--context", "4"],
    "next-token": [TEXT, "--seed", "1"],
    "parameters": [],
}


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def broken(request, tmp_path_factory) -> Path:
    """A checkpoint with one number that is none in the last MLP."""
    tokenizer = CharacterTokenizer(set(TEXT))
    options = ModelOptions(heads=2, tied=request.param)
    config = complete(options, vocab_size=tokenizer.vocab_size, layers=2, width=16, context=32)
    model = build_model(config)
    initialise(model, seed=0)
    with torch.no_grad():
        model.get_parameter(BROKEN)[0, 0] = float("nan")
    folder = tmp_path_factory.mktemp("broken") / "model"
    save_checkpoint(folder, model=model, config=config, tokenizer=tokenizer, card="")
    return folder


@pytest.mark.parametrize("view", ARGUMENTS)
def test_a_view_of_broken_weights_is_shown_and_says_so(broken, view, capsys):
    assert main(["lens", str(broken), view, *ARGUMENTS[view], "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["view"] == view
    assert f"numbers that are none (NaN or infinite): in {BROKEN}" in told.err.replace("model.", "")


def test_the_broken_number_is_counted_and_reaches_the_prediction(broken, capsys):
    assert main(["lens", str(broken), "parameters", "--json"]) == 0
    tensors = json.loads(capsys.readouterr().out)["tensors"]
    assert {each["name"]: each["nan"] for each in tensors if each["nan"]} == {BROKEN: 1}
    assert main(["lens", str(broken), "next-token", TEXT, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)["probabilities"]["values"]
    assert {each for row in values for each in row} == {"NaN"}


def test_others_refuse_the_same_weights(broken):
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        cloche.load(broken)
    warnings: list[str] = []
    lm = cloche.load(broken, broken=True, warn=warnings.append)
    assert lm.model.get_parameter(BROKEN)[0, 0].isnan()
    assert len(warnings) == 1
