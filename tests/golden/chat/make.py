#!/usr/bin/env python3
"""Records what Jinja2, set up as transformers does for chat templates, makes of

    expressions.txt   one template a line
    layout.txt        templates between lines of ---: what becomes of white space
    templates/*.jinja our own ones, in the manner of the common families, over conversations.json

into expressions.json and rendered.json. Where Jinja2 fails, "error" is true instead of a text.

    python3 -m venv /tmp/e && /tmp/e/bin/pip install transformers==4.57.6 jinja2==3.1.6
    /tmp/e/bin/python tests/golden/chat/make.py
"""
import datetime
import json
import pathlib

import jinja2
import transformers
import transformers.utils.chat_template_utils as chat

HERE = pathlib.Path(__file__).parent
DATE = "2026-01-31 13:05:09"
VARS = {
    "d": {"a": 1, "b": "x", "c": None},
    "l": ["a", "b", "c"],
    "s": "héllo",
    "ld": [{"k": "y", "i": 1, "n": {"m": 5}}, {"k": "x", "i": 2, "n": {"m": 6}}, {"k": "x", "i": 3, "n": {}}],
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi there"},
                 {"role": "assistant", "content": "Hello"}],
}


class Today(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromisoformat(DATE)


chat.datetime = Today


def render(source, variables):
    try:
        return {"text": chat._compile_jinja_template(source).render(**variables)}
    except Exception as e:  # whatever Jinja2 or Python says: ours says it too, in its own words
        return {"error": True, "says": f"{type(e).__name__}: {e}"[:100]}


def write(name, value):
    value["versions"] = {"transformers": transformers.__version__, "jinja2": jinja2.__version__}
    text = json.dumps(value, ensure_ascii=False, indent=0)
    (HERE / name).write_text(text + "\n", encoding="utf-8")


def main():
    sources = (HERE / "expressions.txt").read_text(encoding="utf-8").splitlines()
    sources += (HERE / "layout.txt").read_text(encoding="utf-8").split("\n---\n")
    sources += ["a\r\n{% if true %}\r\nb\r{% endif %}\r\n", "\n", "", "\n\n", "a\n", "a\n\n", "{{ 'a\r\nb' | length }}"]
    write("expressions.json", {
        "date": DATE, "vars": VARS,
        "cases": [{"template": s, **render(s, VARS)} for s in sources]})
    conversations = json.loads((HERE / "conversations.json").read_text(encoding="utf-8"))
    write("rendered.json", {
        "date": DATE,
        "templates": {p.stem: [render(p.read_text(encoding="utf-8"), c) for c in conversations]
                      for p in sorted(HERE.glob("templates/*.jinja"))}})


main()
