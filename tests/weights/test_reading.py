"""Weights that are broken, hostile or another model's: each refused, with all that is wrong."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cloche.errors import CheckpointError
from cloche.model.build import build_network
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.decoder import Decoder
from cloche.model.presets import complete
from cloche.text.characters import CharacterTokenizer
from cloche.weights.checkpoint import load_model, load_network, save_checkpoint
from cloche.weights.reading import find_weights, listed

INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path: Path, save) -> Path:
    """A tiny checkpoint as any other tool might have written it: without a manifest."""
    path = save(tmp_path / "m")
    (path / "manifest.json").unlink()
    return path


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change the stored tensors."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def describe(folder: Path, **changes: object) -> None:
    """Change config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def in_shards(folder: Path) -> dict[str, str]:
    """The tensors in two files with an index; what the index lists."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {}
    for number, name in enumerate(sorted(tensors)):
        places[name] = f"part-{number % 2}.safetensors"
    for file in sorted(set(places.values())):
        part = {name: tensors[name] for name, place in places.items() if place == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    write_index(folder, places)
    return places


def write_index(folder: Path, places: object) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": places}))


def test_all_missing_and_unknown_tensors_are_named(folder):
    def change(tensors):
        for part in ("q", "k"):
            tensors[f"model.extra_{part}"] = tensors.pop(
                f"model.layers.0.self_attn.{part}_proj.weight"
            )

    rewrite(folder, change)
    with pytest.raises(CheckpointError) as caught:
        load_model(folder)
    for part in ("q", "k"):
        assert f"layers.0.self_attn.{part}_proj.weight" in str(caught.value)
        assert f"model.extra_{part}" in str(caught.value)


def test_of_very_many_names_the_rest_is_counted():
    assert listed([f"t{n}" for n in range(25)]).endswith("t19 and 5 more")
    assert listed(["a", "b"]) == "a, b"


def test_all_shapes_that_do_not_fit_are_named(folder):
    describe(folder, intermediate_size=8)
    with pytest.raises(CheckpointError) as caught:
        load_model(folder)
    for layer in (0, 1):
        for part in ("up", "gate", "down"):
            assert f"layers.{layer}.mlp.{part}_proj.weight has the shape" in str(caught.value)


def test_tied_weights_stored_twice_open_where_they_are_equal(folder):
    tensors = load_file(folder / "model.safetensors")
    describe(folder, tie_word_embeddings=True)
    rewrite(
        folder,
        lambda held: held.update({"lm_head.weight": held["model.embed_tokens.weight"].clone()}),
    )
    model, config = load_model(folder)
    assert config.tied
    assert isinstance(model, Decoder)
    assert model.lm_head.weight is model.embed_tokens.weight
    assert torch.equal(model.embed_tokens.weight, tensors["model.embed_tokens.weight"])


def test_tied_weights_stored_twice_that_differ_are_named(folder):
    describe(folder, tie_word_embeddings=True)
    with pytest.raises(
        CheckpointError, match=r"lm_head.weight and model.embed_tokens.weight.*differ"
    ):
        load_model(folder)


def test_a_tied_head_without_its_embedding_stands_for_both(folder):
    describe(folder, tie_word_embeddings=True)
    rewrite(folder, lambda held: held.pop("model.embed_tokens.weight"))
    head = load_file(folder / "model.safetensors")["lm_head.weight"]
    assert torch.equal(load_model(folder)[0].embed_tokens.weight, head)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_that_are_none_are_named(folder, number, dtype):
    names = ["model.norm.weight", "model.layers.1.mlp.up_proj.weight"]

    def spoil(tensors):
        for name in names:
            tensors[name] = tensors[name].to(dtype)
            tensors[name].view(-1)[-1] = number

    rewrite(folder, spoil)
    with pytest.raises(CheckpointError, match="NaN or infinite") as caught:
        load_model(folder)
    assert all(name in str(caught.value) for name in names)


def test_integers_in_place_of_weights_are_refused(folder):
    def quantize(tensors):
        tensors["model.norm.weight"] = tensors["model.norm.weight"].to(torch.int8)

    rewrite(folder, quantize)
    with pytest.raises(CheckpointError, match=r"model.norm.weight is stored as I8"):
        load_model(folder)


def test_a_tensor_under_two_names_is_refused(folder):
    rewrite(folder, lambda held: held.update({"norm.weight": held["model.norm.weight"].clone()}))
    with pytest.raises(CheckpointError, match=r"holds model.norm.weight twice"):
        load_model(folder)


def test_tables_of_older_files_are_no_weights(folder):
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    rewrite(folder, lambda held: held.update({name: torch.ones(4)}))
    load_model(folder)


def test_shards_open_as_one_file_does(folder):
    before = load_file(folder / "model.safetensors")
    in_shards(folder)
    model, _ = load_model(folder)
    for name, tensor in model.state_dict().items():
        stored = name if name.startswith("lm_head") else f"model.{name}"
        assert torch.equal(tensor, before[stored])


def test_a_missing_shard_is_named(folder):
    in_shards(folder)
    (folder / "part-1.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"part-1.safetensors is missing, which model"):
        load_model(folder)


def test_a_shard_that_lacks_what_the_index_lists_is_named(folder):
    places = in_shards(folder)
    write_index(folder, places | {"model.more.weight": "part-0.safetensors"})
    with pytest.raises(CheckpointError, match=r"lists tensors that are not.*model.more.weight"):
        load_model(folder)
    first = min(places)
    write_index(folder, places | {first: "part-1.safetensors"})
    with pytest.raises(CheckpointError, match=f"not in the files it names: {first}"):
        load_model(folder)


def test_a_tensor_in_two_shards_is_refused(folder):
    in_shards(folder)
    tensors = load_file(folder / "part-0.safetensors")
    save_file(tensors | load_file(folder / "part-1.safetensors"), folder / "part-1.safetensors")
    with pytest.raises(CheckpointError, match=r"twice: in part-0.safetensors and in part-1"):
        load_model(folder)


@pytest.mark.parametrize(
    "name",
    [
        "../m2/part-0.safetensors",
        "/etc/passwd",
        "sub/part-0.safetensors",
        "..",
        "",
        "a\0b",
        "..\\x",
    ],
)
def test_names_of_shards_that_lead_elsewhere_are_refused(folder, name):
    places = in_shards(folder)
    outside = folder.parent / "m2"
    (folder / "sub").mkdir()
    outside.mkdir()
    for place in (outside, folder / "sub"):
        (place / "part-0.safetensors").write_bytes((folder / "part-0.safetensors").read_bytes())
    write_index(folder, {key: name if "0" in place else place for key, place in places.items()})
    with pytest.raises(CheckpointError, match="no file of this folder: refused"):
        load_model(folder)


def test_a_shard_that_is_a_link_out_of_the_folder_is_refused(folder):
    in_shards(folder)
    outside = folder.parent / "elsewhere.safetensors"
    (folder / "part-0.safetensors").rename(outside)
    (folder / "part-0.safetensors").symlink_to(outside)
    with pytest.raises(CheckpointError, match=r"is a link to .*elsewhere.safetensors, out of"):
        load_model(folder)


def test_links_into_the_blobs_of_a_hub_cache_open(folder, tmp_path):
    in_shards(folder)
    snapshot, blobs = tmp_path / "snapshots" / "abc", tmp_path / "blobs"
    snapshot.parent.mkdir()
    blobs.mkdir()
    folder.rename(snapshot)
    for number, path in enumerate(sorted(snapshot.glob("part-*"))):
        path.rename(blobs / str(number))
        path.symlink_to(Path("../../blobs") / str(number))
    load_model(snapshot)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {}}'])
def test_a_damaged_index_is_named(folder, content):
    in_shards(folder)
    (folder / INDEX).write_text(content)
    with pytest.raises(CheckpointError, match=r"index\.json is damaged"):
        load_model(folder)


@pytest.mark.parametrize("shard", [3, None, ["a"], {"b": 1}])
def test_an_index_that_names_no_text_is_refused(folder, shard):
    places = in_shards(folder)
    write_index(folder, places | {"model.norm.weight": shard})
    with pytest.raises(CheckpointError, match=r"no file of this folder|is missing"):
        load_model(folder)


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 100, 0.5, 0.999])
def test_a_file_cut_short_anywhere_is_named(folder, kept):
    path = folder / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: kept if isinstance(kept, int) else int(len(data) * kept)])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        load_model(folder)


def test_a_header_that_promises_too_much_is_refused(folder):
    path = folder / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes((2**62).to_bytes(8, "little") + data[8:])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        load_model(folder)


def test_a_folder_without_weights_says_what_it_may_hold(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"cloche import .*--pickle-ok"):
        load_model(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(CheckpointError, match=r"there is no model\.safetensors"):
        load_model(folder)


def test_the_kinds_of_stored_numbers_are_told_commonest_first(folder):
    def round_most(tensors):
        for name in tensors:
            if "norm" not in name:
                tensors[name] = tensors[name].to(torch.bfloat16)

    rewrite(folder, round_most)
    assert find_weights(folder).dtypes() == ("BF16", "F32")


@pytest.mark.parametrize("family", ["moe", "llama", "gpt2", "seq2seq"])
def test_every_family_comes_back_bit_by_bit(tmp_path, family):
    tokenizer = CharacterTokenizer("abc")
    options = ModelOptions(family=family)
    config = complete(options, vocab_size=tokenizer.vocab_size, layers=2, width=32, context=16)
    torch.manual_seed(0)
    model = build_network(config)
    save_checkpoint(tmp_path / "m", model=model, config=config, tokenizer=tokenizer, card="")
    loaded, read = load_network(tmp_path / "m")
    assert read == config
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert len(list(loaded.parameters())) == len(list(model.parameters()))  # tied stays tied


def test_an_encoder_decoder_continues_no_text_and_says_so(tmp_path):
    tokenizer = CharacterTokenizer("abc")
    options = ModelOptions(family="seq2seq")
    config = complete(options, vocab_size=tokenizer.vocab_size, layers=1, width=32, context=16)
    model = build_network(config)
    save_checkpoint(tmp_path / "m", model=model, config=config, tokenizer=tokenizer, card="")
    with pytest.raises(CheckpointError, match="writes a target for a source"):
        load_model(tmp_path / "m")


def test_a_description_that_cannot_be_stored_is_our_own_mistake(tmp_path, tiny, characters):
    model, config = tiny(characters.vocab_size)
    wrong: ModelConfig = replace(config, balance=float("nan"))  # which equals nothing
    with pytest.raises(CheckpointError, match="does not describe the model"):
        save_checkpoint(tmp_path / "m", model=model, config=wrong, tokenizer=characters, card="")
