"""Parameters: every number of a model is counted once, however it is kept; broken ones are told."""

import math
from dataclasses import replace

import pytest
import torch
from tiny_tables import printed, tiny_config, tiny_lm

from cloche.lens.drawing import draw, figure
from cloche.lens.parameters import see_parameters
from cloche.model.build import parameter_count
from cloche.model.lora import add_lora
from cloche.model.lora_config import LoraConfig
from cloche.model.quantized import quantize
from cloche.planning.parameters import learned_parameters, parameters_by_part
from cloche.run import load
from cloche.weights.adapters import save_adapter
from cloche.weights.checkpoint import save_checkpoint
from cloche.weights.identity import model_hash

CONFIGS = {
    "qwen3": tiny_config(),
    "tied": tiny_config(tied=True),
    "llama": tiny_config("llama", qkv_bias=True),
    "gpt": tiny_config("gpt", head_bias=True),
    "gpt2": tiny_config("gpt2"),
    "moe": tiny_config("moe", experts=4, experts_used=1),
    "bigram": tiny_config("bigram"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_parameters_are_those_of_the_model_and_of_its_plan(name, tmp_path):
    lm = tiny_lm(tmp_path, CONFIGS[name])
    view = see_parameters(lm)
    assert view.parameters == parameter_count(lm.model)
    assert view.by_part == parameters_by_part(lm.config)
    assert view.active == sum(each.active for each in learned_parameters(lm.config))
    assert view.kept_bytes == view.checkpoint_bytes == 4 * view.parameters
    assert not view.nan
    named = dict(lm.model.named_parameters())
    for each in view.tensors:
        if each.shared_with is None:
            assert each.shape == tuple(named[each.name].shape)
            assert each.parameters == math.prod(each.shape)


def test_a_tied_head_is_shown_and_counted_once(tmp_path):
    view = see_parameters(tiny_lm(tmp_path, CONFIGS["tied"]))
    head = view.tensors[-1]
    assert (head.name, head.shared_with) == ("lm_head.weight", "embed_tokens.weight")
    assert (head.parameters, head.kept_bytes, head.checkpoint_bytes) == (0, 0, 0)
    assert view.tied
    assert "head" not in view.by_part
    assert "= embed_tokens" in printed(view)
    assert not see_parameters(tiny_lm(tmp_path, CONFIGS["qwen3"])).tied


@pytest.mark.parametrize("bits", ["int8", "int4"])
@pytest.mark.parametrize("name", ["qwen3", "tied", "moe"])
def test_rounded_weights_are_as_many_as_before_in_fewer_bytes(bits, name, tmp_path):
    lm = tiny_lm(tmp_path, CONFIGS[name])
    plain = see_parameters(lm)
    quantize(lm.model, bits)
    rounded = see_parameters(lm)
    by_name = {each.name: each for each in rounded.tensors}
    assert by_name.keys() == {each.name for each in plain.tensors}
    assert (rounded.parameters, rounded.active) == (plain.parameters, plain.active)
    assert rounded.by_part == plain.by_part
    assert rounded.checkpoint_bytes == plain.checkpoint_bytes
    assert rounded.tied == plain.tied
    assert by_name["layers.0.self_attn.q_proj.weight"].kept_as == bits
    assert by_name["embed_tokens.weight"].kept_as == "int8"
    stored = {id(each): each for each in [*lm.model.parameters(), *lm.model.buffers()]}
    assert rounded.kept_bytes == sum(each.nbytes for each in stored.values())


def test_adapters_in_the_model_are_a_part_of_their_own(tmp_path):
    lm = tiny_lm(tmp_path)
    base = see_parameters(lm)
    add_lora(lm.model, LoraConfig(rank=2, targets=("q_proj",)), seed=0)
    view = see_parameters(lm)
    assert view.by_part["adapter"] == 2 * 2 * (16 + 16)
    assert view.parameters == parameter_count(lm.model) == base.parameters + view.by_part["adapter"]


def test_adapters_over_rounded_weights_count_both(tmp_path):
    lm = tiny_lm(tmp_path)
    base = see_parameters(lm)
    quantize(lm.model, "int4")
    add_lora(lm.model, LoraConfig(rank=2, targets=("q_proj",)), seed=0)
    view = see_parameters(lm)
    assert view.parameters == base.parameters + view.by_part["adapter"]
    wrapped = next(each for each in view.tensors if each.name.endswith("0.self_attn.q_proj.weight"))
    assert wrapped.kept_as == "int4"


def test_adapters_of_folders_are_told_with_whether_they_are_in_the_weights(tmp_path):
    lm = tiny_lm(tmp_path)
    base, thin = tmp_path / "base", tmp_path / "thin"
    save_checkpoint(base, model=lm.model, config=lm.config, tokenizer=lm.tokenizer, card="")
    config = LoraConfig(rank=2, targets=("q_proj", "o_proj"))
    add_lora(lm.model, config, seed=0)
    save_adapter(thin, lm.model, config, base=str(base), base_hash=model_hash(base))
    merged = see_parameters(load(thin))
    (told,) = merged.adapters
    assert (told.name, told.rank, told.layers, told.merged) == ("thin", 2, 4, True)
    assert told.parameters == 4 * 2 * (16 + 16)
    assert told.checkpoint_bytes == 4 * told.parameters
    assert merged.parameters == see_parameters(load(base)).parameters
    beside = load(base, adapters={"poet": thin})
    assert not see_parameters(beside).adapters[0].merged
    assert see_parameters(beside.with_adapter("poet")).adapters[0].merged
    assert "poet" in printed(see_parameters(beside))


def test_the_n_grams_of_a_counted_model_are_its_numbers(tmp_path):
    config = replace(tiny_config("ngram", order=3), ngrams=(CONFIGS["bigram"].vocab_size, 7, 5))
    lm = tiny_lm(tmp_path, config)
    view = see_parameters(lm)
    assert view.parameters == parameter_count(lm.model)
    assert view.by_part == {"embedding": config.vocab_size, "counts": 12}
    assert "n-grams, counted" in printed(view)
    figure(view)


@pytest.fixture
def broken_lm(tmp_path):
    lm = tiny_lm(tmp_path, CONFIGS["tied"])
    with torch.no_grad():
        lm.model.get_parameter("layers.1.mlp.up_proj.weight")[0, 0] = math.nan
        lm.model.get_parameter("norm.weight")[1] = math.inf
        lm.model.get_parameter("embed_tokens.weight")[2, :2] = -math.inf
    return lm


def test_numbers_that_are_none_are_counted_named_and_drawn(broken_lm, tmp_path):
    view = see_parameters(broken_lm)
    assert (view.nan, view.infinite) == (1, 3)
    said = printed(view)
    assert "layers.1.mlp.up_proj.weight: NaN 1, inf 0" in said
    assert "layers.0: " not in said
    draw(view, tmp_path / "broken.svg")
    assert "NaN 1" in (tmp_path / "broken.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("bits", ["int8", "int4"])
def test_all_that_rounding_made_of_broken_numbers_is_counted(broken_lm, bits):
    quantize(broken_lm.model, bits)
    view = see_parameters(broken_lm)
    none = sum(int((~each.isfinite()).sum()) for each in _matrices(broken_lm.model))
    assert none > 3, "a group with such a number is lost whole"
    assert view.nan + view.infinite == none + 1


def _matrices(model):
    table = model.embed_tokens.table
    yield table.matrix()
    yield model.layers[1].mlp.up_proj.matrix()


def test_alike_layers_are_one_line_and_others_are_not(tmp_path):
    lm = tiny_lm(tmp_path, tiny_config(layers=4))
    assert "layers.0–3 (4 ×)" in printed(see_parameters(lm))
    with torch.no_grad():
        lm.model.get_parameter("layers.1.input_layernorm.weight")[0] = math.nan
    said = printed(see_parameters(lm))
    assert "2–3 (2 ×)" in said
    assert "4 ×" not in said


def test_the_lines_of_a_tree_sum_up_to_all(tmp_path):
    view = see_parameters(tiny_lm(tmp_path, CONFIGS["moe"]))
    said = printed(view, width=140)
    assert "0–3 (4 ×)" in said, "experts are alike"
    layers = sum(each.parameters for each in view.tensors if each.layer is not None)
    assert f"{layers:,}" in said
    assert f"{view.active:,} of them in each token: 1 of 4 experts" in said


@pytest.mark.parametrize("layers", [1, 2, 60])
def test_every_part_and_layer_is_drawn_and_many_layers_share_bars(layers, tmp_path):
    view = see_parameters(tiny_lm(tmp_path, tiny_config(layers=layers, width=8, heads=1)))
    left, right = figure(view).axes[:2]
    assert [each.get_text() for each in left.get_yticklabels()] == [*view.by_part]
    names = [each.get_text() for each in right.get_yticklabels()]
    assert (names[0], names[-2:]) == ("embedding", ["norms", "head"])
    assert names[-3] == (f"layer {layers - 1}" if layers < 60 else "layers 58–59")
    drawn = sum(each.get_width() for each in right.patches)
    assert drawn == view.parameters
