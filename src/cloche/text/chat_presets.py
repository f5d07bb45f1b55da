"""The chat templates that cloche brings along, as Jinja.

ChatML is what OpenAI published and Qwen, SmolLM and others use. The Alpaca prompt is that of
Stanford's Alpaca (https://github.com/tatsu-lab/stanford_alpaca) in the shape in which textbooks on
building a language model use it: one wording with and without an input, the answer on a line of its
own. A system text takes the place of its first sentences. Brief is our own: a token for each role,
and nothing else, where ChatML costs a small tokenizer ten tokens a message.
"""

CHATML = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""

ALPACA = """\
{%- if messages and messages[0].role == 'system' -%}
{{- messages[0].content -}}
{%- else -%}
{{- 'Below is an instruction that describes a task. ' -}}
{{- 'Write a response that appropriately completes the request.' -}}
{%- endif -%}
{%- for message in messages -%}
{%- if message.role == 'user' -%}
{{- '\\n\\n### Instruction:\\n' + message.content -}}
{%- if message.input -%}{{- '\\n\\n### Input:\\n' + message.input -}}{%- endif -%}
{%- elif message.role == 'assistant' -%}
{{- '\\n\\n### Response:\\n' + message.content -}}
{%- elif not loop.first -%}
{{- raise_exception('the Alpaca prompt has a place for user, assistant and one system text at '
    + 'the beginning, not for ' + message.role + ' here') -}}
{%- elif message.role != 'system' -%}
{{- raise_exception('the Alpaca prompt has no place for the role ' + message.role) -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '\\n\\n### Response:\\n' -}}{%- endif -%}
"""

BRIEF = """\
{%- for message in messages -%}
{%- if message.role in ('user', 'assistant') -%}
{{- '<|' + message.role + '|>' -}}
{%- elif message.role != 'system' or not loop.first -%}
{{- raise_exception('the brief template has a place for user, assistant and one system text at '
    + 'the beginning, not for ' + message.role + ' here') -}}
{%- endif -%}
{{- message.content + '<|end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}
"""

PRESETS = {"chatml": CHATML, "alpaca": ALPACA, "brief": BRIEF}
"""The presets by name."""
