"""The weights that training starts from.

Kept apart from the constructors: a loaded model needs no random numbers, and the same model can
be started in other ways.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cloche.model.build import Network
from cloche.model.config import GPT_FAMILIES
from cloche.model.decoder import Decoder
from cloche.model.seq2seq import EncoderDecoder

RESIDUAL_PROJECTIONS = ("o_proj", "down_proj")  # what writes into the residual stream
TEXTBOOK_STD = 0.02

Draw = Callable[[Tensor, float], None]


@torch.no_grad()
def initialise(model: Network, *, seed: int) -> None:
    """Overwrite all weights of `model` with those that training starts from.

    A pure function of the configuration and `seed` for a given type of device.
    """
    draw = _normal_numbers(model, seed=seed)
    if not isinstance(model, Decoder | EncoderDecoder):
        model.embed_tokens.weight.zero_()  # every next token equally likely
        return
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            _set_matrix(name.split(".")[-1], module, model=model, draw=draw)
        elif (weight := getattr(module, "weight", None)) is not None:
            nn.init.ones_(weight)  # norms start as plain normalisation
        if (bias := getattr(module, "bias", None)) is not None:
            nn.init.zeros_(bias)


def _set_matrix(
    name: str, module: nn.Linear | nn.Embedding, *, model: Decoder | EncoderDecoder, draw: Draw
) -> None:
    if name == "lm_head" and model.config.tied:
        return  # the token embedding, set before
    if isinstance(model, EncoderDecoder):
        draw(module.weight, _scaled_std(name, module, width=model.config.width))
    elif model.config.family in GPT_FAMILIES:
        draw(module.weight, _textbook_std(name, layers=model.config.layers))
    else:
        draw(module.weight, _default_std(name, module, tied=model.config.tied))


def _textbook_std(name: str, *, layers: int) -> float:
    """GPT-2's: 0.02, and less for what each of the 2 x layers branches adds to the residual.

    Source: Radford et al. 2019, section 2.3,
    https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf
    """
    if name in RESIDUAL_PROJECTIONS:
        return TEXTBOOK_STD / (2 * layers) ** 0.5
    return TEXTBOOK_STD


def _scaled_std(name: str, module: nn.Linear | nn.Embedding, *, width: int) -> float:
    """The encoder-decoder's: its embeddings are scaled up by the root of the width, to 1 here.

    All else as in the default family. The paper draws every matrix alike (Glorot and Bengio 2010,
    https://proceedings.mlr.press/v9/glorot10a.html), and needs its warm-up for it.
    """
    if isinstance(module, nn.Embedding) and name == "embed_tokens":
        return width**-0.5
    return _default_std(name, module, tied=True)


def _default_std(name: str, module: nn.Linear | nn.Embedding, *, tied: bool) -> float:
    """The default family's: every block starts as the identity, every guess as no guess.

    Matrices keep the size of what passes through (LeCun et al. 1998, section 4.6,
    http://yann.lecun.com/exdb/publis/pdf/lecun-98b.pdf); what writes into the residual stream
    starts at zero (Zhang et al. 2019, https://arxiv.org/abs/1901.09321), and so does an untied
    head (Yang et al. 2022, https://arxiv.org/abs/2203.03466). A tied embedding is a head too, so
    it starts small.
    """
    if isinstance(module, nn.Embedding):
        return TEXTBOOK_STD if tied else 1.0
    if name in RESIDUAL_PROJECTIONS or name == "lm_head":
        return 0.0
    return module.in_features**-0.5


def _normal_numbers(model: nn.Module, *, seed: int) -> Draw:
    device = next(model.parameters()).device
    generator = torch.Generator(device=device).manual_seed(seed)

    def draw(weight: Tensor, std: float) -> None:
        weight.normal_(0.0, std, generator=generator)

    return draw
