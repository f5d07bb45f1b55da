"""What a model costs: parameters and floating-point operations, by formula. Loads no torch."""

from cloche.model.config import ModelConfig


def parameter_count(config: ModelConfig) -> int:
    """Number of trainable numbers of the model; a tied head counts once.

    Of a counted model, the number of n-grams it stores.
    """
    if config.family == "bigram":
        return config.vocab_size**2
    if config.family == "ngram":
        return sum(config.ngrams)
    embedding = config.vocab_size * config.width
    positions = config.context * config.width if config.positions == "learned" else 0
    head = 0 if config.tied else config.vocab_size * config.width
    head += config.vocab_size if config.head_bias else 0
    blocks = config.layers * _block_parameters(config)
    return embedding + positions + blocks + _norm_parameters(config, config.width) + head


def matrix_parameters(config: ModelConfig) -> int:
    """Parameters that each token is multiplied with: blocks and head, without the embedding."""
    if config.family in ("bigram", "ngram"):
        return 0
    return config.layers * _block_matrices(config) + config.vocab_size * config.width


def flops_per_token(config: ModelConfig) -> int:
    """Floating-point operations of forward and backward pass for one token.

    Six for each matrix parameter (Kaplan et al. 2020, https://arxiv.org/abs/2001.08361), and
    twelve times layers x heads x head_dim x context for the attention's own products
    (Chowdhery et al. 2022, appendix B, https://arxiv.org/abs/2204.02311). A bigram multiplies
    nothing; what it does is normalise a row of logits. A counted model has no passes at all.
    """
    if config.family == "ngram":
        return 0
    if config.family == "bigram":
        return 6 * config.vocab_size
    attention = 12 * config.layers * config.heads * config.head_dim * config.context
    return 6 * matrix_parameters(config) + attention


def _block_parameters(config: ModelConfig) -> int:
    query_width = config.heads * config.head_dim
    key_width = config.kv_heads * config.head_dim
    biases = (query_width + 2 * key_width) if config.qkv_bias else 0
    biases += config.width if config.output_bias else 0
    if config.mlp_bias:
        gate = config.mlp_width if config.activation == "swiglu" else 0
        biases += gate + config.mlp_width + config.width
    head_norms = 2 * config.head_dim if config.qk_norm else 0
    return (
        _block_matrices(config) + biases + head_norms + 2 * _norm_parameters(config, config.width)
    )


def _block_matrices(config: ModelConfig) -> int:
    query_width = config.heads * config.head_dim
    key_width = config.kv_heads * config.head_dim
    attention = config.width * (2 * query_width + 2 * key_width)
    mlp_matrices = 3 if config.activation == "swiglu" else 2
    return attention + mlp_matrices * config.width * config.mlp_width


def _norm_parameters(config: ModelConfig, width: int) -> int:
    return width if config.norm == "rmsnorm" else 2 * width
