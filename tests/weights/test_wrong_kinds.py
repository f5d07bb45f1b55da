"""A whole checkpoint of another kind than is asked for: told once, and no other is tried."""

import json

import pytest
import torch
from safetensors.torch import save_file

from cloche.errors import WrongKindError
from cloche.weights.adapters import load_adapter
from cloche.weights.checkpoint import load_network
from cloche.weights.opening import folders_to_try, open_first_whole
from cloche.weights.scorers import load_scorer


@pytest.mark.parametrize(
    ("architecture", "open_one", "said"),
    [
        ("Qwen3ForCausalLM", load_adapter, "no adapter but a whole model"),
        ("Qwen3ForCausalLM", load_scorer, "writes texts and scores none"),
        ("Qwen3ForSequenceClassification", load_network, "scores texts and writes none"),
    ],
)
def test_a_model_of_another_kind_is_no_damaged_one(tmp_path, architecture, open_one, said):
    for step in ("step-000001", "step-000002"):
        folder = tmp_path / "checkpoints" / step
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"architectures": [architecture]}))
        save_file({"weight": torch.zeros(1)}, folder / "model.safetensors")
    told = []
    folders = folders_to_try(tmp_path, "best", warn=told.append)
    assert len(folders) == 2
    with pytest.raises(WrongKindError, match=said):
        open_first_whole(folders, open_one, warn=told.append)
    assert told == []
