"""A folder is opened whether its weights lie there, or are an adapter's over those of a base."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import cloche
from cloche.errors import BaseModelError, CheckpointError, SettingError
from cloche.model.lora import LoraConfig, add_lora, lora_layers
from cloche.weights.adapters import save_adapter, save_adapter_checkpoint
from cloche.weights.checkpoint import load_network
from cloche.weights.identity import model_hash
from cloche.weights.loading import (
    MOST_BASES,
    described_folder,
    load_any_model,
    open_adapters,
    tokenizer_folder,
    whole_folder,
)

CONFIG = LoraConfig(rank=2)
IDS = torch.arange(12)[None]


def silent(message: str) -> None:
    raise AssertionError(f"nothing was to be told: {message}")


@pytest.fixture
def base(tmp_path, save) -> Path:
    return save(tmp_path / "base")


def put_adapter(folder: Path, over: Path, *, seed: int = 0, characters=None, **named) -> Path:
    """An adapter of random weights over the model in a folder, whole or itself an adapter."""
    model, _ = load_any_model(over, warn=silent)
    add_lora(model, CONFIG, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in lora_layers(model).values():
            layer.lora_B.normal_(0.0, 0.2, generator=generator)
    given = {"base": over, "base_hash": model_hash(over)} | named
    if characters is None:
        save_adapter(folder, model, CONFIG, **given)
        return folder
    tensors = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    save_adapter_checkpoint(folder, tensors, CONFIG, tokenizer=characters, card="", **given)
    return folder


def logits(folder: Path) -> torch.Tensor:
    model, _ = load_any_model(folder, warn=silent)
    with torch.no_grad():
        return model(IDS)


def test_a_whole_model_is_opened_as_it_lies(base):
    model, config = load_any_model(base, warn=silent)
    expected, same = load_network(base)
    assert config == same
    torch.testing.assert_close(model(IDS), expected(IDS))
    assert tokenizer_folder(base) == whole_folder(base) == described_folder(base) == base


def test_an_adapter_is_merged_into_its_base(tmp_path, base):
    adapter = put_adapter(tmp_path / "adapter", base)
    model, config = load_any_model(adapter, warn=silent)
    assert config == load_network(base)[1]
    assert lora_layers(model) == {}
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not torch.allclose(model(IDS), load_network(base)[0](IDS))
    half, _ = load_any_model(adapter, dtype=torch.bfloat16, warn=silent)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}


def test_adapters_over_one_another_are_all_merged(tmp_path, base):
    first = put_adapter(tmp_path / "first", base, seed=1)
    second = put_adapter(tmp_path / "second", first, seed=2)
    assert whole_folder(second) == base
    assert described_folder(second) == base
    assert tokenizer_folder(second) == base
    found = [logits(folder) for folder in (base, first, second)]
    assert not torch.allclose(found[0], found[1])
    assert not torch.allclose(found[1], found[2])


def test_an_adapter_over_itself_is_told_and_not_followed_for_ever(tmp_path, base):
    adapter = put_adapter(tmp_path / "adapter", base, base=tmp_path / "adapter")
    with pytest.raises(CheckpointError, match="adapter over itself"):
        load_any_model(adapter, warn=silent)
    assert MOST_BASES < 100


@pytest.mark.parametrize("named", ["gone", ""])
def test_a_base_that_is_not_there_is_told_with_the_way_on(tmp_path, base, named):
    adapter = put_adapter(tmp_path / "adapter", base)
    (adapter / "manifest.json").unlink()
    path = adapter / "adapter_config.json"
    values = json.loads(path.read_text()) | {"base_model_name_or_path": named}
    path.write_text(json.dumps(values))
    said = "gone, which is no folder here" if named else "its base is not named"
    with pytest.raises(BaseModelError, match=f"{said}.*--adapter"):
        load_any_model(adapter, warn=silent)


def test_a_base_is_found_beside_an_adapter_that_names_it_so(tmp_path, base):
    adapter = put_adapter(tmp_path / "adapter", base)
    expected = logits(adapter)
    (adapter / "manifest.json").unlink()
    path = adapter / "adapter_config.json"
    values = json.loads(path.read_text()) | {"base_model_name_or_path": "../base"}
    path.write_text(json.dumps(values))
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.move(base, moved / "base")
    shutil.move(adapter, moved / "adapter")
    torch.testing.assert_close(logits(moved / "adapter"), expected)


def test_a_run_falls_back_from_a_damaged_adapter_but_not_from_a_lost_base(
    tmp_path, base, characters
):
    run = tmp_path / "run"
    for step in (1, 2):
        folder = run / "checkpoints" / f"step-{step:06}"
        put_adapter(folder, base, seed=step, characters=characters)
    for name in ("best", "latest"):
        (run / name).symlink_to("checkpoints/step-000002")
    assert cloche.load(run).folder.name == "step-000002"
    weights = run / "checkpoints" / "step-000002" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    warned: list[str] = []
    assert cloche.load(run, warn=warned.append).folder.name == "step-000001"
    assert "adapter_model.safetensors" in warned[0]
    warned.clear()
    lm = cloche.load(base, adapters={"mine": run}, warn=warned.append)
    assert lm.adapter_folders["mine"].name == "step-000001"
    assert "falling back to step-000001" in warned[0]
    base.rename(tmp_path / "moved")
    with pytest.raises(BaseModelError):
        cloche.load(run, warn=lambda _text: None)


def test_several_adapters_are_opened_over_one_model(tmp_path, base):
    first, second = (put_adapter(tmp_path / name, base, seed=ord(name)) for name in "ab")
    model, _ = load_any_model(base, warn=silent)
    before = model(IDS)
    adapters, places = open_adapters(model, base, {"a": first, "b": second}, warn=silent)
    assert adapters.names == ["a", "b"]
    assert places == {"a": first, "b": second}
    assert adapters.active is None
    for name, folder in places.items():
        adapters.activate(name)
        torch.testing.assert_close(model(IDS), logits(folder), rtol=1e-4, atol=1e-4)
    adapters.activate(None)
    assert torch.equal(model(IDS), before)


def test_an_adapter_of_another_base_and_what_is_none_are_refused(tmp_path, base, save):
    adapter = put_adapter(tmp_path / "adapter", base, base_hash="ab" * 32)
    model, _ = load_any_model(base, warn=silent)
    with pytest.raises(CheckpointError, match="another model"):
        open_adapters(model, base, {"a": adapter}, warn=silent)
    with pytest.raises(CheckpointError, match="another model"):
        load_any_model(adapter, warn=silent)
    with pytest.raises(CheckpointError, match="holds no adapter"):
        open_adapters(model, base, {"a": base}, warn=silent)
    with pytest.raises(SettingError, match="needs a name"):
        open_adapters(model, base, {"": put_adapter(tmp_path / "c", base)}, warn=silent)
