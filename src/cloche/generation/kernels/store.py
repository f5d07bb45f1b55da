"""Keys and values as the kernels keep them: see attention.hpp.

A layer that looks back a window only keeps no more than that: token after token takes the place of
the oldest. So a row cannot go back as far as it likes.
"""

import ctypes

import torch

from cloche.model.config import ModelConfig

WINDOWED_PART = 256
"""Tokens of a prompt that are read at once, where layers keep no more than their window."""
WHOLE_SLOTS = 64  # attention of prompts reads so many keys at a time, never around the end


class CacheDescription(ctypes.Structure):
    """What the kernels are told of it."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("keys", "values", "slots")),
        *((name, ctypes.c_int32) for name in ("capacity", "bfloat16")),
    ]


class Store:
    """Rows of keys and values for every layer."""

    def __init__(
        self, config: ModelConfig, *, rows: int, capacity: int, padded: int, half: bool
    ) -> None:
        self._slots = [slots_of(config, layer, capacity=capacity) for layer in range(config.layers)]
        self.windowed = any(slots < capacity for slots in self._slots)
        """Whether any layer keeps less than all."""
        self._capacity, self._window = capacity, config.window
        dtype = torch.bfloat16 if half else torch.float32
        # one piece of memory for all layers with so many slots
        shapes = {
            slots: (self._slots.count(slots), rows, config.kv_heads, slots, padded)
            for slots in self._slots
        }
        # zeros: what is masked is still multiplied, and 0 times a stray NaN is NaN
        self._keys = {n: torch.zeros(shape, dtype=dtype) for n, shape in shapes.items()}
        self._values = {n: torch.zeros(shape, dtype=dtype) for n, shape in shapes.items()}
        keys, values = (self._addresses(stores) for stores in (self._keys, self._values))
        slots = (ctypes.c_int32 * config.layers)(*self._slots)
        self._kept = (keys, values, slots)
        addresses = (ctypes.addressof(part) for part in self._kept)
        self.described = CacheDescription(*addresses, capacity, half)

    @property
    def bytes(self) -> int:
        """Memory of all rows."""
        stores = (*self._keys.values(), *self._values.values())
        return sum(store.numel() * store.element_size() for store in stores)

    def copy(self, source: int, target: int, *, length: int) -> None:
        """Have row `target` begin with the first `length` tokens of row `source`."""
        for stores in (self._keys, self._values):
            for slots, store in stores.items():
                some = length if slots == self._capacity else slots
                store[:, target, :, :some] = store[:, source, :, :some]

    def clear(self, row: int) -> None:
        """Forget what a row holds."""
        for store in (*self._keys.values(), *self._values.values()):
            store[:, row].zero_()

    def can_go_back(self, *, reached: int, to: int) -> bool:
        """Whether nothing that the token behind the first `to` looks at has been written over."""
        if not self.windowed or self._window is None:
            return True
        fewest = min(self._slots)
        return reached <= fewest or reached - to <= fewest - self._window

    def _addresses(self, stores: dict[int, torch.Tensor]) -> ctypes.Array[ctypes.c_void_p]:
        """Where each layer's memory begins."""
        taken = dict.fromkeys(stores, 0)
        found = []
        for slots in self._slots:
            found.append(stores[slots][taken[slots]].data_ptr())
            taken[slots] += 1
        return (ctypes.c_void_p * len(found))(*found)


def slots_of(config: ModelConfig, layer: int, *, capacity: int) -> int:
    """How many tokens a layer keeps in a row of `capacity`."""
    if config.window is None or layer < config.full_layers:
        return capacity
    needed = config.window + WINDOWED_PART
    return min(capacity, needed + -needed % WHOLE_SLOTS)
