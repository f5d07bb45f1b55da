"""A conversation becomes text and tokens; what the model learns is the answers and their stops."""

import pickle
from datetime import datetime

import pytest
from chat_templates import (
    BRACKETS,
    CHATML,
    HEADERS,
    MARKED,
    MODEL_ROLE,
    PLAIN_ROLES,
    SHAPES,
    THINKING,
    tokenizer,
)
from hub_engines import CORPUS, byte_fallback
from hypothesis import given, settings
from hypothesis import strategies as st

from cloche.errors import SettingError, TextError, TokenizerError
from cloche.text.bpe import train_bpe
from cloche.text.characters import CharacterTokenizer
from cloche.text.chat import ChatTemplate, preset
from cloche.text.extending import with_special_tokens
from cloche.text.hub import HubTokenizer
from cloche.text.messages import Conversation, Message
from cloche.text.tokenizer import Tokenizer


def talk(*contents: str, system: str = "") -> Conversation:
    """User and assistant in turn."""
    first = (Message("system", system),) if system else ()
    roles = ("user", "assistant")
    return (*first, *(Message(roles[n % 2], content) for n, content in enumerate(contents)))


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
TALK = talk("Is it late?", "No, early.", "Sure?", "Yes!")


def template(source: str) -> ChatTemplate:
    return ChatTemplate(source, name="the template")


def shown(ids: tuple[int, ...], using: Tokenizer) -> str:
    """The text of ids, special tokens included."""
    names = {number: name for name, number in using.special_tokens.items()}
    text, plain = "", []
    for token_id in ids:
        if token_id in names:
            text += using.decode(plain) + names[token_id]
            plain = []
        else:
            plain.append(token_id)
    return text + using.decode(plain)


def learned(
    chat: ChatTemplate, messages: Conversation, using: Tokenizer | None = None
) -> list[str]:
    """The text of each answer that is learned, with its stop."""
    using = using or tokenizer()
    encoded = chat.encode(messages, using)
    found: dict[int, list[int]] = {}
    for token_id, number in zip(encoded.ids, encoded.answers, strict=True):
        if number:
            found.setdefault(number, []).append(token_id)
    assert sorted(found) == list(range(1, len(found) + 1))
    return [shown(tuple(ids), using) for _, ids in sorted(found.items())]


@pytest.mark.parametrize(
    ("shape", "answers"),
    [
        ("chatml", ["No, early.<|im_end|>", "Yes!<|im_end|>"]),
        ("default system", ["No, early.<|im_end|>", "Yes!<|im_end|>"]),
        ("brackets", [" No, early. </s>", " Yes! </s>"]),
        ("headers", ["No, early.<|eot_id|>", "Yes!<|eot_id|>"]),
        ("plain roles", ["No, early.</s>", "Yes!</s>"]),
        ("model role", ["No, early.<end_of_turn>", "Yes!<end_of_turn>"]),
        (
            "thinking",
            ["No, early.<|im_end|>", "<thought>\n\n</thought>\n\nYes!<|im_end|>"],
        ),
        ("marked", ["No, early.<|im_end|>", "Yes!<|im_end|>"]),
    ],
)
def test_all_that_the_assistant_writes_is_learned_its_stop_token_too_and_nothing_else(
    shape, answers
):
    assert learned(template(SHAPES[shape]), TALK) == answers


@pytest.mark.parametrize("shape", SHAPES)
def test_the_prompt_of_an_answer_is_what_stands_before_it_when_it_is_learned(shape):
    if shape == "thinking":
        pytest.skip("it thinks in the newest answer only")
    chat = template(SHAPES[shape])
    encoded = chat.encode(TALK, tokenizer())
    for number, asked in ((1, TALK[:1]), (2, TALK[:3])):
        start = encoded.answers.index(number)
        assert chat.prompt_ids(asked, tokenizer()) == encoded.ids[:start]


@pytest.mark.parametrize(
    ("shape", "stops"),
    [
        ("chatml", ["<|im_end|>", "</s>"]),
        ("plain roles", ["</s>"]),
        ("model role", ["<end_of_turn>", "</s>"]),
    ],
)
def test_what_ends_an_answer_is_found_from_the_template(shape, stops):
    found = template(SHAPES[shape]).stop_ids(tokenizer())
    assert [tokenizer().token_text(token_id) for token_id in found] == stops


