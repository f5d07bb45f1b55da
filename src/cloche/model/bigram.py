"""The smallest language model: a table with the next token's logits for each token."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from cloche.model.cache import CacheView
from cloche.model.config import ModelConfig
from cloche.model.embedding import Embedding
from cloche.model.record import Record


class Bigram(nn.Module):
    """Logits looked up by the present token alone. Serves the same contract as `Decoder`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = Embedding(config.vocab_size, config.vocab_size)

    def hidden(
        self,
        ids: Int[Tensor, "batch time"],
        *,
        positions: Int[Tensor, "batch time"] | None = None,  # noqa: ARG002  contract of all models
        documents: Int[Tensor, "batch time"] | None = None,  # noqa: ARG002
        cache: CacheView | None = None,
        record: Record | None = None,
    ) -> Float[Tensor, "batch time vocab"]:
        """The rows of the table; order and neighbours make no difference."""
        rows = self.embed_tokens(ids)
        if record is not None:
            record("embedding", rows)
        if cache is not None:
            cache.commit()
        return rows

    def head(self, hidden: Float[Tensor, "*batch vocab"]) -> Float[Tensor, "*batch vocab"]:
        """The rows as they are: they hold logits already."""
        return hidden

    def forward(
        self,
        ids: Int[Tensor, "batch time"],
        *,
        positions: Int[Tensor, "batch time"] | None = None,
        documents: Int[Tensor, "batch time"] | None = None,
        cache: CacheView | None = None,
        record: Record | None = None,
    ) -> Float[Tensor, "batch time vocab"]:
        """Logits of the token after each token."""
        return self.head(
            self.hidden(ids, positions=positions, documents=documents, cache=cache, record=record)
        )
