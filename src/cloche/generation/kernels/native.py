"""A decoder's forward by the C++ kernels: for writing on a processor, whose memory is the limit.

A token costs one read of all weights. A stock linear layer reaches a quarter of the memory's
bandwidth for that, these kernels most of it: docs/log.md has the measurements.
"""

import ctypes
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cloche.generation.forward import Place
from cloche.generation.kernels.packing import (
    LANES,
    PackedMatrix,
    pack_interleaved,
    pack_stacked,
)
from cloche.generation.kernels.store import WINDOWED_PART, CacheDescription, Store
from cloche.model.attention import Attention
from cloche.model.build import LanguageModel
from cloche.model.config import ModelConfig
from cloche.model.decoder import Block, Decoder
from cloche.model.lora import lora_layers
from cloche.model.mlp import MLP, GatedMLP
from cloche.model.positions import rotary_tables, sinusoidal_positions

ACTIVATIONS = {"swiglu": 0, "gelu": 1, "gelu_tanh": 2, "relu": 3, "relu_squared": 4}
LONGEST_HEAD = 512
LARGEST_PART = 1024
"""Tokens of a prompt that are read at once, which bounds the memory for what is between."""


class _Matrix(ctypes.Structure):
    _fields_ = [
        ("weights", ctypes.c_void_p),
        ("scales", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("tiles", ctypes.c_int32),
        ("inputs", ctypes.c_int32),
        ("kind", ctypes.c_int32),
    ]


class _Layer(ctypes.Structure):
    _fields_ = [
        *((name, _Matrix) for name in ("qkv", "attention_out", "mlp_in", "mlp_out")),
        *((name, ctypes.c_void_p) for name in ("norm", "norm_bias", "mlp_norm", "mlp_norm_bias")),
        *((name, ctypes.c_void_p) for name in ("query_norm", "key_norm")),
        ("window", ctypes.c_int32),
    ]


class _Heads(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("queries", "keys", "dim", "padded")),
        ("eps", ctypes.c_float),
        ("cosines", ctypes.c_void_p),
        ("sines", ctypes.c_void_p),
    ]


class _Model(ctypes.Structure):
    _fields_ = [
        ("layers", ctypes.POINTER(_Layer)),
        ("embedding", _Matrix),
        ("head", _Matrix),
        *((name, ctypes.c_void_p) for name in ("norm", "norm_bias", "positions")),
        ("heads", _Heads),
        *((name, ctypes.c_int32) for name in ("layer_count", "width", "layer_norm", "activation")),
        ("eps", ctypes.c_float),
    ]


def unsupported(model: LanguageModel) -> str | None:
    """Why the kernels cannot serve a model; None where they can."""
    if not isinstance(model, Decoder):
        return f"they serve decoders, and this is a {model.config.family} model"
    if lora_layers(model):
        return "they know no adapters beside the weights: merge those first"
    if model.config.experts:
        return "they know no mixture of experts"
    if model.config.head_dim > LONGEST_HEAD:
        return f"they serve heads of up to {LONGEST_HEAD} numbers, not {model.config.head_dim}"
    device = next(iter((*model.parameters(), *model.buffers()))).device
    return None if device.type == "cpu" else f"they run on processors, not on {device.type}"


