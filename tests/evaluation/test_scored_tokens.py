"""Each token's own result, against a token at a time and against transformers."""

import math
import os

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

import cloche
import cloche.evaluation.likelihood as likelihood
from cloche.data.batches import TokensInMemory
from cloche.evaluation.likelihood import evaluation_mode, scored_tokens, summed_nats
from cloche.model.build import build_model
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.presets import complete

VOCAB, CONTEXT = 31, 12
CONFIG = ModelConfig(
    family="qwen3",
    vocab_size=VOCAB,
    context=64,
    width=24,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=16,
    mlp_width=40,
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    built = build_model(CONFIG)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return built.eval()


def text_of(count):
    ids = np.random.default_rng(1).integers(0, VOCAB, count).astype(np.uint16)
    return TokensInMemory(ids, np.asarray([count]), separated=False)


def joined(model, text, *, bos, stride, alternatives=0, rows=16):
    found = list(
        scored_tokens(
            model,
            text,
            bos=bos,
            context=CONTEXT,
            stride=stride,
            rows=rows,
            alternatives=alternatives,
        )
    )
    names = ("ids", "nats", "ranks", "confidences", "alternatives", "alternative_nats")
    return {name: np.concatenate([getattr(part, name) for part in found]) for name in names}


def one_by_one(model, ids, *, bos, stride):
    """Log probabilities of all tokens at each place, by a window for each alone."""
    last = len(ids) - 1
    context = min(CONTEXT, last)
    starts = [*range(0, last - context, min(stride, context)), last - context]
    rows, done = [] if bos is None else [logprobs(model, [bos])], 0
    for start in starts:
        for place in range(max(done, start), start + context):
            rows.append(logprobs(model, ids[start : place + 1]))
        done = start + context
    return np.stack(rows)


def logprobs(model, context):
    with evaluation_mode(model):
        return model(torch.tensor([context]))[0, -1].log_softmax(-1).numpy()


@pytest.mark.parametrize("stride", [1, 5, CONTEXT])
@pytest.mark.parametrize("bos", [None, 3])
def test_every_token_has_its_own_nats_rank_and_rivals(model, stride, bos):
    text = text_of(40)
    ids = text.tokens.tolist()
    found = joined(model, text, bos=bos, stride=stride, alternatives=4, rows=3)
    table = one_by_one(model, ids, bos=bos, stride=stride)
    scored = ids if bos is not None else ids[1:]
    assert found["ids"].tolist() == scored
    np.testing.assert_allclose(found["nats"], -table[range(len(scored)), scored], rtol=1e-4)
    order = np.argsort(-table, axis=1)
    ranks = [row.tolist().index(token) + 1 for row, token in zip(order, scored, strict=True)]
    assert found["ranks"].tolist() == ranks
    assert (found["alternatives"] == order[:, :4]).all()
    np.testing.assert_allclose(found["confidences"], np.exp(table.max(axis=1)), rtol=1e-4)
    expected = -np.take_along_axis(table, order[:, :4], axis=1)
    np.testing.assert_allclose(found["alternative_nats"], expected, rtol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 12, 13, 14, 50])
def test_the_parts_add_up_to_the_sum(model, count):
    text = text_of(count)
    found = joined(model, text, bos=0, stride=5)
    whole = summed_nats(model, text, bos=0, context=CONTEXT, stride=5)
    assert found["nats"].sum() == pytest.approx(whole, rel=1e-5)
    assert len(found["nats"]) == count


def test_logits_in_small_pieces_are_scored_the_same(model, monkeypatch):
    text = text_of(40)
    whole = joined(model, text, bos=0, stride=5, alternatives=2)
    monkeypatch.setattr(likelihood, "HEAD_NUMBERS", 7 * VOCAB)
    monkeypatch.setattr(likelihood, "SCORED_NUMBERS", 3 * VOCAB)
    shapes = []
    handle = model.lm_head.register_forward_hook(lambda *a: shapes.append(a[2].numel()))
    pieces = joined(model, text, bos=0, stride=5, alternatives=2)
    handle.remove()
    assert max(shapes) <= 7 * VOCAB
    for name, values in whole.items():
        np.testing.assert_allclose(pieces[name], values, rtol=1e-5)


