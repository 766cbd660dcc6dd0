"""The main kind: a test fails because of a wrong constant, operator or returned value."""
import sys

from .layout import Layout, distractors, parameters

MEANINGS = {"+": "sum", "-": "difference", "*": "product"}


class Flaw:
    """One wrong place: how the source reads, what the test reports, what the edit is."""

    def __init__(self, r, names):
        style = r.choices(("constant", "operator", "returned"), (4, 6, 2))[0]
        getattr(self, style)(r, names)

    def constant(self, r, names):
        self.name = names.capitals()
        got, expected = two_numbers(names)
        self.right, self.wrong = f"{self.name} = {expected}", f"{self.name} = {got}"
        self.lines = [self.right]
        self.pattern, self.context = f"{self.name} =", None
        self.used, self.expected = self.name, expected
        self.thought = f"It must be {expected}."
        self.slip_to(f"{self.name} = {{}}", names, got, expected)

    def operator(self, r, names):
        self.name, (a, b) = names.snake(), (names.word(), names.word())
        op = r.choice("+-*")
        bad = r.choice([o for o in "+-*" if o != op])
        x, y = r.randint(5, 12), r.randint(2, 4)
        comment = r.choice(('"""Return the {} of {} and {}."""', "# the {} of {} and {}",
                            '"""The {} of {} and {}."""')).format(MEANINGS[op], a, b)
        self.right, self.wrong = f"return {a} {op} {b}", f"return {a} {bad} {b}"
        self.lines = [f"def {self.name}({a}, {b}):", f"    {comment}", f"    {self.right}"]
        self.pattern, self.context = f"def {self.name}", 2
        self.used, self.expected = f"{self.name}({x}, {y})", eval(f"{x} {op} {y}")
        self.meaning = f"It must be the {MEANINGS[op]}: {op} instead of "
        self.thought = f"{self.meaning}{bad}."
        third, = set("+-*") - {op, bad}
        self.slips = [(f"It must be the {MEANINGS[op]}: {third} instead of {bad}.",
                       f"return {a} {third} {b}")]

    def returned(self, r, names):
        self.name = names.snake()
        got, expected = two_numbers(names)
        self.right, self.wrong = f"return {expected}", f"return {got}"
        self.lines = [f"def {self.name}():", f"    {self.right}"]
        self.pattern, self.context = f"def {self.name}", 2
        self.used, self.expected = f"{self.name}()", expected
        self.thought = f"It must be {expected}."
        self.slip_to("return {}", names, got, expected)

    def slip_to(self, form, names, got, expected):
        while (other := names.number()) in (got, expected):
            pass
        self.slips = [(f"It must be {other}.", form.format(other))]

    def now_reads(self, text):
        """The wrong place after a slip."""
        if self.wrong.split()[-2] in MEANINGS:
            self.thought = f"{self.meaning}{text.split()[-2]}."
        self.wrong = text


def two_numbers(names):
    a = names.number()
    while (b := names.number()) == a:
        pass
    return a, b


def source_text(r, names, flaws, wrong):
    """The module: constants first, then functions; a flaw in `wrong` is written wrongly."""
    flaws = sorted(flaws, key=lambda f: f.name.islower())
    out = [f'"""{names.phrase(2, 3).capitalize()}."""', ""] if r.random() < 0.3 else []
    space = r.random() < 0.7
    for f in flaws:
        lines = [x.replace(f.right, f.wrong) if f in wrong else x for x in f.lines]
        out += ([""] if space and len(lines) > 1 and out and out[-1] else []) + lines
    return "\n".join(out) + "\n"