class PackedModel:
    """A decoder's weights as the kernels read them; many forwards may share one.

    They are a copy: later changes of the model are not seen. ValueError where `unsupported`.
    """

    def __init__(self, model: LanguageModel) -> None:
        reason = unsupported(model)
        if reason is not None or not isinstance(model, Decoder):
            raise ValueError(f"the kernels cannot serve this model: {reason}")
        self.config = model.config
        self._kept: list[Tensor] = []
        self.weight_bytes = 0
        """Bytes of weights that reading a token takes; the embedding's row is next to nothing."""
        self.half = not _is_exact(model)
        """Whether keys and values are kept in bfloat16."""
        layers = [self._layer(model.config, number, block) for number, block in _blocks(model)]
        self.layers = (_Layer * len(layers))(*layers)
        head = pack_stacked([model.lm_head])
        shared = model.lm_head.bias is None and model.config.tied
        self.head, self.head_tiles = self._matrix(head), head.tiles
        read = self.weight_bytes
        self.embedding = self.head if shared else self._matrix(pack_stacked([model.embed_tokens]))
        self.weight_bytes = read
        self.norm, self.norm_bias = self._norm(model.norm)
        table = getattr(model, "embed_positions", None)
        self.positions = None if table is None else table.weight.detach().float().contiguous()

    def _layer(self, config: ModelConfig, number: int, block: Block) -> _Layer:
        attention, mlp = block.self_attn, block.mlp
        assert isinstance(attention, Attention)
        if isinstance(mlp, GatedMLP):
            widened = pack_interleaved(mlp.gate_proj, mlp.up_proj)
        else:
            assert isinstance(mlp, MLP)
            widened = pack_stacked([mlp.up_proj])
        qkv = pack_stacked([attention.q_proj, attention.k_proj, attention.v_proj])
        return _Layer(
            self._matrix(qkv),
            self._matrix(pack_stacked([attention.o_proj])),
            self._matrix(widened),
            self._matrix(pack_stacked([mlp.down_proj])),
            *self._norm(block.input_layernorm),
            *self._norm(block.post_attention_layernorm),
            self._norm(attention.q_norm)[0],
            self._norm(attention.k_norm)[0],
            0 if config.window is None or number < config.full_layers else config.window,
        )

    def _matrix(self, packed: PackedMatrix) -> _Matrix:
        self.weight_bytes += packed.bytes
        places = [self._keep(part) for part in (packed.weights, packed.scales, packed.bias)]
        return _Matrix(*places, packed.tiles, packed.inputs, packed.kind)

    def _norm(self, norm: nn.Module) -> tuple[int | None, int | None]:
        weight, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
        return tuple(  # pyright: ignore[reportReturnType]
            self._keep(None if part is None else part.detach().float().contiguous())
            for part in (weight, bias)
        )

    def _keep(self, tensor: Tensor | None) -> int | None:
        if tensor is None:
            return None
        self._kept.append(tensor)
        return tensor.data_ptr()


