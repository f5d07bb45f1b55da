"""PPO's two models as one: the policy that writes, and the value model that expects."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cloche.alignment.policy_training import PolicyTraining, without_dropout
from cloche.alignment.rewards_model import RewardModel
from cloche.model.decoder import Decoder
from cloche.model.lora import add_lora
from cloche.model.scorer import Scorer, make_scorer
from cloche.training.options import TrainOptions
from cloche.tuning.options import LoraOptions, MethodOptions
from cloche.tuning.session import EXTRA, WriteModel
from cloche.tuning.trainee import lora_config
from cloche.tuning.tuned import TunedModel
from cloche.weights.checkpoint import load_trainer

POLICY, VALUE = "policy.", "value."
STATE = "value"
"""The name of the value model's part of a training's state."""


class ActorCritic(nn.Module):
    """A policy and a value model, which share nothing."""

    def __init__(self, policy: Decoder, value: Scorer) -> None:
        super().__init__()
        self.policy = policy
        self.value = value


def make_value(
    start: Decoder,
    reward_model: RewardModel | None,
    *,
    fingerprint: str,
    method: MethodOptions,
    lora: LoraOptions,
    train: TrainOptions,
) -> Scorer:
    """The value model: a copy of the reward model where it reads the same tokens, else of `start`.

    One that starts from a model that writes expects 0 of everything at first. Trained as the
    policy is: whole, or by adapters, with the layer that gives the number in either case.
    """
    if reward_model is not None and reward_model.writer.tokenizer.fingerprint == fingerprint:
        value = copy.deepcopy(reward_model.scorer)
    else:
        value = make_scorer(start, 1, seed=train.seed)
        nn.init.zeros_(value.score.weight)
    without_dropout(value.decoder)
    value.requires_grad_(True)
    if method.method != "full":
        add_lora(value, lora_config(lora), seed=train.seed + 1)
        value.score.weight.requires_grad_(True)
    return value


class PolicyOf(TunedModel):
    """The policy's part of both, for what saves it."""

    def __init__(self, both: TunedModel) -> None:
        self._both = both
        self.whole = None if both.whole is None else both.whole.get_submodule("policy")

    def trained_tensors(self) -> dict[str, Tensor]:
        """A copy of the policy's masters, by the names they have in it."""
        return _part(self._both.trained_tensors(), POLICY)


@dataclass(frozen=True, eq=False)
class ValueState:
    """The trained weights of the value model, kept beside a policy's checkpoint."""

    compute: TunedModel

    def state_tensors(self) -> dict[str, Tensor]:
        """By the names they have in the value model."""
        named = self.compute.masters.named_parameters()
        return _part({name: weight.detach() for name, weight in named}, VALUE)

    def state_values(self) -> dict[str, Any]:
        """None."""
        return {}

    def load_state(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Nothing: they are read with the policy's, as trained weights."""


def snapshot_policy(training: PolicyTraining, compute: TunedModel) -> WriteModel:
    """Copies the policy as it is, and returns what writes it as a checkpoint."""
    return training.trainee.snapshot(PolicyOf(compute))


def read_both(
    read_policy: Callable[[Path], Mapping[str, Tensor]], folder: Path
) -> dict[str, Tensor]:
    """The trained weights of both in a checkpoint, by the names of the masters."""
    policy = {POLICY + name: tensor for name, tensor in read_policy(folder).items()}
    begin = f"{EXTRA}{STATE}."
    value = _part(load_trainer(folder).tensors, begin)
    return policy | {VALUE + name: tensor for name, tensor in value.items()}


def value_of(model: nn.Module) -> Scorer:
    """The value model of both."""
    assert isinstance(model, ActorCritic), "PPO trains a policy and a value model together"
    return model.value


def _part(tensors: Mapping[str, Tensor], begin: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(begin): tensor
        for name, tensor in tensors.items()
        if name.startswith(begin)
    }