def test_text(r, layout, module, flaws, extra):
    """A plain program that prints one line per failure, or that all is well."""
    message = r.choices(("FAIL {n}: got {g}, expected {e}", "{n} is {g}, expected {e}"), (7, 3))[0]
    lines = []
    if layout.folder and layout.folder != layout.test_folder:
        lines += ["import sys", f'sys.path.insert(0, "{layout.folder}")']
    elif layout.test_folder and layout.folder != layout.test_folder:
        lines += ["import sys", 'sys.path.insert(0, ".")']
    if extra:
        lines.append("import os")
    lines.append(f"from {module} import {', '.join(f.name for f in flaws)}")
    lines.append("")
    if r.random() < 0.5:
        text = message.format(n="{name}", g="{got}", e="{expected}")
        lines += ["def check(name, got, expected):", "    if got != expected:",
                  f'        print(f"{text}")', "        raise SystemExit(1)", ""]
        lines += [f'check("{f.name}", {f.used}, {f.expected})' for f in flaws]
    else:
        for f in flaws:
            text = message.format(n=f.name, g="{got}", e=f.expected)
            lines += [f"got = {f.used}", f"if got != {f.expected}:", f'    print(f"{text}")',
                      "    raise SystemExit(1)"]
    if extra:
        lines += [f'if not os.path.exists("{extra}"):', f'    print("FAIL: no file {extra}")',
                  "    raise SystemExit(1)"]
    lines.append(f'print("{r.choice(("ok", "ok", "all passed", "all tests pass"))}")')
    return "\n".join(lines) + "\n"


WITHOUT_COMMAND = ["The tests fail. Fix them.", "The tests fail. Fix them.", "Fix the tests.",
                   "The test fails. Fix it.", "Fix the failing test.", "Make the tests pass.",
                   "The tests fail, please fix them.", "Please fix the failing tests.",
                   "Some tests fail. Fix the code.", "tests fail, fix them", "Fix the bug."]
WITH_FILE = ["{} fails. Fix it.", "The test {} fails. Fix it.", "Fix the code so that {} passes.",
             "{} fails, please fix the code.", "Make {} pass.", "fix {}"]


def module_name(r, names):
    """A name that hides no module of Python."""
    while True:
        name = names.word() if r.random() < 0.5 else names.snake()
        if name not in sys.stdlib_module_names:
            return name


def fix(r, names, files, only_state=False):
    layout, module = Layout(r, names), module_name(r, names)
    if only_state:
        flaws, wrong, extra = [Flaw(r, names) for _ in range(r.randint(1, 2))], [], None
        wrong = flaws[:1] if r.random() < 0.5 else []
    else:
        flaws = [Flaw(r, names) for _ in range(r.choice((1, 2, 2, 3)))]
        wrong = r.sample(flaws, min(len(flaws), r.choices((0, 1, 2), (4, 91, 5))[0]))
        extra = f"{names.word()}.txt" if r.random() < 0.1 else None
    path, test = layout.source(module), layout.test(module)
    if path in files or test in files:
        test = layout.test(module + "2")
    files[path] = source_text(r, names, flaws, wrong)
    files[test] = test_text(r, layout, module, flaws, extra)
    if only_state:
        return test
    distractors(r, names, files)
    named = r.random() < 0.4
    ask = r.choice(WITH_FILE).format(r.choice((test, f"python3 {test}", f"`python3 {test}`"))) \
        if named else r.choice(WITHOUT_COMMAND)
    return lambda e: play_fix(e, ask, test, {f.name: f for f in wrong}, named)


def play_fix(e, ask, test, wrong, named):
    e.user(ask)
    if not named:
        e.call("First I look which files there are.", "search_files", "search_files ", glob="*")
    code, output = e.run("I run the test.", f"python3 {test}")
    fixed = []
    while code:
        words = output.replace(":", "").split()
        flaw = wrong.get(words[1] if words[0] == "FAIL" else words[0])
        if flaw is None:
            text = f"The tests still fail: {output}"
            return e.answer("I cannot fix this.", text, [text], honest=True)
        args = {"context": flaw.context} if flaw.context else {}
        path = e.search_one(f"{flaw.name} is wrong. I look for it.", flaw.pattern, **args)
        if flaw.slips and e.r.random() < e.slips:
            # Weight 0: the model sees the mistake and learns only how it goes on from there.
            thought, slip = flaw.slips.pop()
            e.edit(thought, path, flaw.wrong, slip, weight=0.0)
            flaw.now_reads(slip)
        else:
            e.edit(flaw.thought, path, flaw.wrong, flaw.right)
            fixed.append((flaw.name, path))
        code, output = e.run("Now I run the test again.", f"python3 {test}")
    verify = f"python3 {test}"
    if not fixed:
        return e.answer("It passes.", "The tests pass already.", ["pass already"], verify)
    name, path = fixed[-1]
    e.answer("It passes.", f"Fixed {name} in {path}. The tests pass.", [name, path, "tests pass."],
             verify)
