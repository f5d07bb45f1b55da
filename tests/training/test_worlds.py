"""The parts that many processes are made of, each without starting any."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch.distributed import HashStore  # pyright: ignore[reportPrivateImportUsage]

from cloche.data.batches import Batch
from cloche.errors import SettingError
from cloche.model.build import build_model
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.initialise import initialise
from cloche.model.presets import complete
from cloche.training.agreement import (
    Agreement,
    describe_sharing,
    is_restart,
    note_launch,
    sharding_problems,
    share_out,
)
from cloche.training.choices import make_choice
from cloche.training.distributed import World, even_share, meet, share_of_step
from cloche.training.launch import Launch, read_launch
from cloche.training.machine import Machine
from cloche.training.objectives import NextToken
from cloche.training.options import RunOptions, TrainOptions
from cloche.training.recomputing import recompute_blocks


class Place(World):
    """The world as one of several sees it, who never meets the others."""

    def __init__(self, rank, size, tensor_parallel=1):
        self.rank, self.size, self.tensor_parallel = rank, size, tensor_parallel


def decoder(**options) -> ModelConfig:
    return complete(ModelOptions(**options), vocab_size=11, layers=2, width=32, context=8)


def choice_of(config: ModelConfig, **train):
    options = RunOptions(train=TrainOptions(**{"steps": 3, **train}))
    machine = Machine("cpu", "float32", 1e9)
    batch = options.train.batch or 8
    return make_choice(options, config, machine=machine, batch=batch, steps=3, step_seconds=None)


@pytest.mark.parametrize(("batch", "ranks", "parts"), [(8, 1, 1), (8, 3, 2), (32, 3, 4), (7, 2, 3)])
def test_the_shares_of_all_are_the_whole_batch_in_order(batch, ranks, parts):
    samples = []
    for rank in range(ranks):
        for part in range(parts):
            begin, size = share_of_step(
                batch, world=Place(rank, ranks), accumulate=parts, number=part
            )
            samples += range(begin, begin + size)
    assert samples == list(range(batch))


def test_shares_differ_by_one_at_most():
    sizes = [even_share(32, parts=5, number=number)[1] for number in range(5)]
    assert max(sizes) - min(sizes) <= 1


def test_processes_that_share_each_sequence_are_given_the_same_samples():
    given = [
        share_of_step(8, world=Place(rank, 4, tensor_parallel=2), accumulate=1, number=0)
        for rank in range(4)
    ]
    assert given == [(0, 4), (0, 4), (4, 4), (4, 4)]


def test_a_process_without_a_launcher_is_alone():
    assert read_launch({}) is None
    assert read_launch({"RANK": "0"}) is None


def test_what_torchrun_says_is_understood():
    launch = read_launch(
        {
            "RANK": "3",
            "WORLD_SIZE": "4",
            "LOCAL_RANK": "1",
            "MASTER_ADDR": "host",
            "MASTER_PORT": "29500",
            "TORCHELASTIC_RESTART_COUNT": "2",
            "TORCHELASTIC_RUN_ID": "books",
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }
    )
    assert launch == Launch(3, 4, 1, restarts=2, job="books", address=("host", 29500))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"MASTER_ADDR": None}, "MASTER_ADDR"),
        ({"RANK": "two"}, "'two'"),
        ({"RANK": "4"}, "RANK 4 is not below WORLD_SIZE 4"),
    ],
)
def test_half_a_launcher_is_refused(changed, said):
    whole = {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "host", "MASTER_PORT": "1"} | changed
    with pytest.raises(SettingError, match=said):
        read_launch({name: value for name, value in whole.items() if value is not None})


def test_a_meeting_is_never_taken_for_an_earlier_one():
    store = HashStore()
    meetings = []
    with ThreadPoolExecutor(3) as threads:
        for _ in range(3):  # the store keeps what the processes before wrote
            found = threads.map(lambda rank: meet(store, rank=rank, size=3), [1, 2, 0])
            meetings.append(set(found))
    assert [len(names) for names in meetings] == [1, 1, 1]
    assert len(set.union(*meetings)) == 3


def test_what_is_agreed_on_comes_back_from_its_text():
    choice = choice_of(decoder(rope_scaling="linear", rope_factor=2.0), batch=6)
    agreement = Agreement(choice, begun=True)
    assert Agreement.from_text(agreement.to_text()) == agreement


def test_a_model_understood_otherwise_is_no_agreement():
    agreed = Agreement(choice_of(decoder()), begun=False).to_text()
    with pytest.raises(SettingError, match="same version"):
        Agreement.from_text(agreed.replace("width=32", "width=64"))


def test_fewer_sequences_than_processes_are_refused():
    with pytest.raises(SettingError, match="must be at least 6"):
        share_out(choice_of(decoder(), batch=4, accumulate=2), Place(0, 3))


def test_how_processes_share_is_chosen_and_told():
    choice = share_out(choice_of(decoder(heads=4), tensor_parallel=2), Place(0, 4))
    assert choice.options.train.parallel == "fsdp"
    assert describe_sharing(choice, Place(0, 4)) == [
        "Processes: 4, a shard of it in each (fsdp), in groups of 2 that share each sequence, "
        "4 sequences a step each."
    ]
    assert share_out(choice_of(decoder()), Place(0, 2)).options.train.parallel == "ddp"


def test_fsdp_with_one_process_is_told_of():
    alone = choice_of(decoder(), parallel="fsdp")
    assert "nothing to share" in describe_sharing(share_out(alone, World()), World())[0]


def test_tensor_parallelism_with_one_process_is_refused():
    with pytest.raises(SettingError, match="number of processes, 1"):
        share_out(choice_of(decoder(heads=4), tensor_parallel=2), World())


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (decoder(heads=4, kv_heads=1), "does not divide model.kv-heads 1"),
        (replace(decoder(heads=4), mlp_width=33), "does not divide model.mlp-width 33"),
        (decoder(family="bigram"), "use ddp"),
        (decoder(family="moe", heads=4, experts=4, experts_used=2), "4 experts"),
    ],
)
def test_models_that_cannot_be_split_are_named(config, said):
    problems = sharding_problems(config, parallel="fsdp", tensor_parallel=2)
    assert said in "\n".join(problems)


def test_a_job_is_known_again_by_its_name(tmp_path):
    first = Launch(0, 2, job="books")
    assert not is_restart(tmp_path, first)
    note_launch(tmp_path, first)
    assert is_restart(tmp_path, replace(first, size=1))
    assert not is_restart(tmp_path, Launch(0, 2, job="others"))
    assert not is_restart(tmp_path, Launch(0, 2))
    assert is_restart(tmp_path, Launch(0, 2, restarts=1))


def test_ddp_and_tensor_parallelism_contradict():
    problems = TrainOptions(parallel="ddp", tensor_parallel=2).problems()
    assert "leave train.parallel out" in problems[0]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_blocks_computed_again_give_the_same_gradients(dropout):
    config = decoder(dropout=dropout)
    rows = torch.arange(18).reshape(2, 9) * 7 % 11
    batch = Batch(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())
    found = []
    for again in (False, True):
        model = build_model(config)
        initialise(model, seed=0)
        if again:
            recompute_blocks(model, dropout=dropout)
        torch.manual_seed(3)
        NextToken()(model, batch).terms["loss"].sum.backward()
        found.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
