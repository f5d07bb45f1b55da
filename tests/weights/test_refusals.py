"""What is said of models that cannot be used: what it was, what is wrong, and what to do."""

import argparse

import pytest
import torch
from safetensors.torch import load_file, save_file

from cloche.errors import CheckpointError
from cloche.weights.checkpoint import load_model
from cloche.weights.foreign import ForeignOptions, open_foreign
from cloche.weights.manifest import MANIFEST
from cloche.weights.unpickle import RefusedError, convert


def told_nothing(_: str) -> None:
    """For what assumes nothing."""


@pytest.mark.parametrize(
    ("held", "named"),
    [
        ({"model": {"a": torch.ones(2)}, "args": argparse.Namespace()}, "argparse.Namespace"),
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        (print, "it holds print"),
    ],
)
def test_what_a_pickle_would_build_is_named_and_no_way_around_is_advised(tmp_path, held, named):
    torch.save(held, tmp_path / "model.pt")
    with pytest.raises(RefusedError, match="could run code") as caught:
        convert(tmp_path / "model.pt", tmp_path / "out.safetensors")
    assert named in str(caught.value)
    assert "weights_only" not in str(caught.value)


def test_a_text_called_pt_is_told_as_damaged_without_torchs_advice(tmp_path):
    (tmp_path / "model.pt").write_text("The fox saw two stones.\n" * 20)
    with pytest.raises(RefusedError, match="it is damaged, or no PyTorch file") as caught:
        convert(tmp_path / "model.pt", tmp_path / "out.safetensors")
    assert "weights_only" not in str(caught.value)


def test_a_warning_of_the_process_that_reads_pickles_is_no_part_of_the_message(tmp_path):
    """Torch warns of pickles of newer protocols."""
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt", pickle_protocol=4)
    with pytest.raises(CheckpointError) as caught:
        open_foreign(tmp_path / "model.pt", ForeignOptions(True), tell=told_nothing)
    assert str(caught.value).startswith(f"{tmp_path / 'model.pt'} cannot be used: it is damaged")


def test_unknown_tensors_are_named_as_the_file_names_them(tmp_path, save):
    folder = save(tmp_path / "model")
    (folder / MANIFEST).unlink()
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"adapter.weight": torch.ones(2)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"unknown are adapter\.weight$"):
        load_model(folder)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("nowhere", "does not exist: give the path of a Hugging Face folder"),
        ("empty", "give the folder that holds it"),
        ("empty.gguf", "fetch or convert it again"),
        ("text.gguf", "fetch it again, or give another file"),
    ],
)
def test_a_source_that_is_no_model_says_what_to_do(tmp_path, name, advice):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.gguf").touch()
    (tmp_path / "text.gguf").write_text("The fox")
    with pytest.raises(CheckpointError, match=advice):
        open_foreign(tmp_path / name, ForeignOptions(), tell=told_nothing)
