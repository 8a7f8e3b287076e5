"""The chat format as a Jinja template, for programs that open an exported folder and know only templates.

``model/chat.py`` is the definition; tests hold this text against it and against every released render. A tokenizer that
brings a template of its own keeps it. User text is *not* protected here (a template sees one string): only our processor
keeps ``<|im_end|>`` typed by a user as letters.
"""

from pathlib import Path

from model.chat import TOOLS_HEAD, TOOLS_SHAPE, TOOLS_TAIL

CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja").read_text(encoding="utf-8")
for name, text in (("HEAD", TOOLS_HEAD), ("TAIL", TOOLS_TAIL), ("SHAPE", TOOLS_SHAPE)):
    CHAT_TEMPLATE = CHAT_TEMPLATE.replace(name, repr(text))
