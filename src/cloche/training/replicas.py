"""Every process with a whole model of its own: PyTorch's DistributedDataParallel.

While the backward pass goes on, gradients that are ready are already summed. The sum is taken in
float32 whatever the passes compute in, and it is a sum, not a mean: the loss was divided before,
by the count over all processes.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import GradBucket  # pyright: ignore[reportPrivateImportUsage]
from torch.nn.parallel import DistributedDataParallel

from cloche.data.batches import Batch
from cloche.model.build import Network
from cloche.training.distributed import World
from cloche.training.objectives import Losses, Objective
from cloche.training.precision import ComputeModel


class Called(nn.Module):
    """A module whose forward is whatever is to be done with the model inside.

    An objective may call parts of a model one by one; a wrapper that watches forward and backward
    passes, as PyTorch's for many processes do, has to see all of that as one.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[nn.Module], Any]) -> Any:
        """What `work` gives for the model."""
        return work(self.model)


class ReplicatedModel(ComputeModel):
    """A whole model in each process; their gradients are summed in the last part of a step."""

    def __init__(self, masters: Network, *, dtype: torch.dtype, world: World) -> None:
        super().__init__(masters, dtype=dtype)
        assert world.mesh is not None, "joined before models are built"
        self._masters_of = {id(low): master for master, low in self.pairs}
        self._module = DistributedDataParallel(
            Called(self.model), process_group=world.mesh.get_group("data")
        )
        self._module.register_comm_hook(None, self._sum_bucket)
        self._last = True
        self._world = world

    def losses(self, objective: Objective, batch: Batch, *, last: bool) -> Losses:
        """The objective's; only the step's last part has its gradients summed."""
        self._last = last
        with nullcontext() if last else self._module.no_sync():
            return self._module(lambda model: objective(model, batch))

    @torch.no_grad()
    def collect_gradients(self, *, last: bool) -> None:
        """Have the masters' gradients complete: in the last part, those of all processes."""
        if not last:
            super().collect_gradients(last=False)
        elif self.separate:  # summed into the masters already
            for _, low in self.pairs:
                low.grad = None

    def gathered(self) -> Network | None:
        """The masters, in the process that writes."""
        return self.masters if self._world.first else None

    def _sum_bucket(self, _state: object, bucket: GradBucket) -> torch.futures.Future[Tensor]:
        """Begin to sum some gradients over all processes; called while the backward pass runs."""
        group = self._module.process_group
        buffer = bucket.buffer()
        if not self.separate:
            return _began(dist.all_reduce(buffer, group=group, async_op=True), buffer)
        # the copy's gradients of this part, and the masters' of the parts before, in float32
        masters = [self._masters_of[id(low)] for low in bucket.parameters()]
        whole = buffer.float()
        begin = 0
        for master in masters:
            part = whole[begin : begin + master.numel()].view_as(master)
            if master.grad is not None:
                part.add_(master.grad)
            master.grad = part  # filled in by the sum
            begin += master.numel()
        return _began(dist.all_reduce(whole, group=group, async_op=True), buffer)


def _began(work: dist.Work | None, buffer: Tensor) -> torch.futures.Future[Tensor]:
    assert work is not None, "asynchronous"
    return work.get_future().then(lambda _: buffer)
