"""A training has room before its first step, or says what would fit."""

import pytest

import cloche
from cloche.errors import SettingError
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.training import room
from cloche.training.machine import Machine
from cloche.training.options import TrainOptions
from cloche.training.room import find_room

MACHINE = Machine("cpu", "float32", 1e11)
CONFIG = complete(ModelOptions(), vocab_size=2000, layers=4, width=256, context=256)


def with_memory(monkeypatch, megabytes):
    monkeypatch.setattr(room, "available_memory", lambda: megabytes * 10**6)


def found(batch=32, machine=MACHINE, **options):
    return find_room(
        CONFIG, batch=batch, options=TrainOptions(**options), machine=machine, vocab="free"
    )


def test_a_batch_that_fits_is_computed_at_once(monkeypatch):
    with_memory(monkeypatch, 64_000)
    assert (found().micro_batch, found().accumulate) == (32, 1)
    assert found(accumulate=4).accumulate == 4


def test_a_large_batch_is_computed_in_as_many_parts_as_it_takes(monkeypatch):
    with_memory(monkeypatch, 800)
    fit = found()
    assert fit.accumulate > 1
    assert fit.micro_batch * fit.accumulate == 32
    assert fit.memory.total <= 0.9 * 800e6


def test_processes_on_one_machine_share_its_memory(monkeypatch):
    with_memory(monkeypatch, 1600)
    shared = Machine("cpu", "float32", 1e11, processes=2)
    with_memory(monkeypatch, 800)
    alone = found(batch=16)
    with_memory(monkeypatch, 1600)
    assert found(machine=shared).memory == alone.memory


def test_without_room_for_one_sequence_three_ways_out_are_told(monkeypatch):
    with_memory(monkeypatch, 200)
    with pytest.raises(SettingError) as caught:
        found()
    said = str(caught.value)
    assert said.count("--model.") >= 3
    assert "MB" in said


def test_a_run_without_room_leaves_nothing_behind(monkeypatch, tmp_path):
    with_memory(monkeypatch, 150)
    (tmp_path / "book.txt").write_text("The cat sat on the mat. " * 2000)
    with pytest.raises(SettingError, match="--model"):
        cloche.train(
            tmp_path / "book.txt",
            out=tmp_path / "run",
            options={"train.steps": 2, "train.precision": "float32", "model.width": 512},
            listeners=[],
        )
    assert not (tmp_path / "run").exists()
