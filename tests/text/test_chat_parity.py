"""Texts and ids of chat templates are those of `transformers`."""

from datetime import datetime

import pytest
from chat_templates import SHAPES, engine, tokenizer
from hub_engines import byte_fallback
from transformers import PreTrainedTokenizerFast

from cloche.text.chat import ChatTemplate
from cloche.text.hub import HubTokenizer
from cloche.text.messages import Message

CONVERSATIONS = [
    (Message("user", " Is it late? "),),
    (Message("user", "Is it late?"), Message("assistant", "No."), Message("user", "Sure?\n")),
    (Message("system", "Be brief."), Message("user", "你好吗？"), Message("assistant", "很好 🙂")),
    (
        Message("user", "a"),
        Message("assistant", "<thought>\nb\n</thought>\n\nc"),
        Message("user", "d"),
        Message("assistant", "e"),
    ),
]
NOW = datetime(2031, 5, 4)


@pytest.fixture(scope="module")
def reference() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=engine(), bos_token="<s>", eos_token="</s>")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("messages", CONVERSATIONS)
def test_texts_and_ids_are_those_of_transformers(reference, shape, messages):
    if shape == "model role" and messages[0].role == "system":
        pytest.skip("this template takes no system text")
    source = SHAPES[shape].replace("strftime_now is defined", "false")
    chat = ChatTemplate(source, name=shape)
    told = [{"role": message.role, "content": message.content} for message in messages]
    asks = messages[-1].role == "user"
    text = reference.apply_chat_template(
        told, chat_template=source, tokenize=False, add_generation_prompt=asks
    )
    ids = reference(text, add_special_tokens=False)["input_ids"]
    assert chat.render(messages, add_generation_prompt=asks, tokenizer=tokenizer()) == text
    if asks:
        assert list(chat.prompt_ids(messages, tokenizer())) == ids
    elif shape != "thinking" or len(messages) < 4:
        assert list(chat.encode(messages, tokenizer()).ids) == ids


@pytest.mark.parametrize("shape", ["brackets", "plain roles"])
@pytest.mark.parametrize("messages", CONVERSATIONS)
def test_ids_are_those_of_transformers_where_a_space_is_set_before_a_text(shape, messages):
    saved = byte_fallback()
    reference = PreTrainedTokenizerFast(tokenizer_object=saved, bos_token="<s>", eos_token="</s>")
    own = HubTokenizer(saved.to_str().encode(), roles={"bos": "<s>", "eos": "</s>"})
    chat = ChatTemplate(SHAPES[shape], name=shape)
    told = [{"role": message.role, "content": message.content} for message in messages]
    asks = messages[-1].role == "user"
    ids = reference.apply_chat_template(
        told, chat_template=SHAPES[shape], add_generation_prompt=asks, return_dict=False
    )
    found = chat.prompt_ids(messages, own) if asks else chat.encode(messages, own).ids
    assert list(found) == ids
