"""Checkpoints: whole or absent, equal bytes for equal states, damage named, leftovers swept."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cloche.errors import CheckpointError
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.text.characters import CharacterTokenizer
from cloche.weights import checkpoint as checkpoints
from cloche.weights.checkpoint import TrainerState, load_model, load_trainer, save_checkpoint
from cloche.weights.history import list_checkpoints, newest_whole, point, prune, sweep
from cloche.weights.manifest import verify, verify_model


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def dead_process_id() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("family", ["qwen3", "gpt", "bigram"])
@pytest.mark.parametrize("tied", [None, True])
def test_every_family_comes_back_bit_by_bit(tmp_path, tiny, characters, family, tied):
    options = ModelOptions(family=family, tied=None if family == "bigram" else tied)
    model, config = tiny(characters.vocab_size, options)
    save_checkpoint(tmp_path / "m", model=model, config=config, tokenizer=characters, card="")
    loaded, read = load_model(tmp_path / "m")
    assert read == config
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert len(list(loaded.parameters())) == len(list(model.parameters()))  # tied stays tied
    assert all(parameter.requires_grad for parameter in loaded.parameters())


def test_a_checkpoint_holds_the_promised_files(tmp_path, save):
    assert sorted(contents(save(tmp_path / "m"))) == [
        "README.md",
        "config.json",
        "generation_config.json",
        "manifest.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "trainer/state.json",
        "trainer/state.safetensors",
    ]
    assert list(tmp_path.iterdir()) == [tmp_path / "m"]
    assert (tmp_path / "m" / "README.md").read_text() == "# Tiny\n"


def test_equal_states_give_equal_bytes(tmp_path, save):
    assert contents(save(tmp_path / "a")) == contents(save(tmp_path / "b"))


def test_all_files_can_be_read_by_whoever_may_read_the_configuration(tmp_path, save):
    files = [path for path in save(tmp_path / "m").rglob("*") if path.is_file()]
    assert len({path.stat().st_mode for path in files}) == 1


def test_weights_on_disk_are_float32_whatever_they_are_in_memory(tmp_path, tiny, characters):
    model, config = tiny(characters.vocab_size)
    model.to(torch.bfloat16)
    save_checkpoint(tmp_path / "m", model=model, config=config, tokenizer=characters, card="")
    stored = load_file(tmp_path / "m" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}


def test_a_model_loads_in_the_asked_dtype(tmp_path, save):
    model, _ = load_model(save(tmp_path / "m"), dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_training_state_comes_back_exactly(tmp_path, tiny, characters):
    model, config = tiny(characters.vocab_size)
    state = TrainerState(
        {
            "a.first": torch.tensor([0.1, float("nan"), -0.0]),
            "a.count": torch.tensor(7),
            "rows": torch.zeros(0, 3, dtype=torch.float64),
        },
        {"step": 12, "loss": 0.1 + 0.2, "best": None, "plan": {"steps": 10}, "name": "诗"},
    )
    save_checkpoint(
        tmp_path / "m", model=model, config=config, tokenizer=characters, trainer=state, card=""
    )
    loaded = load_trainer(tmp_path / "m")
    assert loaded.values == state.values
    assert loaded.tensors.keys() == state.tensors.keys()
    for name, tensor in state.tensors.items():
        assert loaded.tensors[name].dtype == tensor.dtype
        torch.testing.assert_close(loaded.tensors[name], tensor, rtol=0, atol=0, equal_nan=True)
    assert loaded.tensors["a.first"][2].signbit()


def test_half_precision_training_state_is_our_own_mistake(tmp_path, tiny, characters):
    model, config = tiny(characters.vocab_size)
    state = TrainerState({"momentum": torch.zeros(2, dtype=torch.bfloat16)})
    with pytest.raises(ValueError, match="kept in float32"):
        save_checkpoint(
            tmp_path / "m", model=model, config=config, tokenizer=characters, trainer=state, card=""
        )
    assert list(tmp_path.iterdir()) == []


def test_a_model_saved_alone_says_that_it_cannot_be_trained_on(tmp_path, tiny, characters):
    model, config = tiny(characters.vocab_size)
    save_checkpoint(tmp_path / "m", model=model, config=config, tokenizer=characters, card="")
    with pytest.raises(CheckpointError, match="no training state"):
        load_trainer(tmp_path / "m")


def test_saving_again_replaces_the_old_checkpoint(tmp_path, save):
    before = contents(save(tmp_path / "m", seed=1))
    after = contents(save(tmp_path / "m", seed=2))
    assert before["model.safetensors"] != after["model.safetensors"]
    assert list(tmp_path.iterdir()) == [tmp_path / "m"]


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "trainer/state.safetensors"]
)
@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing"])
def test_damage_is_named(tmp_path, save, name, damage):
    folder = save(tmp_path / "m")
    verify(folder)
    path = folder / name
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "truncated":
        path.write_bytes(data[:-1])
    else:
        path.unlink()
    expected = "is missing" if damage == "missing" else "is damaged"
    with pytest.raises(CheckpointError, match=f"{path} {expected}"):
        verify(folder)
    if name.startswith("trainer/"):
        verify_model(folder)
        load_model(folder)
    else:
        with pytest.raises(CheckpointError, match=f"{path} {expected}"):
            load_model(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": 3}', "\udc80"])
def test_a_damaged_manifest_is_named(tmp_path, save, text):
    folder = save(tmp_path / "m")
    (folder / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CheckpointError, match=r"manifest\.json is damaged"):
        verify(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no manifest\.json"):
        verify(folder)


def test_the_card_may_be_edited(tmp_path, save):
    folder = save(tmp_path / "m")
    (folder / "README.md").write_text("my own words")
    verify(folder)
    load_model(folder)


def test_damaged_weights_are_named_without_a_manifest_too(tmp_path, save):
    folder = save(tmp_path / "m")
    (folder / "manifest.json").unlink()
    load_model(folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        load_model(folder)


def test_weights_of_another_model_are_refused(tmp_path, save):
    folder, other = save(tmp_path / "m"), save(tmp_path / "o", options=ModelOptions(layers=1))
    for part in (folder, other):
        (part / "manifest.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 8}))
    with pytest.raises(CheckpointError, match="has the shape"):
        load_model(folder)
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="missing"):
        load_model(other)


def test_pickled_weights_in_a_folder_are_refused(tmp_path, save):
    folder = save(tmp_path / "m")
    (folder / "manifest.json").unlink()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="refused"):
        load_model(folder)


def test_a_full_disk_leaves_the_earlier_checkpoint_and_says_so(run, save):
    before = contents(run)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # writing beyond is refused
    try:
        with pytest.raises(CheckpointError, match=r"could not save .*step-000003 is untouched"):
            save(run / "checkpoints" / "step-000004")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(run) == before


def test_the_first_save_that_fails_says_that_there_is_no_earlier_one(tmp_path, save, monkeypatch):
    def refuse(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(CheckpointError, match=r"No space left.*no earlier checkpoint"):
        save(tmp_path / "checkpoints" / "step-000001")
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_failed_replacement_keeps_what_was_there(tmp_path, save, monkeypatch):
    folder = save(tmp_path / "m", seed=1)
    before = contents(folder)
    rename = Path.rename

    def refuse_to_finish(path, target):
        if path.suffix == ".tmp":
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse_to_finish)
    with pytest.raises(CheckpointError, match="could not save"):
        save(folder, seed=2)
    assert contents(folder) == before
    assert list(tmp_path.iterdir()) == [folder]


def test_an_interrupted_save_leaves_nothing(tmp_path, save, monkeypatch):
    def interrupt(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "write_manifest", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_are_listed_by_step_not_by_name(tmp_path, save):
    for step in ("step-000900", "step-001000", "step-1000000", "other", ".step-000001.5.tmp"):
        (tmp_path / "checkpoints" / step).mkdir(parents=True)
    steps = [path.name for path in list_checkpoints(tmp_path)]
    assert steps == ["step-000900", "step-001000", "step-1000000"]
    assert list_checkpoints(tmp_path / "nowhere") == []


def test_the_newest_whole_checkpoint_is_found_loudly(run):
    warnings: list[str] = []
    assert newest_whole(run, warn=warnings.append) == run / "checkpoints" / "step-000003"
    assert warnings == []
    (run / "checkpoints/step-000003/trainer/state.json").unlink()
    (run / "checkpoints/step-000002/manifest.json").unlink()
    assert newest_whole(run, warn=warnings.append) == run / "checkpoints" / "step-000001"
    assert "state.json is missing" in warnings[0]
    assert "step-000002" in warnings[1]
    assert newest_whole(run / "checkpoints", warn=warnings.append) is None


def test_links_are_relative_and_move(run, tmp_path):
    for step in (1, 2):
        point(run, "best", run / "checkpoints" / f"step-{step:06}")
        assert (run / "best").readlink() == Path(f"checkpoints/step-{step:06}")
    run.rename(tmp_path / "moved")
    assert (tmp_path / "moved" / "best" / "config.json").exists()


def test_pruning_keeps_two_and_whatever_is_pointed_at(run, save):
    for step in (4, 5):
        save(run / "checkpoints" / f"step-{step:06}")
    point(run, "best", run / "checkpoints" / "step-000002")
    point(run, "latest", run / "checkpoints" / "step-000005")
    removed = [path.name for path in prune(run, keep=1)]
    assert removed == ["step-000001", "step-000003"]
    kept = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert kept == ["step-000002", "step-000004", "step-000005"]


def test_leftovers_of_dead_writers_are_swept_and_those_of_living_ones_stay(run):
    dead, living = dead_process_id(), os.getppid()
    parent = run / "checkpoints"
    (parent / f".step-000009.{dead}.tmp" / "trainer").mkdir(parents=True)
    (parent / f".step-000009.{os.getpid()}.tmp").mkdir()
    (parent / f".step-000009.{living}.tmp").mkdir()
    (run / f".best.{dead}.tmp").symlink_to("checkpoints/step-000001")
    whole = contents(parent / "step-000003")
    assert len(sweep(run)) == 3
    assert sorted(p.name for p in parent.iterdir() if p.name.startswith(".")) == [
        f".step-000009.{living}.tmp"
    ]
    assert not (run / f".best.{dead}.tmp").is_symlink()
    assert contents(parent / "step-000003") == whole
    assert contents(parent / "step-000001")


def test_a_checkpoint_set_aside_by_a_dead_writer_is_put_back(run):
    parent, dead = run / "checkpoints", dead_process_id()
    (parent / "step-000003").rename(parent / f".step-000003.{dead}.old")
    (parent / f".step-000003.{dead}.tmp").mkdir()
    sweep(run)
    verify(parent / "step-000003")
    assert len(list(parent.iterdir())) == 3


KILLED_WHILE_SAVING = """
import os, sys, torch
from pathlib import Path
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.text.characters import CharacterTokenizer
from cloche.weights.checkpoint import save_checkpoint

