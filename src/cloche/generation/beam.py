"""Greedy and beam search: the target that an encoder-decoder finds likeliest for a source.

Greedy search takes the likeliest token each time. Beam search keeps several beginnings at once and
compares whole targets by their log probability divided by a length penalty, without which short
ones would win: ((5 + tokens) / 6) ^ alpha, the end-of-text token counted.

Source: Wu et al. 2016, section 7, https://arxiv.org/abs/1609.08144 (its coverage penalty left out)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cloche.errors import RequestError, SettingError
from cloche.model.cache import KeyValueCache
from cloche.model.seq2seq import EncoderDecoder, Memory

LENGTH_PENALTY = 0.6
"""Alpha, as in Vaswani et al. 2017, section 6.1."""


@dataclass(frozen=True)
class Hypothesis:
    """A target that was found for a source."""

    ids: tuple[int, ...]
    """Its tokens, without the one that ended it."""
    log_probability: float
    """Of all its tokens together, in nats, the one that ended it among them."""
    score: float
    """The log probability over the length penalty: what beam search compares."""
    finished: bool
    """Whether it ended by itself; else it was cut off."""


@dataclass(frozen=True)
class Search:
    """How a target is searched for."""

    bos: int
    """The token that stands before every target."""
    eos: int
    """The token that ends a source, and a target."""
    max_tokens: int
    """Most tokens of a target, the one that ends it among them."""
    beams: int = 1
    """Beginnings kept at once; 1 is greedy search."""
    length_penalty: float = LENGTH_PENALTY
    """Alpha: 0 compares log probabilities as they are, 1 nearly their means."""

    def __post_init__(self) -> None:
        if self.beams < 1:
            raise SettingError(f"the beams must be at least 1, got {self.beams}; 1 is greedy")
        if self.max_tokens < 1:
            raise SettingError(f"a target has at least 1 token, got {self.max_tokens}")
        if not self.length_penalty >= 0.0:
            raise SettingError(f"the length penalty must not be negative: {self.length_penalty}")

    def score(self, log_probability: float, tokens: int) -> float:
        """What a target of so many tokens is compared by."""
        return log_probability / ((5.0 + tokens) / 6.0) ** self.length_penalty


@torch.inference_mode()
def find_targets(
    model: EncoderDecoder, sources: Sequence[Sequence[int]], search: Search
) -> list[Hypothesis]:
    """The best target found for each source, all searched for in one batch.

    `sources` are ids without the end-of-text token. Raises RequestError where one is empty or does
    not fit the model's context, or where the model gives no numbers.
    """
    if model.training:
        raise RuntimeError("the model is in training mode: call model.eval() before translating")
    if not sources:
        return []
    memory = _read(model, sources, search)
    if search.beams == 1:
        return _Greedy(model, memory, search).run()
    return _Beams(model, memory, search).run()


def _read(model: EncoderDecoder, sources: Sequence[Sequence[int]], search: Search) -> Memory:
    context = model.config.context
    for source in sources:
        if not 1 <= len(source) < context:
            raise RequestError(
                f"a source has {len(source)} tokens, and the model reads 1 to {context - 1}: "
                "translate it sentence by sentence"
            )
    device = model.embed_tokens.weight.device
    lengths = torch.tensor([len(source) + 1 for source in sources], device=device)
    longest = int(lengths.max())
    rows = [[*source, *[search.eos] * (longest - len(source))] for source in sources]
    return model.encode(torch.tensor(rows, device=device), lengths=lengths)


class _Decoding:
    """Rows of targets that grow by a token at a time, over a cache of keys and values."""

    def __init__(self, model: EncoderDecoder, memory: Memory, *, rows: int, search: Search) -> None:
        weight = model.embed_tokens.weight
        self.model, self.memory, self.search = model, memory, search
        self.most = min(search.max_tokens, model.config.context)
        self.cache = KeyValueCache(
            model.config, rows=rows, capacity=self.most, device=weight.device, dtype=weight.dtype
        )
        self.rows = [self.cache.allocate() for _ in range(rows)]
        self.newest = torch.full((rows, 1), search.bos, device=weight.device)

    def log_probabilities(self) -> Float[Tensor, "rows vocab"]:
        """Of the token after each row's newest, in float32."""
        view = self.cache.view(self.rows, [1] * len(self.rows))
        hidden = self.model.hidden(self.newest, memory=self.memory, cache=view)
        logits = self.model.head(hidden[:, -1]).float()
        if not bool(logits.amax(dim=-1).isfinite().all()):
            raise RequestError(
                "the model gives no usable numbers: its weights are damaged or its training "
                "diverged; use an earlier checkpoint"
            )
        return logits.log_softmax(dim=-1)

    def go_on(self, origins: Int[Tensor, " rows"], tokens: Int[Tensor, " rows"]) -> None:
        """Have each row be what row `origins[i]` was, with one more token; fewer rows may stay."""
        held = self.cache.lengths[0]
        for store in (self.cache.keys, self.cache.values):
            store[:, : len(origins), :, :held] = store[:, origins, :, :held]
        for row in self.rows[len(origins) :]:
            self.cache.free(row)
        self.rows = self.rows[: len(origins)]
        self.newest = tokens[:, None]


