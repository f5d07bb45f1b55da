"""What a model costs: parameters and floating-point operations, by formula. Loads no torch."""

from cloche.model.config import ModelConfig
from cloche.planning.parameters import block_kinds, learned_parameters


def parameter_count(config: ModelConfig) -> int:
    """Number of trainable numbers of the model; a tied head counts once.

    Of a counted model, the number of n-grams it stores.
    """
    if config.family == "ngram":
        return sum(config.ngrams)
    return sum(part.numbers for part in learned_parameters(config))


def active_parameters(config: ModelConfig) -> int:
    """Number of trainable numbers that take part in one token: all but the experts it passes by."""
    if config.family == "ngram":
        return parameter_count(config)
    return sum(part.active for part in learned_parameters(config))


def matrix_parameters(config: ModelConfig) -> int:
    """Parameters that each token is multiplied with: blocks and head, without the embedding.

    Of experts, only those that a token uses. Of an encoder-decoder, those of both sides: a token
    of the target is reckoned with a source token of its own.
    """
    if config.family in ("bigram", "ngram"):
        return 0
    blocks = sum(
        copies * part.active
        for block, copies in block_kinds(config)
        for part in block
        if part.is_matrix
    )
    return blocks + config.vocab_size * config.width


def flops_per_token(config: ModelConfig) -> int:
    """Floating-point operations of forward and backward pass for one token of a full context.

    Six for each matrix parameter (Kaplan et al. 2020, https://arxiv.org/abs/2001.08361), and
    twelve times heads x head_dim x reach for the attention's own products in each layer
    (Chowdhery et al. 2022, appendix B, https://arxiv.org/abs/2204.02311). The backward pass is
    twice the forward one. Norms, nonlinearities, softmax and the head's loss are left out, and so
    is what a fused kernel computes twice or never.

    The reach is the context, as if every token saw all of it, or the window where that is shorter.
    Without a window that is exact for matrices and for attention that writes its whole table out.
    With one it is what the model needs: a kernel that leaves out what no token sees (flex
    attention) comes near it, block by block, while the plain path, and the fused one under a mask,
    compute all pairs, as many as without the window.

    Of an encoder-decoder: for one token of a target and one of a source as long. A bigram
    multiplies nothing; what it does is normalise a row of logits. A counted model has no passes
    at all.
    """
    if config.family == "ngram":
        return 0
    if config.family == "bigram":
        return 6 * config.vocab_size
    attention = 12 * config.heads * config.head_dim * sum(attention_reaches(config))
    return 6 * matrix_parameters(config) + attention


def attention_reaches(config: ModelConfig) -> list[int]:
    """How many tokens each attention of the model looks at most, one number for each."""
    if config.family == "seq2seq":  # the decoder's blocks have two: itself, and the source
        return [config.context] * (config.encoder_layers + 2 * config.layers)
    near = min(config.window or config.context, config.context)
    return [
        config.context if layer < config.full_layers else near for layer in range(config.layers)
    ]
