"""The six kinds of task. Each function adds files to a workspace and returns the expert's play.

The expert is deterministic given what it has seen, so that greedy decoding can follow it; wordings
of the user and layouts vary. Answers copy, they never compute.
"""
from .fixing import fix
from .layout import Layout, distractors, parameters, setting_file

KINDS = {}


def kind(name, weight):
    def register(f):
        KINDS[name] = f, weight
        return f
    return register


kind("fix", 3.0)(fix)


# ---------------------------------------------------------------------- find a definition
@kind("define", 1.0)
def define(r, names, files):
    layout = Layout(r, names)
    style = r.choices(("def", "class", "constant"), (5, 2, 3))[0]
    name = {"def": names.snake, "class": names.camel, "constant": names.capitals}[style]()
    pattern = {"def": f"def {name}", "class": f"class {name}", "constant": f"{name} ="}[style]
    there = r.random() < 0.9
    path, other = layout.source(names.snake()), layout.source(names.snake())
    lines = definition_lines(r, names, style, name) if there else []
    files[path] = "\n".join(lines + filler(r, names)) + "\n"
    use = f"from {path.split('/')[-1][:-3]} import {name}" if there else f"import {names.word()}"
    files[other] = "\n".join([use] + filler(r, names)) + "\n"
    distractors(r, names, files)
    ask = r.choice(["Where is {} defined?", "Find the definition of {}.", "Which file defines {}?",
                    "Where do we define {}?", "find {}", "In which file is {}?"]).format(name)
    thought = "I search for its definition."

    def play(e):
        e.user(ask)
        if not there:
            e.call(thought, "search_files", "search_files 0", pattern=pattern)
            return e.answer("Nothing.", f"I found no definition of {name}.", ["no definition"],
                            honest=True)
        out = e.call(thought, "search_files", "search_files 1 of 1\n", pattern=pattern).split("\n")
        line = out[2].split(" ")[0]
        e.answer("Found.", f"{name} is defined in {out[1]}, line {line}.", [out[1], f"line {line}"])
    return play


def definition_lines(r, names, style, name):
    before = filler(r, names, 0, 3)
    if style == "def":
        a = parameters(r, names)
        return before + [f"def {name}({', '.join(a)}):", f"    return {r.choice(a + ['7'])}"]
    if style == "class":
        return before + [f"class {name}:", f"    {names.word()} = {names.number()}"]
    return before + [f"{name} = {names.number()}"]


def filler(r, names, low=1, high=3):
    """A few lines of Python."""
    out = []
    for _ in range(r.randint(low, high)):
        if r.random() < 0.5:
            out.append(f"{names.two().upper()} = {names.number()}")
        else:
            a = parameters(r, names)
            out += [f"def {names.snake()}({', '.join(a)}):", f"    return {a[0]}"]
    return out


# ---------------------------------------------------------------------- change a setting
@kind("setting", 1.8)
def setting(r, names, files):
    path, write, keys = setting_file(r, names, files)
    distractors(r, names, files)
    there = r.random() < 0.92
    key = r.choice(list(keys)) if there else names.two()
    old = keys.get(key)
    new = other_value(r, names, old)
    asks = ["Set {k} to {n}.", "Change {k} to {n}.", "Please set {k} to {n}.", "{k} should be {n}.",
            "Set {k} to {n} in {p}.", "Change {k} in {p} to {n}.", "In {p}, set {k} to {n}."]
    if there:
        asks += ["Change {k} from {o} to {n}.", "{k} is {o}. Make it {n}."]
    ask = r.choice(asks).format(k=key, n=new, p=path, o=old)

    def play(e):
        e.user(ask)
        if not there:
            e.call(f"I look for {key}.", "search_files", "search_files 0", pattern=key)
            return e.answer("Nothing.", f"I found no {key}, so nothing was changed.", ["no " + key],
                            honest=True)
        at = e.search_one(f"I look for {key}.", key)
        e.edit(f"I set it to {new}.", at, write(key, old), write(key, new))
        e.answer("Done.", f"{key} in {at} is {new} now.", [key, at, str(new)])
    return play


def other_value(r, names, old):
    if isinstance(old, str) and old in ("true", "false"):
        return "false" if old == "true" else "true"
    if isinstance(old, str):
        return names.word()
    while (n := names.number()) == old:
        pass
    return n


# ---------------------------------------------------------------------- create a file
@kind("create", 1.2)
def create(r, names, files):
    distractors(r, names, files, 0, 3)
    folder = names.word() + "/" if r.random() < 0.4 else ""
    form = r.choice((one_line, lines_of_text, function, constant, script, script))
    path, text, ask, run = form(r, names, folder)

    def play(e):
        e.user(ask)
        e.call("I write the file.", "write_file", "write_file ", path=path, text=text)
        if not run:
            return e.answer("Done.", f"Created {path}.", [path])
        code, output = e.run("Now I run it.", f"python3 {path}")
        e.answer("It works.", f"Created {path}. It prints: {output}", [path, output])
    return play