class _Greedy:
    """One beginning for each source."""

    def __init__(self, model: EncoderDecoder, memory: Memory, search: Search) -> None:
        count = len(memory.vectors)
        self.search = search
        self.decoding = _Decoding(model, memory, rows=count, search=search)
        self.ids: list[list[int]] = [[] for _ in range(count)]
        self.totals = [0.0] * count
        self.finished = [False] * count
        self.active = list(range(count))
        """The source of each row."""

    def run(self) -> list[Hypothesis]:
        for _ in range(self.decoding.most):
            found, tokens = self.decoding.log_probabilities().max(dim=-1)
            kept = self._take(found.tolist(), tokens.tolist())
            if not kept:
                break
            self._go_on(kept, tokens)
        return [
            Hypothesis(
                tuple(ids),
                total,
                self.search.score(total, len(ids) + finished),
                finished,
            )
            for ids, total, finished in zip(self.ids, self.totals, self.finished, strict=True)
        ]

    def _take(self, found: list[float], tokens: list[int]) -> list[int]:
        """Add the tokens to their targets; the rows that are not at their end."""
        kept = []
        for row, source in enumerate(self.active):
            self.totals[source] += found[row]
            if tokens[row] == self.search.eos:
                self.finished[source] = True
            else:
                self.ids[source].append(tokens[row])
                kept.append(row)
        return kept

    def _go_on(self, kept: list[int], tokens: Tensor) -> None:
        origins = torch.tensor(kept, device=tokens.device)
        if len(kept) < len(self.active):
            self.active = [self.active[row] for row in kept]
            self.decoding.memory = self.decoding.memory.rows(origins)
        self.decoding.go_on(origins, tokens[origins])


@dataclass
class _Source:
    """The search for one source's target."""

    number: int
    live: list[tuple[float, tuple[int, ...]]] = field(default_factory=lambda: [(0.0, ())])
    """Log probability and tokens of each beginning, the likeliest first."""
    best: Hypothesis | None = None
    """The best that has ended."""


class _Beams:
    """Several beginnings for each source.

    A source is done when no beginning of its could still overtake the best target that has ended:
    a log probability only falls, and the penalty is largest for the longest target.
    """

    def __init__(self, model: EncoderDecoder, memory: Memory, search: Search) -> None:
        count, self.beams = len(memory.vectors), search.beams
        self.search = search
        each = torch.arange(count, device=memory.vectors.device).repeat_interleave(self.beams)
        self.decoding = _Decoding(model, memory.rows(each), rows=count * self.beams, search=search)
        self.sources = [_Source(number) for number in range(count)]

    def run(self) -> list[Hypothesis]:
        active = self.sources
        for length in range(1, self.decoding.most + 1):
            found, origins, tokens = self._likeliest(active)
            last = length == self.decoding.most
            rows: list[list[int]] = []
            for source, *candidates in zip(active, found, origins, tokens, strict=True):
                rows.append(self._extend(source, list(zip(*candidates, strict=True)), length))
            going_on = [
                place
                for place, source in enumerate(active)
                if not last and not self._is_settled(source)
            ]
            if not going_on:
                break
            self._go_on(active, going_on, rows)
            active = [active[place] for place in going_on]
        return [self._outcome(source) for source in self.sources]

    def _likeliest(
        self, active: list[_Source]
    ) -> tuple[list[list[float]], list[list[int]], list[list[int]]]:
        """For each source, log probability, beam and token of the likeliest next beginnings.

        Twice as many as there are beams: at most one in each beam ends, so enough go on.
        """
        steps = self.decoding.log_probabilities()
        vocab = steps.shape[-1]
        before = torch.full((len(active), self.beams), float("-inf"), device=steps.device)
        for place, source in enumerate(active):
            totals = torch.tensor([total for total, _ in source.live], device=steps.device)
            before[place, : len(totals)] = totals
        totals = (before[:, :, None] + steps.view(len(active), self.beams, vocab)).flatten(1)
        found = totals.topk(min(2 * self.beams, totals.shape[1]), dim=-1)
        places = found.indices
        return found.values.tolist(), (places // vocab).tolist(), (places % vocab).tolist()

    def _extend(
        self, source: _Source, candidates: list[tuple[float, int, int]], length: int
    ) -> list[int]:
        """Take the candidates into the search; the beam each new beginning comes from."""
        live, beams = [], []
        for rank, (total, beam, token) in enumerate(candidates):
            if total == float("-inf") or len(live) == self.beams:
                break
            ids = source.live[beam][1]
            if token != self.search.eos:
                live.append((total, (*ids, token)))
                beams.append(beam)
            elif rank < self.beams:  # an ending must be among the likeliest, as a beginning must
                self._end(source, Hypothesis(ids, total, self.search.score(total, length), True))
        source.live = live
        return beams

    def _end(self, source: _Source, ended: Hypothesis) -> None:
        if source.best is None or ended.score > source.best.score:
            source.best = ended

    def _is_settled(self, source: _Source) -> bool:
        if not source.live:
            return True
        hope = self.search.score(source.live[0][0], self.decoding.most)
        return source.best is not None and source.best.score >= hope

    def _go_on(self, active: list[_Source], going_on: list[int], rows: list[list[int]]) -> None:
        """Move the cache's rows to the new beginnings; beams that have none repeat the first."""
        origins, tokens = [], []
        for place in going_on:
            lives = active[place].live
            for number in range(self.beams):
                chosen = number if number < len(lives) else 0
                origins.append(place * self.beams + rows[place][chosen])
                tokens.append(lives[chosen][1][-1])
        device = self.decoding.newest.device
        places = torch.tensor(origins, device=device)
        if len(going_on) < len(active):
            # all beams of a source look at one memory, so any of its rows will do
            self.decoding.memory = self.decoding.memory.rows(places)
        self.decoding.go_on(places, torch.tensor(tokens, device=device))

    def _outcome(self, source: _Source) -> Hypothesis:
        if source.best is not None:
            return source.best
        total, ids = source.live[0]
        return Hypothesis(ids, total, self.search.score(total, len(ids)), False)
