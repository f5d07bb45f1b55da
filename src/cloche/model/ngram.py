"""The counted language model: what followed the last few tokens in the text, smoothed.

Nothing is learned by gradients. For each order k there is a table of the k-grams that were seen:
the share of probability that each gives its last token, and for each (k-1)-gram how much is left
for the order below. The tables are made in `training/counting.py` and `training/smoothing.py`.

The k-grams of a table are sorted by (place of their first k-1 tokens in the table below, last
token), so that the followers of a context lie side by side and one binary search finds an n-gram.
It is the forward trie of language model toolkits: Heafield 2011, https://aclanthology.org/W11-2123
"""

from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cloche.model.cache import CacheView
from cloche.model.config import ModelConfig
from cloche.model.record import Record

UNSEEN = -1
"""In place of a context that the text did not hold (or whose n-grams were pruned)."""
ABSENT = -2
"""In place of a context that would begin before its document does."""
GATHERED = 1 << 22
"""Table entries spread over the vocabulary at once, which bounds the memory beside the result."""


class OrderTable(nn.Module):
    """The n-grams of one order, all buffers; `contexts` is the size of the table below."""

    def __init__(self, entries: int, *, contexts: int) -> None:
        super().__init__()
        self.keys: Tensor
        self.shares: Tensor
        self.backoffs: Tensor
        # place of the context times vocabulary size, plus token; ascending
        self.register_buffer("keys", torch.zeros(entries, dtype=torch.int64))
        # probability of each entry's token after its context, before what the order below adds
        self.register_buffer("shares", torch.zeros(entries, dtype=torch.float32))
        # what each context leaves to the order below
        self.register_buffer("backoffs", torch.ones(contexts, dtype=torch.float32))