def one_line(r, names, folder):
    path = folder + names.snake() + r.choice((".txt", ".md"))
    phrase = names.phrase()
    ask = r.choice(["Create {} with the text: {}", "Write a file {} that says: {}",
                    "Make a file {} with this text: {}", "create {}: {}"]).format(path, phrase)
    return path, phrase + "\n", ask, False


def lines_of_text(r, names, folder):
    path = folder + names.snake() + ".txt"
    lines = "\n".join(names.phrase(1, 2) for _ in range(r.randint(2, 4)))
    ask = r.choice(["Create {} with these lines:\n{}", "Write these lines to {}:\n{}",
                    "Make a file {} with the lines\n{}"]).format(path, lines)
    return path, lines + "\n", ask, False


def function(r, names, folder):
    path, name, value = folder + names.snake() + ".py", names.snake(), names.number()
    ask = r.choice(["Create {} with a function {} that returns {}.",
                    "Write {} with a function {} returning {}."]).format(path, name, value)
    return path, f"def {name}():\n    return {value}\n", ask, False


def constant(r, names, folder):
    path, name, value = folder + names.snake() + ".py", names.capitals(), names.number()
    ask = r.choice(["Create {} with {} = {}.", "Make a file {} with {} = {}."])
    return path, f"{name} = {value}\n", ask.format(path, name, value), False


def script(r, names, folder):
    path, phrase, run = folder + names.snake() + ".py", names.phrase(1, 3), r.random() < 0.6
    ask = r.choice(["Write a script {} that prints: {}", "Create {} that prints: {}",
                    "Make a program {} that prints: {}"]).format(path, phrase)
    if run:
        ask = r.choice(["Write and run {} that prints: {}", "Create and run {} that prints: {}",
                        "Write {} that prints {} and run it."]).format(path, phrase)
    return path, f'print("{phrase}")\n', ask, run


# ---------------------------------------------------------------------- read and answer
@kind("read", 2.0)
def read(r, names, files):
    form = r.choices((value_in, value_of, returned, missing, printed, state_of_test, first_line),
                     (3, 2, 2, 1.5, 1, 2, 1))[0]
    play = form(r, names, files)
    distractors(r, names, files)
    return play


def value_in(r, names, files):
    path, _, keys = setting_file(r, names, files)
    key = r.choice(list(keys))
    ask = r.choice(["What is {k} in {p}?", "Read {p}: what is {k}?", "Which value has {k} in {p}?",
                    "What does {p} say about {k}?"]).format(k=key, p=path)

    return lambda e: look_up(e, ask, key, keys[key])


def look_up(e, ask, key, value):
    e.user(ask)
    e.search_one(f"I look for {key}.", key)
    e.answer("There it is.", f"{key} is {value}.", [f"{key} is {value}."])


def value_of(r, names, files):
    path, _, keys = setting_file(r, names, files)
    key = r.choice(list(keys))
    ask = r.choice(["What is {}?", "Which value has {}?", "What is the value of {}?"]).format(key)

    return lambda e: look_up(e, ask, key, keys[key])


def returned(r, names, files):
    path, name = Layout(r, names).source(names.snake()), names.snake()
    a = parameters(r, names)
    value = f"{a[0]} {r.choice('+-*')} {a[-1]}" if r.random() < 0.5 else str(names.number())
    head = filler(r, names, 0, 2)
    files[path] = "\n".join(head + [f"def {name}({', '.join(a)}):", f"    return {value}"]) + "\n"
    ask = r.choice(["What does {} return?", "What does the function {} return?",
                    "What is the result of {}?"]).format(name)

    def play(e):
        e.user(ask)
        e.search_one("I look at its definition.", f"def {name}", context=2)
        e.answer("There it is.", f"{name} returns {value}.", [f"{name} returns {value}."])
    return play


def missing(r, names, files):
    path = Layout(r, names).source(names.snake()) if r.random() < 0.5 else names.snake() + ".txt"
    ask = r.choice(["How many lines has {}?", "What is the first line of {}?", "Read {}.",
                    "How long is {}?"]).format(path)

    def play(e):
        e.user(ask)
        e.call(f"I read {path}.", "read_file", "There is no file", path=path)
        e.answer("It is not there.", f"There is no file {path}.", [f"There is no file {path}."],
                 honest=True)
    return play


def printed(r, names, files):
    path = Layout(r, names).source(names.snake())
    files[path] = f'print("{names.phrase(1, 3)}")\n'
    ask = r.choice(["Run {}. What does it print?", "What does {} print?", "Run {}.", "run {}"])

    def play(e):
        e.user(ask.format(path))
        _, output = e.run("I run it.", f"python3 {path}")
        e.answer("It ran.", f"It prints: {output}", [f"It prints: {output}"])
    return play


def state_of_test(r, names, files):
    test = fix(r, names, files, only_state=True)
    ask = r.choice(["Does {} pass?", "Run {}. Does it pass?", "Does the test {} pass?",
                    "Run the test {}."]).format(test)

    def play(e):
        e.user(ask)
        code, output = e.run("I run the test.", f"python3 {test}")
        if code:
            return e.answer("It fails.", f"No, it fails: {output}", [f"it fails: {output}"])
        e.answer("It passes.", "Yes, it passes.", ["it passes."])
    return play


