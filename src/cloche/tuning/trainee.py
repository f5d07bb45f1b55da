"""The part of a base that is trained, whole or as adapters, and how it is saved and gone on from.

All kinds of tuning that give a model that writes share this: instruction tuning, DPO, PPO, GRPO.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cloche.model.decoder import Decoder
from cloche.model.lora import add_lora
from cloche.model.lora_config import ALL_LINEAR, LoraConfig
from cloche.planning.flops import parameter_count
from cloche.training.machine import dtype_of
from cloche.training.options import TrainOptions
from cloche.training.snapshots import frozen
from cloche.tuning.base import Base
from cloche.tuning.options import USUAL_ALPHA, LoraOptions, MethodOptions
from cloche.tuning.session import WriteModel
from cloche.tuning.tuned import TunedModel
from cloche.weights.adapters import load_adapter, save_adapter_checkpoint
from cloche.weights.checkpoint import TrainerState, load_network, save_checkpoint


@dataclass(frozen=True)
class Trainee:
    """A base that is being trained."""

    base: Base
    network: Decoder
    """The decoder whose weights, or adapters, are trained; in float32, on the device."""
    snapshot: Callable[[TunedModel], WriteModel]
    """Copies the trained weights as they are, and returns what writes them as a checkpoint."""
    read_trained: Callable[[Path], Mapping[str, Tensor]]
    """The trained weights in a checkpoint, by their names in `network`."""
    kept: bool
    """Whether all weights are saved, and so kept in float32 (see TunedModel)."""
    described: str
    """What is trained, in words."""

    def compute(self, train: TrainOptions, *, model: nn.Module | None = None) -> TunedModel:
        """The passes' model for the loop; `model` where `network` is only a part of it."""
        dtype = dtype_of(train.precision)
        return TunedModel(model or self.network, dtype=dtype, kept=self.kept)


def make_trainee(
    base: Base, method: MethodOptions, lora: LoraOptions, train: TrainOptions
) -> Trainee:
    """The base, ready for training as the options say. The base's own model is used up."""
    model = base.model.to(torch.device(train.device))
    if method.method == "full":
        model.requires_grad_(True)
        count = sum(parameter.numel() for parameter in model.parameters())
        return Trainee(
            base,
            model,
            lambda compute: _whole_writer(base, compute),
            lambda folder: load_network(folder)[0].state_dict(),
            kept=True,
            described=f"all {count:,} weights",
        )
    config = lora_config(lora)
    layers = add_lora(model, config, seed=train.seed)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = parameter_count(base.config)  # rounded weights are no parameters any more
    return Trainee(
        base,
        model,
        lambda compute: _adapter_writer(base, config, compute),
        lambda folder: load_adapter(folder).tensors,
        kept=False,
        described=(
            f"adapters of rank {config.rank} beside {len(layers)} layers: {trained:,} weights, "
            f"{trained / total:.2%} of the model's number"
        ),
    )


def lora_config(options: LoraOptions) -> LoraConfig:
    """The adapters that the options ask for."""
    return LoraConfig(
        rank=options.rank,
        alpha=USUAL_ALPHA * options.rank if options.alpha is None else options.alpha,
        dropout=options.dropout,
        rslora=options.rslora,
        dora=options.dora,
        targets=options.targets or ALL_LINEAR,
    )


def _whole_writer(base: Base, compute: TunedModel) -> WriteModel:
    whole = compute.whole
    assert whole is not None, "all weights are kept in float32"
    decoder = whole if isinstance(whole, Decoder) else whole.get_submodule("policy")
    assert isinstance(decoder, Decoder), "what writes is a decoder"
    copied = frozen(decoder)

    def write(folder: Path, trainer: TrainerState, card: str) -> None:
        save_checkpoint(
            folder,
            model=copied,
            config=base.config,
            tokenizer=base.tokenizer,
            trainer=trainer,
            card=card,
            special_ids=base.special_ids,
            stop_ids=base.stop_ids,
            begins_with_bos=base.lm.begins_with_bos,
            chat_template=base.template.source,
        )

    return write


def _adapter_writer(base: Base, config: LoraConfig, compute: TunedModel) -> WriteModel:
    copied = compute.trained_tensors()

    def write(folder: Path, trainer: TrainerState, card: str) -> None:
        save_adapter_checkpoint(
            folder,
            copied,
            config,
            base=base.lm.folder,
            base_hash=base.hash,
            tokenizer=base.tokenizer,
            trainer=trainer,
            card=card,
            special_ids=base.special_ids,
            stop_ids=base.stop_ids,
            begins_with_bos=base.lm.begins_with_bos,
            chat_template=base.template.source,
        )

    return write
