import pytest
import torch
from torch import nn

from cloche.data.batches import Batch
from cloche.model.build import build_network
from cloche.model.config import ModelOptions
from cloche.model.initialise import initialise
from cloche.model.presets import complete
from cloche.training import adamw, muon
from cloche.training.adamw import AdamW
from cloche.training.muon import Muon, orthogonalized
from cloche.training.objectives import NextToken
from cloche.training.optim import build_optimizers
from cloche.training.optimizer import Gradients
from cloche.training.options import TrainOptions
from cloche.training.precision import ComputeModel

MOMENTS = {"betas": (0.9, 0.95), "eps": 1e-8}


class TwoLayers(nn.Module):
    """Named like a decoder, so that the builder finds its blocks."""

    def __init__(self):
        super().__init__()
        self.embed_tokens = nn.Embedding(7, 6)
        self.layers = nn.ModuleList([nn.Linear(6, 10), nn.Linear(10, 6)])
        self.norm = nn.LayerNorm(6)
        self.lm_head = nn.Linear(6, 7, bias=False)

    def forward(self, ids):
        hidden = self.embed_tokens(ids)
        for layer in self.layers:
            hidden = layer(hidden).tanh()
        return self.lm_head(self.norm(hidden))


def train(model, optimizers, *, steps, first=0):
    for step in range(first, first + steps):
        torch.manual_seed(step)
        ids = torch.randint(7, (4, 5))
        loss = nn.functional.cross_entropy(model(ids).flatten(0, 1), ids.flatten())
        model.zero_grad()
        loss.backward()
        optimizers.step()


def make(seed=0, **options):
    torch.manual_seed(seed)
    model = TwoLayers()
    return model, build_optimizers(model, TrainOptions(**options), learning_rate=0.02)


@pytest.mark.parametrize("shape", [(8, 8), (4, 12), (12, 4)])
def test_muon_takes_the_same_steps_as_torchs_own(shape):
    torch.manual_seed(0)
    start = torch.randn(shape)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizers = [
        Muon([ours], lr=0.1, weight_decay=0.1, newton_schulz_steps=5),
        torch.optim.Muon([theirs], lr=0.1, weight_decay=0.1, adjust_lr_fn="original"),
    ]
    for _ in range(5):
        gradient = torch.randn(shape)
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    apart, moved = (ours - theirs).norm(), (theirs - start).norm()
    assert apart < 0.05 * moved  # both iterate in bfloat16, in another order


def test_matrices_updated_together_get_what_each_gets_alone():
    torch.manual_seed(1)
    starts, gradients = torch.randn(3, 6, 4), torch.randn(3, 6, 4)
    together = [nn.Parameter(start.clone()) for start in starts]
    alone = [nn.Parameter(start.clone()) for start in starts]
    for parameter, gradient in zip(together, gradients, strict=True):
        parameter.grad = gradient.clone()
    Muon(together, lr=0.1, newton_schulz_dtype=torch.float32).step()
    for one, other, gradient in zip(alone, together, gradients, strict=True):
        one.grad = gradient.clone()
        Muon([one], lr=0.1, newton_schulz_dtype=torch.float32).step()
        torch.testing.assert_close(one, other)


def test_orthogonalized_brings_every_singular_value_near_one():
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalized(torch.randn(5, 16, 32), dtype=torch.float32))
    assert values.min() > 0.4
    assert values.max() < 1.3


