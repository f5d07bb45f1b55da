"""Chat templates in the shapes that published models have, and a tokenizer with all their marks."""

from functools import cache

import tokenizers
from hub_engines import byte_level
from tokenizers import AddedToken

from cloche.text.hub import HubTokenizer

MARKS = (
    *("<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    *("<|begin_of_text|>", "<start_of_turn>", "<end_of_turn>"),
)

CHATML = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"""

# A system text is written where the conversation brings none; as SmolLM2.
DEFAULT_SYSTEM = """\
{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
{{ '<|im_start|>system\nBe helpful.<|im_end|>\n' }}{% endif %}\
{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}\
{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""

# Instructions in brackets, the system text within the first; roles must alternate. As Llama 2.
BRACKETS = """\
{%- if messages[0]['role'] == 'system' %}
  {%- set rest = messages[1:] %}
  {%- set system = '<<SYS>>\n' ~ messages[0]['content'] ~ '\n<</SYS>>\n\n' %}
{%- else %}
  {%- set rest = messages %}
  {%- set system = '' %}
{%- endif %}
{%- for message in rest %}
  {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
    {{- raise_exception('user and assistant must take turns') }}
  {%- endif %}
  {%- if message['role'] == 'user' %}
    {{- bos_token + '[INST] ' + (system if loop.first else '') + message['content'].strip() }}
    {{- ' [/INST]' }}
  {%- elif message['role'] == 'assistant' %}
    {{- ' ' + message['content'] | trim + ' ' + eos_token }}
  {%- endif %}
{%- endfor %}"""

# Roles between marks, the date where the clock can be asked, tools where there are any; as Llama 3.
HEADERS = """\
{{- bos_token }}
{%- if strftime_now is defined %}{%- set today = strftime_now("%d %b %Y") %}{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- if tools is not none %}{{- tools | tojson(indent=4) }}{%- endif %}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' }}
    {{- message.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}"""

# Roles that are plain text to the tokenizer, each turn ended by eos; as Zephyr and TinyLlama.
PLAIN_ROLES = """\
{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\n' + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""

# No system text, the assistant called model; as Gemma.
MODEL_ROLE = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}\
{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}\
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('roles must alternate user/assistant/user/assistant') }}{% endif %}\
{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}\
{% set role = message['role'] %}{% endif %}\
{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}\
{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"""

# The last answer gets an empty thought, earlier ones lose theirs; as Qwen 3.
THINKING = """\
{%- set ns = namespace(last=messages|length - 1, open=true) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.open and message.role == "user" and message.content is string %}
        {%- set ns.open = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role != "assistant" %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- else %}
        {%- set content = message.content %}
        {%- set thought = '' %}
        {%- if '</thought>' in content %}
            {%- set thought = content.split('</thought>')[0].split('<thought>')[-1].strip('\n') %}
            {%- set content = content.split('</thought>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or thought) %}
            {{- '<|im_start|>assistant\n<thought>\n' + thought + '\n</thought>\n\n' + content }}
        {%- else %}
            {{- '<|im_start|>assistant\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"""

# What the assistant writes is said in the template itself.
MARKED = """\
{%- for message in messages %}
{%- if message.role == 'assistant' %}
{{- '<|im_start|>assistant\n' }}{% generation %}{{ message.content + '<|im_end|>' }}\
{% endgeneration %}{{ '\n' }}
{%- else %}{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"""

SHAPES = {
    "chatml": CHATML,
    "default system": DEFAULT_SYSTEM,
    "brackets": BRACKETS,
    "headers": HEADERS,
    "plain roles": PLAIN_ROLES,
    "model role": MODEL_ROLE,
    "thinking": THINKING,
    "marked": MARKED,
}


@cache
def engine() -> tokenizers.Tokenizer:
    found = byte_level()
    found.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in MARKS])
    return found


@cache
def tokenizer() -> HubTokenizer:
    """A byte-level BPE in which all marks are special tokens, `<s>` and `</s>` begin and end."""
    return HubTokenizer(engine().to_str().encode(), roles={"bos": "<s>", "eos": "</s>"})