def first_line(r, names, files):
    path = names.snake() + r.choice((".txt", ".md"))
    lines = [names.phrase() for _ in range(r.randint(2, 5))]
    files[path] = "\n".join(lines) + "\n"
    ask = r.choice(["What is the first line of {}?", "Show me the first line of {}."]).format(path)

    def play(e):
        e.user(ask)
        e.call(f"I read {path}.", "read_file", "read_file", path=path)
        e.answer("There it is.", f"The first line is: {lines[0]}", [lines[0]])
    return play


# ---------------------------------------------------------------------- count and list
@kind("count", 2.2)
def count(r, names, files):
    form = r.choices((count_lines, list_folder, count_suffix, list_all, count_word, list_mentions),
                     (2, 2.5, 1.5, 1, 1.5, 1))[0]
    return form(r, names, files)


def count_lines(r, names, files):
    path = names.snake() + r.choice((".txt", ".md", ".py"))
    lines = [f"{names.word().upper()} = {names.number()}" if path.endswith(".py")
             else names.phrase(1, 2) for _ in range(r.randint(2, 14))]
    files[path] = "\n".join(lines) + "\n"
    distractors(r, names, files)
    ask = r.choice(["How many lines has {}?", "Count the lines of {}.", "How long is {}?",
                    "How many lines does {} have?"]).format(path)

    def play(e):
        e.user(ask)
        e.call(f"I read {path}.", "read_file", "read_file", path=path)
        e.answer("The header says it.", f"{path} has {len(lines)} lines.",
                 [f"{path} has {len(lines)} lines."])
    return play


def list_folder(r, names, files):
    folder = names.word() if r.random() < 0.6 else r.choice(("src", "tests", "lib", "docs"))
    for _ in range(r.randint(2, 5)):
        files[f"{folder}/{names.snake()}{r.choice(('.py', '.txt', '.md'))}"] = names.phrase() + "\n"
    distractors(r, names, files)
    if r.random() < 0.5:
        ask = r.choice(["List the files in {}.", "Which files are in {}?", "What is in {}?",
                        "Show the files in {}."])
        return listing(ask.format(folder), f"{folder}/*")
    ask = r.choice(["How many files are in {}?", "Count the files in {}."]).format(folder)
    return counting(ask, f"{folder}/*", f" in {folder}")


def count_suffix(r, names, files):
    distractors(r, names, files, 2, 6)
    suffix = r.choice((".py", ".txt", ".md", ".json"))
    ask = r.choice(["How many {} files are there?", "Count the {} files.", "How many {} files?"])
    return counting(ask.format(suffix), f"*{suffix}", "", suffix + " ")


def list_all(r, names, files):
    distractors(r, names, files, 2, 5)
    return listing(r.choice(["List all files.", "Which files are there?", "List the files.",
                             "What files do we have?"]), "*")


def listing(ask, glob):
    def play(e):
        e.user(ask)
        out = e.call("I list them.", "search_files", "search_files ", glob=glob)
        body = out.partition("\n")[2]
        e.answer("There they are.", body, body.split("\n"))
    return play


def counting(ask, glob, where, what=""):
    def play(e):
        e.user(ask)
        total = e.call("I list them.", "search_files", "search_files ", glob=glob).split()[3]
        text = f"{total} {what}{'file' if total == '1' else 'files'}{where}."
        e.answer("The header says it.", text, [text])
    return play


def mentions(r, names, files):
    word = names.word()
    for _ in range(r.randint(1, 3)):
        lines = [names.phrase(1, 2) for _ in range(r.randint(1, 3))]
        for _ in range(r.randint(1, 2)):
            lines.insert(r.randint(0, len(lines)), r.choice((f"{names.word()} {word}", word,
                                                             f"{word} {names.word()}")))
        files[names.snake() + r.choice((".txt", ".md"))] = "\n".join(lines) + "\n"
    distractors(r, names, files, 0, 2)
    return word


def count_word(r, names, files):
    word = mentions(r, names, files)
    ask = r.choice(["How many lines contain {}?", "How often does {} occur?",
                    "Count the lines with {}."]).format(word)

    def play(e):
        e.user(ask)
        total = e.call(f"I search for {word}.", "search_files", "search_files ",
                       pattern=word).split()[3]
        text = f"{total} {'line' if total == '1' else 'lines'} with {word}."
        e.answer("The header says it.", text, [text])
    return play


def list_mentions(r, names, files):
    word = mentions(r, names, files)
    ask = r.choice(["Which files mention {}?", "Which files contain {}?",
                    "List the files that contain {}."]).format(word)

    def play(e):
        e.user(ask)
        out = e.call(f"I search for {word}.", "search_files", "search_files ", pattern=word)
        paths = [line for line in out.split("\n")[1:] if not line[0].isdigit()]
        e.answer("There they are.", "\n".join(paths), paths)
    return play
