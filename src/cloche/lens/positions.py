"""How a model tells the places of its tokens apart: vectors that are added, or angles of a turn."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float

from cloche.errors import RequestError, SettingError
from cloche.lens.view import Table, View, provenance_of
from cloche.model.bigram import Bigram
from cloche.model.config import ModelConfig
from cloche.model.decoder import Decoder
from cloche.model.positions import rotary_tables, rotate, sinusoidal_positions
from cloche.model.rope import RopeScaling
from cloche.run import LM

SHOWN = 256
"""Places that are shown where no number is asked for, or all there are."""
MOST_SHOWN = 4096
"""Of more, the cosines between all of them would be too much to keep."""


@dataclass(frozen=True, eq=False)
class AddedVectors:
    """What is added to a token's vector to say where it stands."""

    vectors: Table
    """("position", "dim")."""
    norms: Table
    """("position",)."""
    cosines: Table
    """("position", "other"): how alike two places are; not-a-number where a vector is zero."""


@dataclass(frozen=True, eq=False)
class Rotation:
    """By how much the pairs of numbers in queries and keys are turned, place by place.

    Number i of a head is paired with number i + head_dim / 2.
    """

    frequencies: Table
    """("pair",): radians from a place to the next, as the model has them."""
    unscaled: Table
    """("pair",): what they would be without a scaling; the same where there is none."""
    angles: Table
    """("position", "pair"), in radians."""
    cosines: Table
    """("position", "pair"): of these angles, as the model multiplies by them."""
    scores: Table
    """("distance",): of a vector whose pairs are all alike with itself, that far away, over what
    it would be without positions."""
    theta: float
    scaling: RopeScaling | None
    sharpening: float
    """What cosines and sines are multiplied with: 1 but for YaRN's."""


@dataclass(frozen=True, eq=False)
class PositionsView(View):
    """The first places of a model's context, as it tells them apart."""

    name: ClassVar[str] = "positions"
    kind: str
    """learned, sinusoidal or rotary."""
    context: int
    """Places that the model has."""
    length: int
    """Of them, those that are here, from 0 on."""
    added: AddedVectors | None
    """Of learned and sinusoidal positions."""
    rotation: Rotation | None
    """Of rotary ones."""


def see_positions(lm: LM, *, length: int | None = None) -> PositionsView:
    """The first `length` places of a model; all, or 256 where there are more, when not given.

    SettingError for a length that the model has not, RequestError for a model without positions.
    """
    model = _require_positions(lm)
    shown = min(model.config.context, SHOWN) if length is None else length
    most = min(model.config.context, MOST_SHOWN)
    if not 1 <= shown <= most:
        of = "the model has" if most == model.config.context else "a view holds up to"
        raise SettingError(f"length must be from 1 to {most}, which {of}, got {length}")
    rotary = model.config.positions == "rotary"
    return PositionsView(
        provenance_of(lm),
        model.config.positions,
        model.config.context,
        shown,
        None if rotary else _added(model, shown),
        rotation_of(model.config, shown) if rotary else None,
    )


def rotation_of(config: ModelConfig, length: int) -> Rotation:
    """The turns of a model with rotary positions, over so many places."""
    cosines, sines = _tables(config, length, config.rope_scaling)
    step = _tables(config, 2, config.rope_scaling)
    frequencies = _frequencies(*step)
    sharpening = float(step[0][0, 0])  # at place 0 nothing is turned
    places = np.arange(length)
    return Rotation(
        Table(frequencies, ("pair",)),
        Table(_frequencies(*_tables(config, 2, None)), ("pair",)),
        Table(places[:, None] * frequencies, ("position", "pair")),
        Table(cosines, ("position", "pair")),
        Table(_scores(cosines, sines), ("distance",)),
        config.rope_theta,
        config.rope_scaling,
        sharpening,
    )


def _require_positions(lm: LM) -> Decoder:
    if isinstance(lm.model, Decoder) and lm.config.positions != "none":
        return lm.model
    if isinstance(lm.model, Decoder):
        raise RequestError(
            "this model was built with positions none: it is told no order. Its views are tokens, "
            "embeddings, attention, residual, windows, next-token, parameters, training, memory "
            "and two"
        )
    vectors = "embeddings, " if isinstance(lm.model, Bigram) else ""
    raise RequestError(
        f"{'an n-gram' if not vectors else 'a bigram'} model has no positions: it looks up the "
        f"last tokens in tables. Its views are tokens, {vectors}windows, next-token, parameters, "
        "memory, two and training"
    )


@torch.no_grad()
def _added(model: Decoder, length: int) -> AddedVectors:
    places = torch.arange(length, device=next(model.parameters()).device)
    if model.config.positions == "learned":
        given = model.embed_positions(places).float()
    else:
        given = sinusoidal_positions(places[None], model.config.width)[0]
    vectors = given.cpu().numpy()
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    directed = np.where(norms > 0, norms, np.nan)[:, None]
    directions = vectors / directed
    return AddedVectors(
        Table(vectors, ("position", "dim")),
        Table(norms, ("position",)),
        Table(directions @ directions.T, ("position", "other")),
    )


def _tables(
    config: ModelConfig, length: int, scaling: RopeScaling | None
) -> tuple[Float[np.ndarray, "length pair"], Float[np.ndarray, "length pair"]]:
    """The model's own cosines and sines, before they are rounded to the dtype it computes in."""
    cosines, sines = rotary_tables(
        torch.arange(length)[None], config.head_dim, theta=config.rope_theta, scaling=scaling
    )
    return cosines[0, 0].numpy(), sines[0, 0].numpy()


def _frequencies(
    cosines: Float[np.ndarray, "2 pair"], sines: Float[np.ndarray, "2 pair"]
) -> Float[np.ndarray, " pair"]:
    """The angle at place 1, read off: no pair turns by more than one radian a place."""
    return np.arctan2(sines[1].astype(np.float64), cosines[1].astype(np.float64))


def _scores(
    cosines: Float[np.ndarray, "distance pair"], sines: Float[np.ndarray, "distance pair"]
) -> Float[np.ndarray, " distance"]:
    """A vector of equal pairs and length 1, turned by the model, times itself at place 0."""
    tables = (torch.from_numpy(each)[None, None] for each in (cosines, sines))
    numbers = 2 * cosines.shape[1]
    alike = torch.full((1, 1, len(cosines), numbers), numbers**-0.5)
    turned = rotate(alike, *tables)[0, 0]
    return (turned @ turned[0]).numpy()
