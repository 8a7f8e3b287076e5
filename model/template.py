"""The chat format as a Jinja template, for programs that open an exported folder and know only templates.

``model/chat.py`` is the definition; tests hold this text against it and against every released render. A tokenizer that
brings a template of its own keeps it. User text is *not* protected here (a template sees one string): only our processor
keeps ``<|im_end|>`` typed by a user as letters.
"""

from model.chat import TOOLS_HEAD, TOOLS_SHAPE, TOOLS_TAIL

CHAT_TEMPLATE = (
    """\
{%- set head = HEAD -%}
{%- set tail = TAIL -%}
{%- set shape = SHAPE -%}
{%- set system = messages[0].content if messages and messages[0].role == 'system' else '' -%}
{%- set opened = messages and messages[0].role == 'system' -%}
{%- if tools -%}
{{- '<|im_start|>system\\n' + (system + '\\n\\n' if opened else '') -}}
{{- head }}{% for tool in tools %}{{ '\\n' + tool | tojson }}{% endfor -%}
{{- tail + '<tool_call></tool_call> XML tags:\\n<tool_call>' + shape + '</tool_call><|im_end|>\\n' -}}
{%- elif opened -%}
{{- '<|im_start|>system\\n' + system + '<|im_end|>\\n' -}}
{%- endif -%}
{%- set state = namespace(query=messages | length - 1, found=false) -%}
{%- for message in messages | reverse -%}
{%- if not state.found and message.role == 'user' and not (message.content.startswith('<tool_response>')
    and message.content.endswith('</tool_response>')) -%}
{%- set state.query = messages | length - 1 - loop.index0 -%}
{%- set state.found = true -%}
{%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
{%- if message.role == 'user' or (message.role == 'system' and not loop.first) -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- elif message.role == 'assistant' -%}
{%- set content = message.content if message.content is string else '' -%}
{%- set thought = '' -%}
{%- if message.reasoning_content is string -%}
{%- set thought = message.reasoning_content -%}
{%- elif '</think>' in content -%}
{%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') -%}
{%- set content = content.split('</think>')[-1].lstrip('\\n') -%}
{%- endif -%}
{{- '<|im_start|>assistant\\n' -}}
{%- if loop.index0 > state.query and (loop.last or thought.strip('\\n')) -%}
{{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') -}}
{%- else -%}
{{- content -}}
{%- endif -%}
{%- for call in message.tool_calls or [] -%}
{%- set function = call.function or call -%}
{{- '\\n' if content or not loop.first else '' -}}
{{- '<tool_call>\\n{"name": "' + function.name + '", "arguments": ' -}}
{{- function.arguments if function.arguments is string else function.arguments | tojson -}}
{{- '}\\n</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- elif message.role == 'tool' -%}
{%- if loop.first or messages[loop.index0 - 1].role != 'tool' -%}{{- '<|im_start|>user' -}}{%- endif -%}
{{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' -}}
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' -%}{{- '<|im_end|>\\n' -}}{%- endif -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- if enable_thinking is defined -%}{{- '<think>\\n' if enable_thinking else '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}
{%- endif -%}
""".replace("HEAD", repr(TOOLS_HEAD))
    .replace("TAIL", repr(TOOLS_TAIL))
    .replace("SHAPE", repr(TOOLS_SHAPE))
)
