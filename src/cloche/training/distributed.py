"""The processes of one training: who they are, and the little that they tell each other.

Sums go through the process group (gloo between processors, NCCL between GPUs), texts through the
launcher's store, as UTF-8: nothing is pickled. A process alone has a `World` too, which does
nothing and costs nothing.
"""

import gc
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, Store  # pyright: ignore[reportPrivateImportUsage]
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.rendezvous import rendezvous

from cloche.errors import ClocheError
from cloche.training.launch import FirstProcessError, Launch, read_launch

PATIENCE = timedelta(minutes=30)
"""How long one process waits for another in a sum: an evaluation or a save may come between.
One that dies is noticed at once."""
LAST_PAUSE = 0.1  # seconds for the group's threads to let go
LONGEST_NAP = 0.2  # seconds between two looks for a text that another process writes


class LostProcessError(ClocheError):
    """Another process of the training is gone, and with it this step."""


class World:
    """All processes of a training, seen from one of them; the default is a process alone.

    `rank` and `size` count processes. Where several share each sequence (tensor parallelism),
    `data_rank` and `data_size` count the groups that learn from different sequences.
    """

    rank = 0
    size = 1
    local_rank = 0
    tensor_parallel = 1
    mesh: DeviceMesh | None = None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, tells and decides."""
        return self.rank == 0

    @property
    def data_size(self) -> int:
        """How many groups learn from different sequences."""
        return self.size // self.tensor_parallel

    @property
    def data_rank(self) -> int:
        """The number of this process's group."""
        return self.rank // self.tensor_parallel

    def join(self, device: str, *, tensor_parallel: int = 1) -> None:
        """Meet the others; sums and meshes need it, texts do not."""

    def sum_counts(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Each count summed over the groups; all name the same."""
        return dict(counts)

    def sum_numbers(self, numbers: Sequence[float]) -> list[float]:
        """Each number summed over the groups, in float64."""
        return list(numbers)

    def largest(self, number: int) -> int:
        """The largest that any process gives."""
        return number

    def first_number(self, number: int) -> int:
        """The first process's number, in all."""
        return number

    def first_text(self, work: Callable[[], str]) -> str:
        """What `work` gives in the first process, in all of them.

        Where it fails there, all others raise FirstProcessError with what it said.
        """
        return work()

    def barrier(self) -> None:
        """Wait until all have come here."""

    def leave(self) -> None:
        """Let go of the others."""


class ManyProcesses(World):
    """One process among several; `join` comes before all but texts."""

    def __init__(self, launch: Launch) -> None:
        self.rank, self.size, self.local_rank = launch.rank, launch.size, launch.local_rank
        # the launcher's own store where it has one, else one that the first process serves
        store, _, _ = next(rendezvous("env://", launch.rank, launch.size))
        self._store = PrefixStore(meet(store, rank=launch.rank, size=launch.size), store)
        self._texts = 0

    def join(self, device: str, *, tensor_parallel: int = 1) -> None:
        """Meet the others, and lay out who shares sequences with whom."""
        if device == "cuda":
            torch.cuda.set_device(self.local_rank)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo",
            store=PrefixStore("cloche-group", self._store),
            rank=self.rank,
            world_size=self.size,
            timeout=PATIENCE,
        )
        self.tensor_parallel = tensor_parallel
        self.mesh = init_device_mesh(
            device, (self.data_size, tensor_parallel), mesh_dim_names=("data", "tensor")
        )

    def sum_counts(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Each count summed over the groups; all name the same."""
        names = sorted(counts)
        summed = torch.tensor([counts[name] for name in names], dtype=torch.int64)
        dist.all_reduce(summed)
        whole = [int(value) // self.tensor_parallel for value in summed]
        return dict(zip(names, whole, strict=True))

    def sum_numbers(self, numbers: Sequence[float]) -> list[float]:
        """Each number summed over the groups, in float64."""
        summed = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(summed)
        return (summed / self.tensor_parallel).tolist()

    def largest(self, number: int) -> int:
        """The largest that any process gives."""
        found = torch.tensor([number], dtype=torch.int64)
        dist.all_reduce(found, op=dist.ReduceOp.MAX)
        return int(found.item())

    def first_number(self, number: int) -> int:
        """The first process's number, in all."""
        told = torch.tensor([number], dtype=torch.int64)
        dist.broadcast(told, src=0)
        return int(told.item())

    def first_text(self, work: Callable[[], str]) -> str:
        """What `work` gives in the first process; it may take hours, no clock runs out."""
        self._texts += 1
        key = f"cloche-text-{self._texts}"
        if self.rank:
            told = json.loads(self._wait_for(key))
            if "error" in told:
                raise FirstProcessError(told["error"])
            return told["text"]
        try:
            text = work()
        except BaseException as exc:
            said = str(exc) if isinstance(exc, ClocheError) else repr(exc)
            self._store.set(key, json.dumps({"error": said}))
            raise
        self._store.set(key, json.dumps({"text": text}))
        return text

    def barrier(self) -> None:
        """Wait until all have come here."""
        self.largest(0)

    def leave(self) -> None:
        """Let go of the others, after the last of them is done."""
        if dist.is_initialized():
            dist.destroy_process_group()
            # a thread of the group that frees its last tensor needs Python's lock: where Python is
            # shutting down by then, it aborts the process ("terminate called without an active
            # exception"), after all was saved. While this thread sleeps, the lock is free.
            self.mesh = None
            gc.collect()
            time.sleep(LAST_PAUSE)

    def _wait_for(self, key: str) -> bytes:
        for _ in naps():
            if self._store.check([key]):
                break
        return self._store.get(key)


def meet(store: Store, *, rank: int, size: int) -> str:
    """A name for this meeting of all processes, the same in all, that no earlier one had.

    The launcher's store keeps what processes wrote before they were started anew, and says nothing
    of it. So the first process names the meeting, each other answers with a word of its own, and
    the first one's list of these words is the proof, for each, that it is not an old one's.
    """
    own = uuid.uuid4().hex
    if rank == 0:
        store.set("cloche-meeting", own)
        answers = [f"{own}/{other}" for other in range(1, size)]
        for _ in naps():
            if not answers or store.check(answers):
                break
        store.set(f"{own}/all", " ".join(store.get(answer).decode() for answer in answers))
        return own
    for _ in naps():
        if not store.check(["cloche-meeting"]):
            continue
        meeting = store.get("cloche-meeting").decode()
        store.set(f"{meeting}/{rank}", own)
        if store.check([f"{meeting}/all"]) and own in store.get(f"{meeting}/all").decode().split():
            return meeting
    raise AssertionError("naps never end")


def naps() -> Iterator[None]:
    """Comes again and again, soon at first and then every LONGEST_NAP seconds."""
    nap = 0.001
    while True:
        yield
        time.sleep(nap)
        nap = min(2 * nap, LONGEST_NAP)


@contextmanager
def losses_told(world: World) -> Iterator[None]:
    """Inside, the loss of another process is a LostProcessError, whoever notices it."""
    try:
        yield
    except RuntimeError as exc:
        # how NCCL and the store say it, and how gloo does
        if world.size == 1 or not (isinstance(exc, dist.DistError) or "gloo" in str(exc)):
            raise
        raise LostProcessError(
            f"another process of this training is gone, and all {world.size} go on together or not "
            "at all; what was saved before stays"
        ) from exc


def this_launch() -> Launch | None:
    """What a launcher says of this process; None where it is alone."""
    return read_launch(os.environ)


def this_world(launch: Launch | None) -> World:
    """The world that the launcher put this process into, or that of a process alone."""
    return World() if launch is None or launch.size == 1 else ManyProcesses(launch)


def even_share(total: int, *, parts: int, number: int) -> tuple[int, int]:
    """Where part `number` of `parts` begins, and its size; sizes differ by one at most.

    The parts lie end to end, so that together they are 0 .. total - 1, however many there are.
    """
    begin, end = (total * edge // parts for edge in (number, number + 1))
    return begin, end - begin


def share_of_step(batch: int, *, world: World, accumulate: int, number: int) -> tuple[int, int]:
    """First sample (counted within the step) and size of part `number` of this process's share."""
    begin, size = even_share(batch, parts=world.data_size, number=world.data_rank)
    offset, part = even_share(size, parts=accumulate, number=number)
    return begin + offset, part
