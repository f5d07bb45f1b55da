"""Which examples come when: a pure function of seed and global index."""

from collections.abc import Sequence

import numpy as np

from cloche.data.examples import Example, ExampleBatch, lay_out
from cloche.data.order import mix, shuffled
from cloche.errors import DataError

_EPOCH = 7  # keeps this order apart from others that mix the same seed


class Order:
    """Numbers 0 .. count - 1, shuffled anew in each epoch; sample g is the same in every run."""

    def __init__(self, count: int, *, seed: int) -> None:
        if count < 1:
            raise DataError("there is nothing to learn from: the training part holds no record")
        self.count = count
        self.seed = seed

    def numbers(self, first_sample: int, *, size: int) -> list[int]:
        """Those of samples first_sample .. first_sample + size - 1."""
        epochs, places = np.divmod(np.arange(first_sample, first_sample + size), self.count)
        return [
            int(shuffled(place[None], size=self.count, key=mix(self.seed, int(epoch), _EPOCH))[0])
            for epoch, place in zip(epochs, places, strict=True)
        ]


class ExampleOrder:
    """Batches of examples in that order, packed into rows of about `row_tokens`."""

    def __init__(self, examples: Sequence[Example], *, seed: int, row_tokens: int) -> None:
        self.examples = examples
        self.order = Order(len(examples), seed=seed)
        self.row_tokens = row_tokens

    def batch(self, first_sample: int, *, size: int) -> ExampleBatch:
        """The batch of samples first_sample .. first_sample + size - 1."""
        numbers = self.order.numbers(first_sample, size=size)
        return lay_out([self.examples[n] for n in numbers], row_tokens=self.row_tokens)