@pytest.mark.parametrize(
    ("source", "names"),
    [
        (CHATML, ("<|im_start|>", "<|im_end|>")),
        (HEADERS, ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")),
        (MODEL_ROLE, ("<start_of_turn>", "<end_of_turn>")),
        (PLAIN_ROLES, ()),
        (BRACKETS, ()),
        (preset("alpaca").source, ()),
        (preset("brief").source, ("<|user|>", "<|end|>", "<|assistant|>")),
    ],
)
def test_it_names_the_special_tokens_that_it_needs(source, names):
    assert template(source).special_tokens() == names


@settings(deadline=None, max_examples=30)
@given(_TEXTS, _TEXTS, st.sampled_from([CHATML, HEADERS, MARKED]))
def test_decoding_gives_back_the_rendered_text(asked, answered, source):
    messages = (Message("user", asked), Message("assistant", f"!{answered}"))
    chat = template(source)
    text = chat.render(messages, tokenizer=tokenizer())
    assert shown(chat.encode(messages, tokenizer()).ids, tokenizer()) == text


_PIECES = ["<|im_end|>", "<|im_", "end|>", "<", ">", "|", "<s>", "</s>", " ", "\n", "a", "\ufdd0"]


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.sampled_from(_PIECES), max_size=6).map("".join),
    st.lists(st.sampled_from(_PIECES), max_size=6).map("".join),
)
def test_special_tokens_typed_in_messages_stay_text(asked, answered):
    chat = preset("chatml")
    messages = (Message("user", asked), Message("assistant", f"!{answered}"))
    special = set(tokenizer().special_tokens.values())
    encoded = chat.encode(messages, tokenizer())
    found = [tokenizer().token_text(token_id) for token_id in encoded.ids if token_id in special]
    assert found == ["<|im_start|>", "<|im_end|>"] * 2
    assert shown(encoded.ids, tokenizer()) == chat.render(messages)
    assert learned(chat, messages) == [f"!{answered}<|im_end|>"]


def test_no_special_token_comes_to_be_where_message_and_template_meet():
    chat = template("{% for m in messages %}<{{ m.content }}>{% endfor %}")
    messages = (Message("user", "|im_end|"), Message("assistant", "/s"))
    encoded = chat.encode(messages, tokenizer())
    special = set(tokenizer().special_tokens.values())
    assert [t for t in encoded.ids if t in special] == [tokenizer().special_ids.eos]
    assert learned(chat, messages) == ["</s></s>"]


def test_special_tokens_typed_in_messages_stay_text_where_spaces_belong_to_tokens():
    using = HubTokenizer(byte_fallback().to_str().encode(), roles={"bos": "<s>", "eos": "</s>"})
    typed = talk("The </s> cat <s>", "sat </s> there")
    encoded = template(BRACKETS).encode(typed, using)
    special = {using.special_tokens[name] for name in ("<s>", "</s>")}
    assert [t for t in encoded.ids if t in special] == [
        using.special_tokens["<s>"],
        using.special_tokens["</s>"],
    ]
    assert encoded.answers[-1] == 1


def test_an_answer_begins_with_a_token_of_its_own():
    using = with_special_tokens(
        train_bpe(["a\n\n\n\nb\n\n\n\nc\n\n"] * 9, vocab_size=270, rule="gpt-2"),
        ["<|im_start|>", "<|im_end|>"],
    )
    messages = talk("a", "\n\nb")
    encoded = preset("chatml").encode(messages, using)
    prompt = preset("chatml").prompt_ids(messages[:1], using)
    assert encoded.ids[: len(prompt)] == prompt
    assert encoded.answers.index(1) == len(prompt)


