"""Each process with a share of every matrix: FSDP2, and tensor parallelism within a group.

The float32 masters lie in shards. A block's are gathered when its pass comes, in the precision of
the passes, and let go after it; gradients are summed in float32 onto the shards. With tensor
parallelism the processes of a group share each sequence: every one has some of the heads and some
of the neurons.

Sources: Zhao et al. 2023, https://arxiv.org/abs/2304.11277; Shoeybi et al. 2019,
https://arxiv.org/abs/1909.08053
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_module
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    RowwiseParallel,
    parallelize_module,
)

from cloche.data.batches import Batch
from cloche.model.build import Network, build_network
from cloche.model.decoder import Decoder
from cloche.training.distributed import World
from cloche.training.objectives import Losses, Objective
from cloche.training.precision import ComputeModel
from cloche.training.replicas import Called
from cloche.training.shards import like, local, whole


class ShardedModel(ComputeModel):
    """A decoder whose masters lie in shards, and are computed with in the dtype given."""

    def __init__(self, masters: Network, *, dtype: torch.dtype, world: World) -> None:
        assert isinstance(masters, Decoder), "sharding_problems lets nothing else through"
        assert world.mesh is not None, "joined before models are built"
        super().__init__(masters, dtype=torch.float32)
        self._world = world
        if world.tensor_parallel > 1:
            split_blocks(masters, world.mesh["tensor"])
        policy = MixedPrecisionPolicy(
            param_dtype=None if dtype == torch.float32 else dtype, reduce_dtype=torch.float32
        )
        self._root = Called(masters)
        for module in (*masters.layers, self._root):
            fully_shard(module, mesh=world.mesh["data"], mp_policy=policy)
        for module in self._root.modules():
            if isinstance(module, FSDPModule):
                # a sum: the loss was divided before, by the count over all processes
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)
        self.pairs = [(shards, shards) for shards in masters.parameters()]

    def losses(self, objective: Objective, batch: Batch, *, last: bool) -> Losses:  # noqa: ARG002
        """The objective's; each part's gradients are summed at once, onto the shards."""
        found: list[Losses] = []

        def work(model: nn.Module) -> list[Tensor]:
            found.append(objective(model, batch))
            return [term.sum for term in found[0].terms.values()]  # tensors that FSDP can see

        self._root(work)
        return found[0]

    @torch.no_grad()
    def evaluate(self, work: Callable[[nn.Module], dict[str, float]]) -> dict[str, float]:
        """What `work` gives for the model; all call its blocks equally often."""
        try:
            return self._root(work)
        finally:
            if isinstance(self._root, FSDPModule):
                self._root.reshard()  # no backward pass will

    def _gradient_norm(self) -> float:
        meshes: dict[DeviceMesh, list[nn.Parameter]] = {}
        for parameter in self.masters.parameters():
            if isinstance(parameter.grad, DTensor):
                meshes.setdefault(parameter.grad.device_mesh, []).append(parameter)
        norms = [
            whole(torch.nn.utils.get_total_norm([p.grad for p in group if p.grad is not None]))
            for group in meshes.values()
        ]
        return float(torch.stack(norms).norm())

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Overwrite the masters: each process keeps its shards of the whole tensors given."""
        masters = self.masters.state_dict()
        if masters.keys() != state.keys():
            raise KeyError(f"weights of other names: {sorted(masters.keys() ^ state.keys())[:3]}")
        for name, own in masters.items():
            local(own).copy_(local(like(state[name], own)))

    def gathered(self) -> Network | None:
        """The whole model, in the first process alone; all take part."""
        state = {}
        for name, shards in self.masters.state_dict().items():
            tensor = whole(shards).cpu()
            if self._world.first:
                state[name] = tensor
        if not self._world.first:
            return None
        with torch.device("meta"):
            network = build_network(self.masters.config)
        network.load_state_dict(state, assign=True)
        if isinstance(network, Decoder):
            network.tie_weights()
        return network


class OnOwnHeads(ParallelStyle):
    """A norm of single heads, of which each process has some: its weight learns from all."""

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        def begin(_module: nn.Module, inputs: tuple[Tensor, ...], mesh: DeviceMesh) -> Any:
            return DTensor.from_local(inputs[0], mesh, [Shard(1)], run_check=False)

        def end(_module: nn.Module, outputs: Any, _mesh: DeviceMesh) -> Any:
            return outputs.to_local()

        return distribute_module(module, device_mesh, input_fn=begin, output_fn=end)


def split_blocks(model: Decoder, mesh: DeviceMesh) -> None:
    """Deal out the heads and the neurons of every block."""
    # gathering a matrix that is cut both ways takes two rounds, as it must; nobody needs to know
    logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)
    plan = {
        "self_attn.q_proj": ColwiseParallel(),
        "self_attn.k_proj": ColwiseParallel(),
        "self_attn.v_proj": ColwiseParallel(),
        "self_attn.o_proj": RowwiseParallel(),
        "mlp.up_proj": ColwiseParallel(),
        "mlp.down_proj": RowwiseParallel(),
    }
    if model.config.activation == "swiglu":
        plan["mlp.gate_proj"] = ColwiseParallel()
    if model.config.qk_norm:
        plan |= {"self_attn.q_norm": OnOwnHeads(), "self_attn.k_norm": OnOwnHeads()}
    for block in model.layers:
        parallelize_module(block, mesh, plan)