target, moment = Path(sys.argv[1]), sys.argv[2]
def die_while_syncing(handle):
    if target.exists() == (moment == "after the rename"):
        os.kill(os.getpid(), 9)
os.fsync = die_while_syncing
tokenizer = CharacterTokenizer(set("abc"))
config = complete(ModelOptions(), vocab_size=tokenizer.vocab_size, layers=1, width=32, context=8)
save_checkpoint(target, model=build_model(config), config=config, tokenizer=tokenizer, card="")
"""


@pytest.mark.parametrize("moment", ["before the rename", "after the rename"])
def test_a_writer_killed_while_saving_leaves_the_checkpoint_whole_or_absent(tmp_path, moment):
    target = tmp_path / "checkpoints" / "step-000001"
    command = [sys.executable, "-c", KILLED_WHILE_SAVING, str(target), moment]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    if moment == "after the rename":
        verify(target)
    else:
        assert not target.exists()
        assert len(sweep(tmp_path)) == 1
        assert list(target.parent.iterdir()) == []


def test_another_tokenizer_beside_the_weights_is_refused_naming_both(tmp_path):
    tokenizer = CharacterTokenizer("abc")
    config = complete(
        ModelOptions(family="bigram"), vocab_size=tokenizer.vocab_size, layers=1, width=1, context=4
    )
    folder = tmp_path / "step-000001"
    save_checkpoint(folder, model=build_model(config), config=config, tokenizer=tokenizer, card="")
    other = CharacterTokenizer("abd")
    other.save(folder)
    with pytest.raises(
        CheckpointError, match=f"{other.fingerprint[:12]}.*{tokenizer.fingerprint[:12]}"
    ):
        load_model(folder)
