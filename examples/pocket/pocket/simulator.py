"""The five tools over files in memory, with the outcome texts of the real ones, to the byte.

test_simulator.py holds it against the program. A command can only be `python3 FILE`: the file is
really executed, with imports, printing and os.path.exists looking at the files in memory.
"""
import re
import types


def count(n, one):
    return f"{n} {one}" if n == 1 else f"{n} {one}s"


def numbered(lines, first):
    return "\n".join(f"{first + i} {text}" for i, text in enumerate(lines))


def split_lines(text):
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def edit_distance(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


MODIFIERS = "export pub async static inline public private protected constexpr".split()
DEFINERS = """def class struct enum union namespace fn func function type interface trait module
#define""".split()


def is_definition(line):
    for word in re.findall(r"\S+", line):
        if word not in MODIFIERS:
            return word in DEFINERS
    return False


def glob_pattern(glob):
    out, i = "", 0
    while i < len(glob):
        if glob.startswith("**/", i):
            out, i = out + "(?:.*/)?", i + 3
        elif glob.startswith("**", i):
            out, i = out + ".*", i + 2
        elif glob[i] == "*":
            out, i = out + "[^/]*", i + 1
        elif glob[i] == "?":
            out, i = out + "[^/]", i + 1
        else:
            out, i = out + re.escape(glob[i]), i + 1
    return re.compile(out + r"\Z")


class Workspace:
    def __init__(self, files=None):
        self.files = dict(files or {})
        self.seconds = "0.1"            # what the next command's header says it took

    def call(self, tool, args):
        try:
            return getattr(self, "tool_" + tool)(**args)
        except (TypeError, AttributeError):
            return f'There is no tool "{tool}" with {", ".join(args)}.'

    # ------------------------------------------------------------------ reading
    def entries(self, folder):
        prefix, found = folder.rstrip("/") + "/", set()
        for path in self.files:
            if path.startswith(prefix):
                rest = path[len(prefix):]
                found.add(rest.split("/")[0] + "/" if "/" in rest else rest)
        return sorted(found)

    def missing(self, path):
        near = sorted(self.files, key=lambda p: (edit_distance(path, p), p))[:3]
        return f"There is no file {path}." + (f" Similar names: {', '.join(near)}." if near else "")

    def tool_read_file(self, path, to=None, **rest):
        first = int(rest.get("from", 1))
        if path not in self.files:
            entries = self.entries(path)
            if not entries:
                return self.missing(path)
            what = "1 entry" if len(entries) == 1 else f"{len(entries)} entries"
            return f"read_file {path} is a directory, {what}\n" + "\n".join(entries)
        lines = split_lines(self.files[path])
        if not lines:
            return f"read_file {path} 0 of 0\n(empty)"
        last = min(len(lines), int(to) if to else len(lines))
        return (f"read_file {path} {first}-{last} of {len(lines)}\n"
                + numbered(lines[first - 1:last], first))

    def tool_search_files(self, pattern=None, glob=None, context=0):
        paths = sorted(self.files, key=str.encode)
        if glob:
            match = glob_pattern(glob)
            paths = [p for p in paths if match.match(p if "/" in glob else p.split("/")[-1])]
        if pattern is None:
            body, total = paths, len(paths)
        else:
            body, total = self.matches(paths, re.compile(pattern), int(context))
        return f"search_files {total} of {total}\n" + ("\n".join(body) or "(no matches)")

    def matches(self, paths, pattern, context):
        found, total = [], 0
        for path in paths:
            lines = split_lines(self.files[path])
            hits = [i for i, line in enumerate(lines) if pattern.search(line)]
            if hits:
                total += len(hits)
                shown = sorted({j for i in hits for j in range(i - context, i + context + 1)
                                if 0 <= j < len(lines)})
                text = [f"{j + 1}{'' if j in hits else '-'} {lines[j]}" for j in shown]
                defines = any(is_definition(lines[i]) for i in hits)
                found.append((not defines, path.encode(), [path] + text))
        return [line for _, _, block in sorted(found) for line in block], total

    # ------------------------------------------------------------------ writing
    def tool_write_file(self, path, text):
        what = "replaced" if path in self.files else "created"
        self.files[path] = text
        return f"write_file {path} {what}, {count(len(split_lines(text)), 'line')}"

    def tool_edit_file(self, path, new, old=None, lines=None):
        if path not in self.files:
            return self.missing(path)
        text = self.files[path]
        if old is not None:
            return self.replace_text(path, text, old, new)
        a, _, b = str(lines).partition("-")
        a, b = int(a), int(b or a)
        all_lines = text.splitlines(keepends=True)
        if new and not new.endswith("\n"):
            new += "\n"
        self.files[path] = "".join(all_lines[:a - 1]) + new + "".join(all_lines[b:])
        return self.edited(path, a, b, a + len(split_lines(new)) - 1 if new else None)

    def replace_text(self, path, text, old, new):
        n = text.count(old) if old else 0
        if n == 0:
            return f"old does not occur in {path}."
        if n > 1:
            at = [text.count("\n", 0, m.start()) + 1 for m in re.finditer(re.escape(old), text)]
            return (f"old occurs {n} times in {path}: lines {', '.join(map(str, at))}. "
                    "Add a line of context or use lines.")
        start = text.index(old)
        self.files[path] = text[:start] + new + text[start + len(old):]
        first = text.count("\n", 0, start) + 1
        last = first + old.removesuffix("\n").count("\n")
        return self.edited(path, first, last, first + new.removesuffix("\n").count("\n"))

    def edited(self, path, a, b, d):
        lines = split_lines(self.files[path])
        arrow = "deleted" if d is None else f"{a}-{d}"
        low, high = max(1, a - 3), min(len(lines), (a - 1 if d is None else d) + 3)
        return f"edit_file {path} {a}-{b} → {arrow}\n" + numbered(lines[low - 1:high], low)

    # ------------------------------------------------------------------ running
    def tool_run_command(self, command, **_):
        m = re.fullmatch(r"python3 ([\w./-]+)", command)
        if m:
            code, output = self.run_python(m[1])
        else:
            word = command.split()[0] if command.split() else ""
            code, output = 127, f"bash: line 1: {word}: command not found"
        return (f"exit {code} · {self.seconds} s · run_command {command}\n"
                + (output.rstrip("\n") or "(no output)"))

    def run_python(self, path):
        if path not in self.files:
            return 2, f"python3: can't open file '{path}': [Errno 2] No such file or directory"
        return Interpreter(self.files, path).run()


class Interpreter:
    """Executes one program of the workspace."""

    def __init__(self, files, path):
        self.files, self.path, self.output, self.modules = files, path, [], {}
        folder = path.rpartition("/")[0]
        self.sys = types.SimpleNamespace(path=[folder], exit=self.exit)
        self.os = types.SimpleNamespace(path=types.SimpleNamespace(exists=files.__contains__))
        self.builtins = dict(vars(__import__("builtins")))
        self.builtins.update(print=self.print, __import__=self.load, open=None, input=None)

    def exit(self, code=0):
        raise SystemExit(code)

    def print(self, *values):
        self.output.append(" ".join(map(str, values)) + "\n")

    def load(self, name, *_):
        if name in ("sys", "os"):
            return getattr(self, name)
        if name not in self.modules:
            for folder in self.sys.path:
                file = f"{folder}/{name}.py" if folder not in ("", ".") else f"{name}.py"
                if file in self.files:
                    self.modules[name] = self.execute(file, name)
                    break
            else:
                raise ModuleNotFoundError(f"No module named '{name}'")
        return self.modules[name]

    def execute(self, file, name):
        module = types.ModuleType(name)
        module.__dict__["__builtins__"] = self.builtins
        exec(compile(self.files[file], file, "exec"), module.__dict__)
        return module

    def run(self):
        code = 0
        try:
            self.execute(self.path, "__main__")
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else int(e.code is not None)
        except Exception as e:                   # as a program's traceback ends; its head differs
            code = 1
            self.output.append(f"Traceback (most recent call last):\n{type(e).__name__}: {e}\n")
        return code, "".join(self.output)