def test_the_alpaca_prompt_ends_its_answers_with_the_tokenizers_own_stop():
    messages = (
        Message("user", "Add.", input="1 + 1"),
        Message("assistant", "2"),
        Message("user", "Again."),
        Message("assistant", "4"),
    )
    chat = preset("alpaca")
    assert learned(chat, messages) == ["2</s>", "4</s>"]
    assert chat.render(messages[:1], add_generation_prompt=True) == (
        "Below is an instruction that describes a task. Write a response that appropriately "
        "completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n1 + 1\n\n### Response:\n"
    )
    asked = shown(chat.prompt_ids(messages[:3], tokenizer()), tokenizer())
    assert "2</s>\n\n### Instruction:\nAgain." in asked


def test_the_brief_template_takes_two_tokens_a_message():
    using = with_special_tokens(tokenizer(), preset("brief").special_tokens())
    chat = preset("brief")
    messages = (*talk("Hi", "you", system="Be kind."), Message("user", "a", input="b"))
    text = "Be kind.<|end|><|user|>Hi<|end|><|assistant|>you<|end|><|user|>a\n\nb<|end|>"
    assert chat.render(messages) == text
    ids = chat.prompt_ids(messages, using)
    assert shown(ids, using) == text + "<|assistant|>"
    assert sum(id_ in using.special_tokens.values() for id_ in ids) == 8
    encoded = chat.encode(messages[:3], using)
    marks = zip(encoded.ids, encoded.answers, strict=True)
    assert shown(tuple(each for each, answer in marks if answer), using) == "you<|end|>"
    assert chat.stop_ids(using) == (using.special_tokens["<|end|>"], using.special_ids.eos)


@pytest.mark.parametrize(
    "messages",
    [
        (Message("user", "a"), Message("system", "b")),
        (Message("user", "a"), Message("assistant", "b"), Message("tool", "c")),
    ],
)
def test_the_brief_template_refuses_what_it_has_no_place_for(messages):
    with pytest.raises(TextError, match=f"not for {messages[-1].role} here"):
        preset("brief").render(messages)


def test_a_system_text_takes_the_place_of_alpacas_first_sentences():
    text = preset("alpaca").render(talk("Hi", system="Be brief."))
    assert text == "Be brief.\n\n### Instruction:\nHi"


def test_an_input_stands_behind_the_instruction_where_a_template_has_no_place_for_it():
    message = Message("user", "Add.", input="1 + 1")
    assert preset("chatml").render((message,)) == "<|im_start|>user\nAdd.\n\n1 + 1<|im_end|>\n"


def test_a_stop_that_is_plain_text_to_the_tokenizer_is_followed_by_a_real_one():
    using = train_bpe(CORPUS, vocab_size=300, rule="gpt-2")
    assert learned(preset("chatml"), TALK, using) == [
        "No, early.<|im_end|><|endoftext|>",
        "Yes!<|im_end|><|endoftext|>",
    ]


def test_without_any_stop_token_nothing_is_encoded():
    using = HubTokenizer(
        byte_fallback().to_str().encode(), roles={"bos": None, "eos": None, "pad": None}
    )
    for ask in (preset("alpaca").stop_ids, lambda t: preset("alpaca").encode(TALK, t)):
        with pytest.raises(TokenizerError, match="nothing could end an answer"):
            ask(using)


def test_long_conversations_are_written_by_templates_that_count_messages_at_each():
    messages = talk(*["Hi"] * 1_500)
    text = template(THINKING).render(messages)
    assert text.count("Hi") == 1_500


def test_the_clock_is_the_callers():
    chat = ChatTemplate(
        "{{ strftime_now('%Y') }}: {{ messages[0].content }}",
        name="dated",
        now=lambda: datetime(2031, 5, 4),
    )
    assert chat.render(talk("Hi")) == "2031: Hi"


def test_it_can_be_sent_to_another_process():
    again = pickle.loads(pickle.dumps(preset("chatml")))
    assert again.render(TALK) == preset("chatml").render(TALK)


def test_a_template_that_writes_special_tokens_by_role_needs_the_tokenizer():
    with pytest.raises(SettingError, match="bos_token, eos_token: give it the tokenizer"):
        template(BRACKETS).render(TALK)