def test_every_parameter_is_in_exactly_one_group_and_blocks_are_muons():
    model, optimizers = make()
    members = [
        (part, optimizers.names[parameter])
        for part, optimizer in optimizers.parts.items()
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    assert sorted(name for _, name in members) == sorted(
        name for name, _ in model.named_parameters()
    )
    assert {name for part, name in members if part == "muon"} == {
        "layers.0.weight",
        "layers.1.weight",
    }


def test_norms_and_biases_do_not_decay_with_adamw():
    _, optimizers = make(optimizer="adamw")
    decayed = {
        optimizers.names[parameter]
        for group in optimizers.parts["adamw"].param_groups
        if group["weight_decay"]
        for parameter in group["params"]
    }
    assert decayed == {
        "embed_tokens.weight",
        "layers.0.weight",
        "layers.1.weight",
        "lm_head.weight",
    }


def test_the_learning_rate_share_scales_each_group_from_its_own_peak():
    _, optimizers = make()
    optimizers.set_learning_rate(0.5)
    rates = {part: o.param_groups[0]["lr"] for part, o in optimizers.parts.items()}
    assert rates == pytest.approx({"muon": 0.01, "adamw": 0.0015})


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_restored_optimizer_continues_byte_for_byte(optimizer):
    whole, optimizers = make(optimizer=optimizer)
    train(whole, optimizers, steps=6)

    first, optimizers = make(optimizer=optimizer)
    train(first, optimizers, steps=3)
    second, restored = make(seed=5, optimizer=optimizer)
    second.load_state_dict(first.state_dict())
    restored.load_state_tensors(optimizers.state_tensors())
    train(second, restored, steps=3, first=3)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_state_of_another_model_is_refused():
    _, optimizers = make()
    with pytest.raises(ValueError, match="no place"):
        optimizers.load_state_tensors({"muon/layers.9.weight/momentum": torch.zeros(1)})


def test_adamw_takes_the_very_steps_of_torchs_own():
    torch.manual_seed(0)
    starts = [torch.randn(5, 3), torch.randn(4)]
    ours, theirs = ([nn.Parameter(start.clone()) for start in starts] for _ in range(2))
    mine = AdamW(
        [
            {"params": ours[:1], "lr": 0.01, "weight_decay": 0.1},
            {"params": ours[1:], "lr": 0.02, "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95),
        eps=1e-10,
    )
    reference = torch.optim.AdamW(
        [
            {"params": theirs[:1], "lr": 0.01, "weight_decay": 0.1},
            {"params": theirs[1:], "lr": 0.02, "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95),
        eps=1e-10,
        fused=True,
    )
    for _ in range(5):
        for parameter, twin in zip(ours, theirs, strict=True):
            parameter.grad = torch.randn_like(parameter)
            twin.grad = parameter.grad.clone()
        mine.step()
        reference.step()
    for parameter, twin in zip(ours, theirs, strict=True):
        assert torch.equal(parameter, twin)
        assert torch.equal(mine.state[parameter]["exp_avg"], reference.state[twin]["exp_avg"])


def test_a_parameter_without_a_gradient_stays():
    still = nn.Parameter(torch.ones(3))
    optimizer = AdamW(
        [{"params": [still], "lr": 0.1, "weight_decay": 0.5}], betas=(0.9, 0.9), eps=0
    )
    optimizer.step()
    assert torch.equal(still, torch.ones(3))


def test_many_matrices_are_updated_a_few_at_a_time_with_the_same_outcome(monkeypatch):
    outcomes = []
    for together in (1 << 25, 13):
        monkeypatch.setattr(muon, "TOGETHER_NUMBERS", together)
        torch.manual_seed(0)
        matrices = [nn.Parameter(torch.randn(4, 6)) for _ in range(3)]
        optimizer = Muon(matrices, lr=0.1, newton_schulz_dtype=torch.float32)
        for matrix in matrices:
            matrix.grad = torch.randn_like(matrix)
        optimizer.step()
        outcomes.append(torch.stack([matrix.detach() for matrix in matrices]))
    torch.testing.assert_close(*outcomes)


def test_large_parameters_are_updated_in_pieces_with_the_same_outcome(monkeypatch):
    outcomes = []
    for numbers in (1 << 20, 7):
        monkeypatch.setattr(adamw, "PIECE_NUMBERS", numbers)
        torch.manual_seed(0)
        parameters = [nn.Parameter(torch.randn(shape)) for shape in ((4, 6), (3,), (5, 2), (1,))]
        optimizer = AdamW([{"params": parameters, "lr": 0.1, "weight_decay": 0.1}], **MOMENTS)
        for _ in range(3):
            for parameter in parameters:
                parameter.grad = torch.randn_like(parameter)
            optimizer.step()
        state = optimizer.state
        outcomes.append([*parameters, *(state[p]["exp_avg_sq"] for p in parameters)])
        assert [state[p]["step"].item() for p in parameters] == [3.0] * 4
    torch.testing.assert_close(*outcomes, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_short_gradient_times_a_factor_is_what_is_moved_against(kind):
    moved = []
    for short in (False, True):
        torch.manual_seed(0)
        weight = nn.Parameter(torch.randn(6, 4))
        gradient = torch.randn(6, 4).bfloat16()
        optimizer = (
            Muon([weight], lr=0.1, newton_schulz_dtype=torch.float32)
            if kind == "muon"
            else AdamW([{"params": [weight], "lr": 0.1, "weight_decay": 0.1}], **MOMENTS)
        )
        for step in (1, 2):
            if short:
                given = Gradients(lambda _, gradient=gradient: gradient, factor=0.25 * step)
                optimizer.step(given)
            else:
                weight.grad = gradient.float() * 0.25 * step
                optimizer.step()
        moved.append(weight.detach())
    assert torch.equal(*moved)


def test_the_gradients_of_one_part_stay_in_the_precision_of_the_passes_and_are_clipped():
    compute = small_compute(torch.bfloat16)
    loss_of(compute).backward()
    compute.collect_gradients(last=True)
    assert all(master.grad is None for master in compute.masters.parameters())
    whole = torch.cat([g.float().flatten() for _, g in compute.named_gradients()]).norm()
    assert compute.clip_gradients(0.5 * float(whole)) == pytest.approx(float(whole), rel=1e-3)
    assert compute.gradients.factor == pytest.approx(0.5, rel=1e-3)
    compute.clear_gradients()
    assert not compute.named_gradients()
    assert compute.gradients.factor == 1.0


def test_the_gradients_of_several_parts_are_added_up_in_float32():
    compute, other = small_compute(torch.bfloat16), small_compute(torch.bfloat16)
    for last in (False, True):
        loss_of(compute).backward()
        compute.collect_gradients(last=last)
    loss_of(other).backward()
    for (name, both), (_, one) in zip(
        compute.named_gradients(), other.named_gradients(), strict=True
    ):
        assert both.dtype == torch.float32, name
        assert torch.equal(both, 2 * one.float())
    compute.scale_gradients(0.5)
    assert compute.clip_gradients(0.0) == pytest.approx(other.clip_gradients(0.0), rel=1e-3)


def small_compute(dtype):
    config = complete(ModelOptions(), vocab_size=11, layers=1, width=16, context=8)
    masters = build_network(config)
    initialise(masters, seed=0)
    return ComputeModel(masters, dtype=dtype)


def loss_of(compute):
    ids = torch.arange(16).view(2, 8) % 11
    return NextToken()(compute.model, Batch(ids, (ids + 1) % 11)).terms["loss"].sum