class NativeForward:
    """A forward by the kernels: see `cloche.generation.forward.Forward`.

    What a token gives does not depend, bit by bit, on what else is read beside it. What is read as
    a prompt is multiplied in bfloat16 where the weights are no float32, and then differs from what
    is read one token after the other; in float32 it does not (`exact`).
    """

    own_threads = True

    def __init__(
        self,
        library: ctypes.CDLL,
        packed: PackedModel,
        *,
        rows: int,
        capacity: int,
        threads: int | None = None,
    ) -> None:
        config = packed.config
        self.rows, self.capacity, self.exact = rows, capacity, not packed.half
        self._library, self._packed = _declare(library), packed
        self._width, self._vocab = config.width, config.vocab_size
        padded = config.head_dim + -config.head_dim % LANES
        self._store = Store(config, rows=rows, capacity=capacity, padded=padded, half=packed.half)
        self._largest_part = WINDOWED_PART if self._store.windowed else LARGEST_PART
        self._tables = _position_tables(packed, capacity)
        description = self._describe(config, padded)
        self._handle = library.cloche_open(
            ctypes.byref(description), torch.get_num_threads() if threads is None else threads
        )

    def __del__(self) -> None:
        handle = self.__dict__.pop("_handle", None)
        if handle is not None:
            self._library.cloche_close(handle)

    def hidden(self, places: Sequence[Place]) -> Float[Tensor, "batch dim"]:
        """A vector for each place, after the final norm; its keys and values are kept."""
        for row, position, token_id in places:
            self._require_place(row, position, token_id)
        numbers = [number for place in places for number in place]
        return self._run(numbers, len(places), prompt=False)

    def head(self, hidden: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch vocab"]:
        """Logits of the token after each, in float32."""
        given = hidden.contiguous()
        padded = torch.empty(len(given), self._packed.head_tiles * LANES)
        self._library.cloche_head(self._handle, given.data_ptr(), len(given), padded.data_ptr())
        return padded[:, : self._vocab]

    def read(self, row: int, ids: Sequence[int], *, start: int) -> Float[Tensor, "time dim"]:
        """The same as `hidden`, for many tokens of one row from position `start` on."""
        self._require_place(row, start + len(ids) - 1, max(ids))
        self._require_place(row, start, min(ids))
        parts = []
        for begin in range(0, len(ids), self._largest_part):
            part = ids[begin : begin + self._largest_part]
            numbers = [
                number
                for place, token_id in enumerate(part, start=start + begin)
                for number in (row, place, token_id)
            ]
            parts.append(self._run(numbers, len(part), prompt=not self.exact))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def copy(self, source: int, target: int, *, length: int) -> None:
        """Have row `target` begin with the first `length` tokens of row `source`."""
        self._store.copy(source, target, length=length)

    def clear(self, row: int) -> None:
        """Forget what a row holds, numbers that are none included."""
        self._store.clear(row)

    def can_go_back(self, *, reached: int, to: int) -> bool:
        """Whether a row that has held `reached` tokens still holds all that it takes to go on
        behind the first `to` of them.
        """
        return self._store.can_go_back(reached=reached, to=to)

    def _require_place(self, row: int, position: int, token_id: int) -> None:
        """Raise ValueError for what lies outside of the memory that the kernels write to."""
        fits = 0 <= row < self.rows and 0 <= position < self.capacity
        if not (fits and 0 <= token_id < self._vocab):
            raise ValueError(
                f"row {row} of {self.rows}, position {position} of {self.capacity} or token "
                f"{token_id} of {self._vocab} does not exist"
            )

    def _run(self, numbers: list[int], count: int, *, prompt: bool) -> Float[Tensor, "batch dim"]:
        """`numbers` are row, position and id of each token, one token after the other."""
        hidden = torch.empty(count, self._width)
        tokens = (ctypes.c_int32 * len(numbers))(*numbers)
        self._library.cloche_hidden(
            self._handle,
            ctypes.byref(self._store.described),
            tokens,
            count,
            prompt,
            hidden.data_ptr(),
        )
        return hidden

    def _describe(self, config: ModelConfig, padded: int) -> _Model:
        packed = self._packed
        cosines, sines, added = (
            None if table is None else table.data_ptr() for table in self._tables
        )
        heads = _Heads(
            config.heads, config.kv_heads, config.head_dim, padded, config.norm_eps, cosines, sines
        )
        return _Model(
            packed.layers,
            packed.embedding,
            packed.head,
            packed.norm,
            packed.norm_bias,
            added,
            heads,
            config.layers,
            config.width,
            config.norm == "layernorm",
            ACTIVATIONS[config.activation],
            config.norm_eps,
        )


def _is_exact(model: Decoder) -> bool:
    return isinstance(model.lm_head, nn.Linear) and model.lm_head.weight.dtype == torch.float32


def _blocks(model: Decoder) -> list[tuple[int, Block]]:
    return [
        (number, block) for number, block in enumerate(model.layers) if isinstance(block, Block)
    ]


def _position_tables(
    packed: PackedModel, capacity: int
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Cosines and sines (capacity, half), or vectors to be added (capacity, width)."""
    config, places = packed.config, torch.arange(capacity)[None]
    if config.positions == "rotary":
        tables = rotary_tables(
            places, config.head_dim, theta=config.rope_theta, scaling=config.rope_scaling
        )
        cosines, sines = (table.flatten(0, 2).contiguous() for table in tables)
        return cosines, sines, None
    if config.positions == "sinusoidal":
        return None, None, sinusoidal_positions(places, config.width)[0].contiguous()
    return None, None, packed.positions


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    pointer, number = ctypes.c_void_p, ctypes.c_int
    library.cloche_open.restype = pointer
    library.cloche_open.argtypes = [ctypes.POINTER(_Model), number]
    library.cloche_close.argtypes = [pointer]
    library.cloche_hidden.argtypes = [
        *(pointer, ctypes.POINTER(CacheDescription), pointer, number, number, pointer)
    ]
    library.cloche_head.argtypes = [pointer, pointer, number, pointer]
    for name in ("cloche_close", "cloche_hidden", "cloche_head"):
        getattr(library, name).restype = None
    return library
