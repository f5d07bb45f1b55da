"""An order that needs no memory: shuffling as a pure function of (seed, index).

A Feistel network turns an index into another one, every index of a range exactly once, so that a
resumed run, or one on other machines, computes the order instead of restoring it.
Source: Luby and Rackoff 1988; cycle walking: Black and Rogaway 2002.
"""

import numpy as np

ROUNDS = 6
_U64 = np.uint64


def mix(*numbers: int) -> int:
    """A well mixed 64-bit number from several integers (splitmix64 over each in turn)."""
    state = np.zeros(1, _U64)
    for number in numbers:
        state = _scramble(state ^ _U64(number & 0xFFFFFFFFFFFFFFFF))
    return int(state[0])


def shuffled(indices: np.ndarray, *, size: int, key: int) -> np.ndarray:
    """The places of `indices` (int64, each below `size`) in the permutation named by `key`."""
    if size <= 1:
        return np.zeros_like(indices)
    half_bits = max(1, ((size - 1).bit_length() + 1) // 2)
    values = _feistel(indices.astype(_U64), half_bits=half_bits, key=key)
    outside = values >= _U64(size)
    while outside.any():  # cycle walking: about 4 tries at most on average, as 4^half_bits < 4 size
        values[outside] = _feistel(values[outside], half_bits=half_bits, key=key)
        outside = values >= _U64(size)
    return values.astype(np.int64)


def _feistel(values: np.ndarray, *, half_bits: int, key: int) -> np.ndarray:
    mask = _U64((1 << half_bits) - 1)
    shift = _U64(half_bits)
    left, right = values >> shift, values & mask
    for number in range(ROUNDS):
        salt = _U64(mix(key, number))
        left, right = right, left ^ (_scramble(right ^ salt) & mask)
    return (left << shift) | right


def _scramble(values: np.ndarray) -> np.ndarray:
    """splitmix64 of each value. Source: Steele, Lea and Flood 2014."""
    with np.errstate(over="ignore"):
        values = values + _U64(0x9E3779B97F4A7C15)
        values = (values ^ (values >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> _U64(27))) * _U64(0x94D049BB133111EB)
        return values ^ (values >> _U64(31))
