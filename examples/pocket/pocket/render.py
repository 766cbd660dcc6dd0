"""Conversation to tokens, per the chat encoding; the parser of sampled replies."""
import re

USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"
THINK, END_THINK, DSML = "<think>", "</think>", "｜DSML｜"
BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
SYSTEM = "You are a coding agent."


def system_text(files):
    """What stands before the first user text."""
    if "AGENTS.md" not in files:
        return SYSTEM
    return f"{SYSTEM}\n\n# AGENTS.md\n" + files["AGENTS.md"].rstrip("\n")


def call_markup(tool, args):
    """-> segments of one tool_calls block: (text, is special)."""
    out = [("\n\n<", False), (DSML, True), ("tool_calls>\n<", False), (DSML, True),
           (f'invoke name="{tool}">\n', False)]
    for key, value in args.items():
        is_text = isinstance(value, str)
        kind = "true" if is_text else "false"
        out += [("<", False), (DSML, True),
                (f'parameter name="{key}" string="{kind}">{value}</', False), (DSML, True),
                ("parameter>\n", False)]
    out += [("</", False), (DSML, True), ("invoke>\n</", False), (DSML, True),
            ("tool_calls>", False)]
    joined = []
    for text, special in out:
        if joined and not special and not joined[-1][1]:
            joined[-1] = joined[-1][0] + text, False
        else:
            joined.append((text, special))
    return joined


def opener(thinking):
    return [(ASSISTANT, True), (THINK if thinking else END_THINK, True)]


def reply(thinking, thought, content="", call=None):
    """What the model writes after the opener, EOS included."""
    out = [(thought, False), (END_THINK, True)] if thinking else []
    if content:
        out.append((content, False))
    if call:
        out += call_markup(*call)
    return [s for s in out if s[0]] + [(EOS, True)]


def tool_result(outcome):
    return [(USER, True), (f"<tool_result>{outcome}</tool_result>", False)]


CALL = re.compile(r"\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"([^\"\n]*)\">\n"
                  r"(.*?)</｜DSML｜invoke>\n</｜DSML｜tool_calls>\Z", re.S)
PARAMETER = re.compile(r"<｜DSML｜parameter name=\"([^\"]*)\" string=\"(true|false)\">"
                       r"(.*?)</｜DSML｜parameter>\n", re.S)


def parse(text):
    """Reply text after reasoning, without EOS -> content, call or None."""
    m = CALL.search(text)
    if not m:
        return text, None
    args = {}
    for key, is_text, value in PARAMETER.findall(m[2]):
        args[key] = value if is_text == "true" else int(value) if value.isdigit() else value
    return text[:m.start()], (m[1], args)
