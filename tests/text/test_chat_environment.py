"""Chat templates come from anybody: they end, stay small, and reach only the conversation."""

import pytest

from cloche.errors import SettingError, TextError
from cloche.text import chat_environment
from cloche.text.chat import ChatTemplate
from cloche.text.messages import Message


def render(source: str, *contents: str) -> str:
    messages = [Message("user", content) for content in contents or ("Hi",)]
    return ChatTemplate(source, name="t").render(messages)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% for m in messages %}{{ loop.index }}{{ m.content }}{% endfor %}", "1a2b"),
        ("{% for m in messages if m.content == 'b' %}{{ m.content }}{% endfor %}", "b"),
        ("{% for m in messages %}{{ m.content }}{% break %}{% endfor %}", "a"),
        ("{{ messages | map(attribute='content') | join(', ') }}", "a, b"),
        ("{{ (messages | selectattr('content', 'equalto', 'b') | first).role }}", "user"),
        ("{% set ns = namespace(n=0) %}{% set ns.n = ns.n + 2 %}{{ ns.n ~ 'x' * 3 }}", "2xxx"),
        ("{% macro f(x) %}[{{ x }}]{% endmacro %}{{ f(messages[-1]['content']) }}", "[b]"),
        ("{{ messages[0] | tojson }}", '{"role": "user", "content": "a"}'),
        ("{{ {'a': ['<']} | tojson(indent=1) }}", '{\n "a": [\n  "<"\n ]\n}'),
        ("{{ none }}{{ nothing }}{{ 7 % 4 }}{{ [1, (2, 3)] }}", "None3[1, (2, 3)]"),
        ("{{ 'a-b'.split('-')[1].upper() }}{{ 'x'.replace('x', 'y') }}", "By"),
        ("{{ ','.join(['1', '2']) }}{{ range(3) | list | length }}", "1,23"),
        ("{% generation %}{{ messages[0].content }}{% endgeneration %}!", "a!"),
        ("{% if tools is none and documents is none %}ok{% endif %}", "ok"),
    ],
)
def test_templates_can_do_what_chat_templates_do(source, text):
    assert render(source, "a", "b") == text


NINES = "range(99999)"


@pytest.mark.parametrize(
    "source",
    [
        f"{{% for a in {NINES} %}}{{% for b in {NINES} %}}{{% endfor %}}{{% endfor %}}",
        f"{{% for a in {NINES} if false %}}{{% endfor %}}" * 3,
        "{% macro f() %}{{ f() ~ f() if caller is undefined }}{% endmacro %}{{ f() }}",
        f"{{% for a in {NINES} recursive %}}{{{{ loop({NINES}) }}}}{{% endfor %}}",
        "{% set ns = namespace(x=[1]) %}{% for a in range(99) %}{% set ns.x = [ns.x, ns.x] %}"
        "{% endfor %}{{ ns.x }}",
    ],
)
def test_a_template_that_would_loop_for_days_is_stopped(source, monkeypatch):
    monkeypatch.setattr(chat_environment, "MOST_STEPS", 10_000)
    with pytest.raises(TextError, match=r"more than 10,000 steps|recursion"):
        render(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'a' * 999999999999 }}",
        "{{ 999999999999 * 'a' }}",
        "{{ range(999999999999) }}",
        "{{ 3 ** 999999999999 }}",
        "{{ '%999999999999d' % 3 }}",
        "{{ '{:999999999999}'.format(3) }}",
        "{{ 'a'.ljust(999999999999) }}",
        "{{ 2.5 | round(999999999999, 'ceil') }}",
        "{% set a = 'a' * 100000 %}{{ a.replace('', a) }}",
        "{% set a = 'a' * 100000 %}{{ a | replace('a', a) }}",
        "{% set a = 'a' * 1000 %}{{ (a * 1000).join([a] * 99999) }}",
        "{% set a = 'a\n' * 100000 %}{{ a | indent(99999) }}",
        "{{ range(99999) | map('string') | map('replace', '1', 'x' * 100000) | list | length }}",
        "{% set ns = namespace(x='a') %}{% for a in range(99) %}{% set ns.x = ns.x ~ ns.x %}"
        "{% endfor %}",
        "{% set ns = namespace(x=3) %}{% for a in range(99) %}{% set ns.x = ns.x * ns.x %}"
        "{% endfor %}",
    ],
)
def test_a_template_that_would_fill_the_memory_is_stopped(source, monkeypatch):
    monkeypatch.setattr(chat_environment, "MOST_CHARACTERS_MADE", 10_000_000)
    with pytest.raises(TextError, match=r"^t: line [12]: "):
        render(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ raise_exception.__globals__.x }}",
        "{{ self._TemplateReference__context.x }}",
        "{{ strftime_now.__self__.x }}",
    ],
)
def test_a_template_reaches_nothing_of_python(source):
    with pytest.raises(TextError, match=r"unsafe|undefined"):
        render(source)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("a\n{{ x ", "t: line 2"),
        ("\n\n{% include 'secret' %}", "t: line 3: include asks for another template"),
        ("{{ 'a' | center(3) }}", "t: line 1: No filter named 'center'"),
        ("{% generation %}", "t: line 1: .*endgeneration"),
        ("{{ " + "(" * 3000 + ")" * 3000 + " }}", "t"),
    ],
)
def test_wrong_syntax_is_told_with_its_line(source, said):
    with pytest.raises(SettingError, match=said):
        render(source)