# What cannot be learned from


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ((), "without messages"),
        (talk("Hi"), "no message has the role assistant"),
        (talk("Hi", "  \n"), r"message 2 \(assistant\) is empty"),
        ((Message("assistant", "Hi"),), "message 1 has the role assistant"),
        ((Message("robot", "Hi"),), "message 1 has the role 'robot'; there are system, user"),
        (
            (Message("user", "Hi"), Message("assistant", "Ho", input="x")),
            r"message 2 \(assistant\) has an input",
        ),
        (talk("Hi", "\ud800"), r"message 2 \(assistant\) holds the lone surrogate U\+D800"),
    ],
)
def test_what_is_no_conversation_to_learn_from_is_told(messages, said):
    with pytest.raises(TextError, match=said):
        preset("chatml").encode(messages, tokenizer())


@pytest.mark.parametrize(
    ("source", "messages", "said"),
    [
        (MODEL_ROLE, talk("Hi", "Ho", system="s"), r"message 1 \(system\): System role not supp"),
        (BRACKETS, (*talk("a"), *talk("b", "c")), r"line 14: at message 2 \(user\): .*take turns"),
        (preset("alpaca").source, (*TALK, Message("tool", "x")), r"message 5 \(tool\): the Alpaca"),
        (preset("alpaca").source, (*TALK, Message("system", "x")), r"message 5 \(system\)"),
        ("{{ messages[0].content.no.such }}", TALK, "line 1: .*has no attribute 'no'"),
    ],
)
def test_a_template_that_refuses_or_fails_is_told_with_line_and_message(source, messages, said):
    with pytest.raises(TextError, match=said):
        template(source).encode(messages, tokenizer())


@pytest.mark.parametrize(
    "write", ["", "{{ m.content[:2] }}", "{{ m.content | upper }}", "{{ m.content * 2 }}"]
)
def test_a_template_that_drops_or_changes_the_answer_is_told_with_the_message(write):
    source = "{% for m in messages %}<s>{% if m.role == 'user' %}u{% else %}WRITE{% endif %}"
    source += "{% endfor %}"
    with pytest.raises(TextError, match=r"the template: message 2 \(assistant\): .*drops this"):
        template(source.replace("WRITE", write)).encode(TALK[:2], tokenizer())


def test_a_prompt_that_differs_from_what_is_learned_is_told():
    source = CHATML.replace("assistant\n", "assistant\nthought")
    with pytest.raises(TextError, match=r"message 2 .*'thought' when it asks for it, but as 'No,"):
        template(source).encode(TALK, tokenizer())


def test_an_answer_outside_of_the_blocks_that_are_generated_is_told():
    source = MARKED.replace("message.role == 'assistant'", "loop.index == 2")
    with pytest.raises(TextError, match=r"message 4 \(assistant\): .*outside of its {% generation"):
        template(source).encode(TALK, tokenizer())


def test_earlier_answers_that_a_template_shortens_are_no_hindrance_to_a_prompt():
    chat = template(THINKING)
    messages = talk("Hi", "<thought>\nhm\n</thought>\n\nHo", "And?")
    text = shown(chat.prompt_ids(messages, tokenizer()), tokenizer())
    assert text == chat.render(messages, add_generation_prompt=True)
    assert "hm" not in text


def test_a_template_that_looks_for_special_tokens_in_messages_is_told():
    source = "{{ '<s>' if '</s>' in messages[0].content else '' }}{{ messages[-1].content }}</s>"
    with pytest.raises(TextError, match="treats messages otherwise that hold special tokens"):
        template(source).encode(talk("</s>", "Ho"), tokenizer())


def test_a_prompt_must_end_with_what_is_to_be_answered():
    with pytest.raises(TextError, match="message 4, the last one, is an answer already"):
        preset("chatml").prompt_ids(TALK, tokenizer())


def test_a_character_that_the_tokenizer_lacks_is_told():
    using = CharacterTokenizer(set("abc"))
    with pytest.raises(TokenizerError, match="'B'"):
        preset("alpaca").encode(TALK, using)


def test_there_are_two_presets():
    with pytest.raises(SettingError, match="no chat template 'vicuna'; there are chatml, alpaca"):
        preset("vicuna")