def test_of_equally_likely_tokens_the_lower_id_leads():
    config = complete(
        ModelOptions(family="bigram"), vocab_size=VOCAB, layers=1, width=1, context=CONTEXT
    )
    uniform = build_model(config)
    with torch.no_grad():
        for parameter in uniform.parameters():
            parameter.zero_()
    text = text_of(30)
    found = joined(uniform, text, bos=0, stride=4)
    assert found["ranks"].tolist() == (text.tokens.astype(int) + 1).tolist()
    np.testing.assert_allclose(found["confidences"], 1 / VOCAB, rtol=1e-5)


def test_a_reader_who_trains_between_two_pieces_may(model):
    pieces = scored_tokens(model, text_of(40), bos=0, context=CONTEXT, stride=5, rows=1)
    model.train()
    next(pieces)
    assert model.training
    assert torch.is_grad_enabled()
    model.eval()


def reference_nats(theirs, ids, *, bos, context, stride):
    """Strided windows by hand: what is new in each window is scored."""
    total, done, last = 0.0, 0, len(ids) - 1
    with torch.no_grad():
        first = theirs(torch.tensor([[bos]])).logits[0, -1].log_softmax(-1)
        total -= float(first[ids[0]])
        for start in [*range(0, last - context, stride), last - context]:
            window = torch.tensor([ids[start : start + context + 1]])
            logs = theirs(window[:, :-1]).logits[0].float().log_softmax(-1)
            costs = -logs.gather(1, window[0, 1:, None])[:, 0]
            total += float(costs[max(0, done - start) :].sum(dtype=torch.float64))
            done = start + context
    return total


def test_the_perplexity_is_that_of_a_plain_loop_over_transformers(model):
    config = Qwen3Config(
        vocab_size=VOCAB,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=64,
        rms_norm_eps=CONFIG.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": CONFIG.rope_theta},
        tie_word_embeddings=CONFIG.tied,
    )
    theirs = Qwen3ForCausalLM(config).eval()
    names = {f"model.{name}": value for name, value in model.state_dict().items()}
    names["lm_head.weight"] = names.pop("model.lm_head.weight")
    theirs.load_state_dict(names)
    text = text_of(200)
    ids = text.tokens.tolist()
    for stride in (3, 6, CONTEXT):
        nats = joined(model, text, bos=1, stride=stride)["nats"]
        expected = reference_nats(theirs, ids, bos=1, context=CONTEXT, stride=stride)
        perplexity = math.exp(nats.mean())
        assert perplexity == pytest.approx(math.exp(expected / len(ids)), rel=1e-4)


@pytest.mark.bars
def test_the_perplexity_of_smollm2_is_that_of_a_plain_loop_over_transformers(shared_data):
    folder = os.environ.get("CLOCHE_SMOLLM")
    if not folder:
        pytest.skip("CLOCHE_SMOLLM does not name SmolLM2 as a Hugging Face folder")
    lm = cloche.load(folder, precision="float32")
    text = (shared_data / "the-verdict.txt").read_text(encoding="utf-8")
    ids = lm.tokenizer.encode(text)[:800]
    tokens = TokensInMemory(np.asarray(ids), np.asarray([len(ids)]), separated=False)
    bos = lm.prompt_ids("")[-1]
    ours = summed_nats(lm.model, tokens, bos=bos, context=256, stride=128)
    each = scored_tokens(lm.model, tokens, bos=bos, context=256, stride=128)
    singly = sum(float(part.nats.sum()) for part in each)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    expected = reference_nats(theirs, ids, bos=bos, context=256, stride=128)
    for found in (ours, singly):
        assert math.exp(found / len(ids)) == pytest.approx(math.exp(expected / len(ids)), rel=1e-4)