class NGram(nn.Module):
    """Log probabilities by counts of up to `order` tokens. Serves the same contract as `Decoder`.

    `hidden` finds the contexts that end at each token, `head` gives what follows them.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert config.order is not None, "an n-gram model has an order"
        self.config = config
        self.order = config.order
        # The probability of each token by itself: the order that looks at nothing. It bears the
        # name of the other families' table by token, which is where users look for the device.
        self.embed_tokens = nn.Embedding.from_pretrained(
            torch.full((config.vocab_size, 1), 1 / config.vocab_size), freeze=True
        )
        self.orders = nn.ModuleDict(
            {
                str(order): OrderTable(config.ngrams[order - 1], contexts=config.ngrams[order - 2])
                for order in range(2, self.order + 1)
            }
        )

    def hidden(
        self,
        ids: Int[Tensor, "batch time"],
        *,
        positions: Int[Tensor, "batch time"] | None = None,  # noqa: ARG002  contract of all models
        documents: Int[Tensor, "batch time"] | None = None,
        cache: CacheView | None = None,
        record: Record | None = None,
    ) -> Int[Tensor, "batch time order"]:
        """The contexts that end at each token: column m has the place of its last m tokens.

        It is UNSEEN or ABSENT where there is none. `documents` numbers the document of each token
        in packed rows: a context never reaches into another. With a `cache` the ids are new
        tokens of its rows, and the cache grows by them.
        """
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < self.config.vocab_size:
            raise IndexError(f"the ids of this model are 0 to {self.config.vocab_size - 1}")
        if cache is None:
            window = self._window(ids, None, documents=documents)
        else:
            window = self._window(self._remembered(ids, cache), cache.positions, documents=None)
        contexts = [torch.zeros_like(ids)]
        places = window
        for length in range(1, self.order):
            if length > 1:  # a context of this length: the one before it, and one token more
                places = self._find(length, places[..., 1:], window[..., : places.shape[-1] - 1])
            contexts.append(places[..., 0])
        found = torch.stack(contexts, dim=-1)
        if record is not None:
            record("contexts", found)
        if cache is not None:
            cache.commit()
        return found

    def head(self, hidden: Int[Tensor, "*batch order"]) -> Float[Tensor, "*batch vocab"]:
        """Log probabilities of every token after the contexts that `hidden` found, in float32."""
        contexts = hidden.reshape(-1, self.order)
        alone = self.embed_tokens.weight[:, 0].float()
        probabilities = alone.repeat(len(contexts), 1)
        for order in range(2, self.order + 1):
            self._refine(probabilities, contexts[:, order - 1], order=order)
        return probabilities.log_().view(*hidden.shape[:-1], -1)

    def forward(
        self,
        ids: Int[Tensor, "batch time"],
        *,
        positions: Int[Tensor, "batch time"] | None = None,
        documents: Int[Tensor, "batch time"] | None = None,
        cache: CacheView | None = None,
        record: Record | None = None,
    ) -> Float[Tensor, "batch time vocab"]:
        """Log probabilities of the token after each token."""
        return self.head(
            self.hidden(ids, positions=positions, documents=documents, cache=cache, record=record)
        )

    def likelihoods(
        self, hidden: Int[Tensor, "*batch order"], targets: Int[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch"]:
        """The probability of one token after each context, without the rest of the vocabulary."""
        found = self.embed_tokens.weight[targets, 0].float()
        for order in range(2, self.order + 1):
            table, contexts = self._table(order), hidden[..., order - 1]
            known = contexts >= 0
            entries = self._find(order, contexts, targets)
            lower = torch.where(contexts == ABSENT, found, self._below(found))
            kept = torch.where(known, _at(table.backoffs, contexts, known), 1.0)
            seen = entries >= 0
            found = kept * lower + torch.where(seen, _at(table.shares, entries, seen), 0.0)
        return found

    def _refine(
        self,
        probabilities: Float[Tensor, "rows vocab"],
        contexts: Int[Tensor, " rows"],
        *,
        order: int,
    ) -> None:
        """Mix the order's shares into what the orders below say, in place."""
        table = self._table(order)
        if self.config.smoothing == "additive":
            probabilities.masked_fill_((contexts != ABSENT)[:, None], 1 / self.config.vocab_size)
        known = contexts >= 0
        kept = torch.where(known, _at(table.backoffs, contexts, known), 1.0)
        probabilities.mul_(kept[:, None])
        rows = known.nonzero()[:, 0]
        begins, ends = self._followers(table, contexts[rows])
        lengths = ends - begins
        flat = probabilities.view(-1)
        for chosen in _portions(lengths):
            entries, owners = _ranges(begins[chosen], lengths[chosen])
            tokens = table.keys[entries] % self.config.vocab_size
            places = rows[chosen][owners] * self.config.vocab_size + tokens
            flat.index_add_(0, places, table.shares[entries].float())

    def _below(self, found: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """What the mixture rests on: the order below, or all tokens alike."""
        if self.config.smoothing == "additive":
            return torch.full_like(found, 1 / self.config.vocab_size)
        return found

    def _table(self, order: int) -> OrderTable:
        table = self.orders[str(order)]
        assert isinstance(table, OrderTable)
        return table

    def _followers(
        self, table: OrderTable, contexts: Int[Tensor, " rows"]
    ) -> tuple[Int[Tensor, " rows"], Int[Tensor, " rows"]]:
        """Where the entries of each context begin and end in the table."""
        first = contexts * self.config.vocab_size
        begins = torch.searchsorted(table.keys, first)
        return begins, torch.searchsorted(table.keys, first + self.config.vocab_size)

    def _find(
        self, order: int, contexts: Int[Tensor, "*places"], tokens: Int[Tensor, "*places"]
    ) -> Int[Tensor, "*places"]:
        """Places of the n-grams (context, token) in the table of their order.

        UNSEEN where there is none; a context that is UNSEEN or ABSENT stays what it is.
        """
        keys = self._table(order).keys
        if not len(keys):
            return contexts.clamp(max=UNSEEN)
        wanted = contexts * self.config.vocab_size + tokens
        places = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
        places = torch.where(keys[places] == wanted, places, UNSEEN)
        return torch.where(contexts < 0, contexts, places)

    def _window(
        self,
        ids: Int[Tensor, "batch keys"],
        positions: Int[Tensor, "batch time"] | None,
        *,
        documents: Int[Tensor, "batch keys"] | None,
    ) -> Int[Tensor, "batch time window"]:
        """The last order - 1 tokens at each position, newest first; ABSENT before the start."""
        if positions is None:
            positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        back = torch.arange(self.order - 1, device=ids.device)
        places = positions[..., None] - back  # (batch, time, order - 1)
        absent = places < 0
        places = places.clamp(min=0).flatten(1)
        if documents is not None:
            there = documents.gather(1, places).view_as(absent)
            absent = absent | (there != documents.gather(1, positions)[..., None])
        return ids.gather(1, places).view_as(absent).masked_fill(absent, ABSENT)

    def _remembered(
        self, ids: Int[Tensor, "batch time"], cache: CacheView
    ) -> Int[Tensor, "batch keys"]:
        """All ids of the cache's rows, the new ones stored.

        An id is kept as three bytes in place of a key: numbers below 256 are exact in every type
        of floating-point number, bfloat16 too.
        """
        weight = self.embed_tokens.weight
        digits = torch.stack((ids >> 16, (ids >> 8) & 255, ids & 255), dim=-1)
        stored = digits.to(weight.dtype)[:, None]  # one head
        held, _ = cache.append(0, stored, stored)
        high, middle, low = held[:, 0].long().unbind(-1)
        return (high << 16) | (middle << 8) | low


def _at(
    table: Float[Tensor, " entries"], places: Int[Tensor, "*places"], valid: Tensor
) -> Float[Tensor, "*places"]:
    """The table's numbers at valid places, any number elsewhere."""
    if not len(table):
        return torch.zeros_like(places, dtype=torch.float32)
    return table[torch.where(valid, places, 0)].float()


def _portions(lengths: Int[Tensor, " rows"]) -> list[slice]:
    """Rows in portions of about GATHERED entries in all."""
    ends = lengths.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    limits = torch.tensor(range(GATHERED, total, GATHERED), dtype=torch.int64, device=ends.device)
    cuts = [0, *torch.searchsorted(ends, limits).tolist(), len(lengths)]
    return [slice(begin, end) for begin, end in pairwise(cuts) if begin < end]


def _ranges(
    begins: Int[Tensor, " rows"], lengths: Int[Tensor, " rows"]
) -> tuple[Int[Tensor, " entries"], Int[Tensor, " entries"]]:
    """The numbers begin, begin + 1, ... of each row one after the other, and whose they are."""
    owners = torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)
    before = lengths.cumsum(0) - lengths
    steps = torch.arange(len(owners), device=lengths.device) - before[owners]
    return begins[owners] + steps, owners
