"""An adapter in a folder is whole, known to its base, and refused with a reason where it is not."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cloche.errors import CheckpointError
from cloche.model.build import build_network
from cloche.model.config import ModelOptions
from cloche.model.lora import LoraConfig, add_lora, lora_layers, lora_weights
from cloche.model.presets import complete
from cloche.weights.adapters import (
    ADAPTER_CONFIG,
    ADAPTER_ORIGIN,
    ADAPTER_WEIGHTS,
    apply_adapter,
    is_adapter,
    load_adapter,
    save_adapter,
    save_adapter_checkpoint,
)
from cloche.weights.checkpoint import TrainerState, load_network, load_trainer
from cloche.weights.manifest import verify
from cloche.weights.prompting import load_begins_with_bos, load_stop_ids

HASH = "0123456789abcdef" * 4
CONFIG = LoraConfig(rank=4, dora=True, dropout=0.1)


def silent(message: str) -> None:
    raise AssertionError(f"nothing was to be told: {message}")


def learned(base: Path, config: LoraConfig = CONFIG) -> Any:
    model, _ = load_network(base)
    add_lora(model, config, seed=3)
    torch.manual_seed(0)
    with torch.no_grad():
        for layer in lora_layers(model).values():
            layer.lora_B.normal_(0.0, 0.05)
    return model


@pytest.fixture
def base(tmp_path, save) -> Path:
    return save(tmp_path / "base")


@pytest.fixture
def folder(tmp_path, base) -> Path:
    """A saved adapter without a manifest, so that it can be changed."""
    path = tmp_path / "adapter"
    save_adapter(path, learned(base), CONFIG, base=base, base_hash=HASH)
    (path / "manifest.json").unlink()
    return path


def change_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_tensors(folder: Path, change) -> None:
    tensors = load_file(folder / ADAPTER_WEIGHTS)
    change(tensors)
    save_file(tensors, folder / ADAPTER_WEIGHTS)


@pytest.mark.parametrize("family", ["qwen3", "gpt2", "gpt"])
@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "layers.1.mlp.up_proj")])
def test_what_is_saved_is_read_back_to_the_bit(tmp_path, save, family, targets):
    base = save(tmp_path / "base", options=ModelOptions(family=family))
    config = LoraConfig(rank=3, alpha=4.5, rslora=True, targets=targets)
    model = learned(base, config)
    save_adapter(tmp_path / "adapter", model, config, base="some/base", base_hash=HASH)
    verify(tmp_path / "adapter")
    assert is_adapter(tmp_path / "adapter")
    adapter = load_adapter(tmp_path / "adapter")
    assert adapter.config == config
    assert (adapter.base, adapter.base_hash) == ("some/base", HASH)
    expected = lora_weights(model, config).tensors
    assert adapter.tensors.keys() == expected.keys()
    assert all(torch.equal(adapter.tensors[name], expected[name]) for name in expected)
    fresh, _ = load_network(base)
    apply_adapter(fresh, adapter, base_hash=HASH, warn=silent)
    for name, tensor in model.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], tensor)


def test_both_sides_of_an_encoder_decoder_can_have_adapters(tmp_path):
    config = complete(ModelOptions(family="seq2seq"), vocab_size=9, layers=1, width=16, context=8)
    model = build_network(config)
    layers = add_lora(model, CONFIG, seed=0)
    assert {name.split(".")[0] for name in layers} == {"encoder", "decoder"}
    assert any("cross_attn" in name for name in layers)
    save_adapter(tmp_path / "adapter", model, CONFIG, base="base", base_hash=HASH)
    adapter = load_adapter(tmp_path / "adapter")
    assert adapter.tensors.keys() == lora_weights(model, CONFIG).tensors.keys()
    apply_adapter(build_network(config), adapter, base_hash=HASH, warn=silent)


def test_equal_adapters_give_equal_bytes(tmp_path, base):
    for name in ("a", "b"):
        save_adapter(tmp_path / name, learned(base), CONFIG, base="base", base_hash=HASH)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_checkpoint_of_an_adapter_holds_all_that_a_training_needs(tmp_path, base, characters):
    model = learned(base)
    trained = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    state = TrainerState({"adamw/x/exp_avg": torch.arange(3.0)}, {"step": 5})
    save_adapter_checkpoint(
        tmp_path / "step-000005",
        trained,
        CONFIG,
        base=base,
        base_hash=HASH,
        tokenizer=characters,
        trainer=state,
        card="# Tuned\n",
        stop_ids=(1, 2),
        chat_template="{{ messages }}",
    )
    folder = tmp_path / "step-000005"
    verify(folder)
    adapter = load_adapter(folder)
    assert adapter.tensors.keys() == trained.keys()
    assert all(torch.equal(adapter.tensors[name], trained[name]) for name in trained)
    assert Path(adapter.base) == base
    assert load_trainer(folder).values == {"step": 5}
    assert load_stop_ids(folder)[:2] == (1, 2)
    assert not load_begins_with_bos(folder)
    assert (folder / "chat_template.jinja").read_text() == "{{ messages }}"
    assert (folder / "tokenizer.json").exists()
    assert not (folder / "model.safetensors").exists()


def test_saving_over_an_adapter_replaces_it_and_a_full_disk_leaves_it(
    tmp_path, base, folder, monkeypatch
):
    before = (folder / ADAPTER_WEIGHTS).read_bytes()
    model = learned(base)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("cloche.weights.adapters.write_tensors", full)
        with pytest.raises(CheckpointError, match="No space left"):
            save_adapter(folder, model, CONFIG, base=base, base_hash=HASH)
    assert (folder / ADAPTER_WEIGHTS).read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    with torch.no_grad():
        model.get_parameter("layers.0.mlp.up_proj.lora_B").add_(1.0)
    save_adapter(folder, model, CONFIG, base=base, base_hash=HASH)
    assert (folder / ADAPTER_WEIGHTS).read_bytes() != before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_an_adapter_of_another_base_is_refused_with_both_hashes(base, folder):
    model, _ = load_network(base)
    with pytest.raises(CheckpointError, match="0123456789ab, this one ffffffffffff"):
        apply_adapter(model, load_adapter(folder), base_hash="f" * 64, warn=silent)
    assert not lora_layers(model)


def test_without_a_hash_names_and_shapes_must_fit_and_that_is_told(tmp_path, save, folder, base):
    (folder / ADAPTER_ORIGIN).unlink()
    told: list[str] = []
    model, _ = load_network(base)
    apply_adapter(model, load_adapter(folder), base_hash=HASH, warn=told.append)
    assert len(told) == 1
    assert str(base) in told[0]
    other, _ = load_network(save(tmp_path / "other", options=ModelOptions(mlp_width=40)))
    with pytest.raises(CheckpointError, match=r"up_proj\.lora_B is \[\d+, 4\], which for this"):
        apply_adapter(other, load_adapter(folder), base_hash=HASH, warn=silent)
    gpt2, _ = load_network(save(tmp_path / "gpt2", options=ModelOptions(family="gpt2")))
    with pytest.raises(CheckpointError, match=r"no linear layer layers\.0\.mlp\.gate_proj"):
        apply_adapter(gpt2, load_adapter(folder), base_hash=HASH, warn=silent)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"peft_type": "IA3"}, "adapter of the kind 'IA3'; cloche knows the kind LORA alone"),
        ({"peft_type": None}, "of no kind"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern is {'q_proj': 2}, which cloche"),
        ({"alpha_pattern": {"q_proj": 2}}, "alpha_pattern is"),
        ({"lora_bias": True, "layer_replication": [[0, 1]]}, "layer_replication.*lora_bias is"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa', which changes the base"),
        ({"r": 8}, r"lora_A is \[4, 32\], and r is 8"),
        ({"r": 0}, "r must be a whole number"),
        ({"r": None}, "lacks r"),
        ({"use_dora": False}, "lora_magnitude_vector is there, and use_dora is false"),
        ({"lora_alpha": -1}, "lora_alpha must be a number from 0 on"),
        ({"lora_dropout": 1.5}, "lora.dropout must be"),
    ],
)
def test_settings_that_cannot_be_computed_are_refused_by_name(folder, values, message):
    change_json(folder / ADAPTER_CONFIG, **values)
    with pytest.raises(CheckpointError, match=message):
        load_adapter(folder)


def test_settings_that_pefts_files_have_and_that_say_nothing_are_read_over(folder):
    change_json(
        folder / ADAPTER_CONFIG,
        megatron_core="megatron.core",
        qalora_group_size=16,
        loftq_config={},
        lora_bias=False,
        target_modules="all-linear",
        fan_in_fan_out=True,
    )
    assert load_adapter(folder).config == CONFIG


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.popitem(), "use_dora is true, and .* is missing|is there, .* is not"),
        (lambda t: t.clear(), "holds no adapter of a linear layer"),
        (
            lambda t: t.update({"base_model.model.model.embed_tokens.lora_embedding_A": one()}),
            "lora_embedding_A is no part of an adapter of linear layers",
        ),
        (
            lambda t: t.update({"base_model.model.transformer.h.0.ln_9.lora_A.weight": one()}),
            "ln_9.lora_A.weight is of no module",
        ),
        (
            lambda t: t.update(
                {"base_model.model.layers.0.mlp.up_proj.lora_A.default.weight": one()}
            ),
            r"layers\.0\.mlp\.up_proj\.lora_A is there twice",
        ),
        (lambda t: next(iter(t.values())).fill_(float("nan")), "numbers that are none"),
        (lambda t: t.update({"x.lora_A.weight": torch.zeros(4, 4).int()}), "is stored as"),
    ],
)
def test_tensors_that_are_no_adapters_are_refused_by_name(folder, change, message):
    change_tensors(folder, change)
    with pytest.raises(CheckpointError, match=message):
        load_adapter(folder)


def one() -> torch.Tensor:
    return torch.ones(4, 4)


def test_older_spellings_of_pefts_names_are_read(folder):
    expected = load_adapter(folder).tensors

    def older(tensors: dict[str, torch.Tensor]) -> None:
        for name in list(tensors):
            new = name.replace("lora_A.", "lora_A.default.")
            if new.endswith("lora_magnitude_vector"):
                new += ".default.weight"
            tensors[new] = tensors.pop(name)

    change_tensors(folder, older)
    found = load_adapter(folder).tensors
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_damaged_files_are_told(tmp_path, base, folder):
    whole = tmp_path / "whole"
    save_adapter(whole, learned(base), CONFIG, base=base, base_hash=HASH)
    data = bytearray((whole / ADAPTER_WEIGHTS).read_bytes())
    data[-1] ^= 1
    (whole / ADAPTER_WEIGHTS).write_bytes(data)
    with pytest.raises(CheckpointError, match="contents changed"):
        load_adapter(whole)
    (folder / ADAPTER_WEIGHTS).write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="damaged or is no safetensors"):
        load_adapter(folder)
    (folder / ADAPTER_WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors is missing"):
        load_adapter(folder)
    (folder / "adapter_model.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="pickle"):
        load_adapter(folder)
    (folder / ADAPTER_CONFIG).write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        load_adapter(folder)
    shutil.rmtree(folder)
    with pytest.raises(CheckpointError, match="holds no adapter"):
        load_adapter(folder)


def test_embedding_and_head_that_differ_do_not_fit_a_base_in_which_they_are_one(
    tmp_path, save, characters
):
    base = save(tmp_path / "tied", options=ModelOptions(tied=True))
    model = learned(base)
    model.embed_tokens.weight.requires_grad_(True)
    folder = tmp_path / "adapter"
    save_adapter(folder, model, CONFIG, base=base, base_hash=HASH)
    (folder / "manifest.json").unlink()
    adapter = load_adapter(folder)
    fresh, _ = load_network(base)
    apply_adapter(fresh, adapter, base_hash=HASH, warn=silent)
    change_tensors(folder, lambda t: t["base_model.model.lm_head.weight"].add_(1.0))
    again, _ = load_network(base)
    with pytest.raises(CheckpointError, match="embedding and a head that differ"):
        apply_adapter(again, load_adapter(folder), base_hash=HASH, warn=silent)
