"""Where files stand in a generated project, and files that are only there to be in the way."""
import zlib


class Layout:
    """Folders of a Python project. One combination in five, by hash, is kept for evaluation."""
    SOURCES = "", "src", "lib", "app", "WORD"
    TESTS = "", "tests", "test", "checks", "WORD"
    FORMS = "test_{}.py", "{}_test.py", "check_{}.py", "tests.py", "run_tests.py"

    def __init__(self, r, names):
        evaluation = names.words is names_pool(True)
        while True:
            combo = r.choice(self.SOURCES), r.choice(self.TESTS), r.choice(self.FORMS)
            if r.random() < 0.3:
                combo = "", "", combo[2]
            if (zlib.crc32("|".join(combo).encode()) % 5 == 1) == evaluation:
                break
        self.folder, self.test_folder = (names.word() if f == "WORD" else f for f in combo[:2])
        self.form = combo[2]

    def source(self, name):
        return f"{self.folder}/{name}.py" if self.folder else f"{name}.py"

    def test(self, name):
        file = self.form.format(name)
        return f"{self.test_folder}/{file}" if self.test_folder else file


def names_pool(evaluation):
    from .words import POOLS
    return POOLS[evaluation]


def parameters(r, names):
    return [names.word() for _ in range(r.choice((1, 2, 2)))]


def distractors(r, names, files, low=0, high=2):
    for _ in range(r.randint(low, high)):
        folder = names.word() + "/" if r.random() < 0.2 else ""
        suffix = r.choice((".txt", ".md", ".py", ".json"))
        text = {".py": f"{names.two().upper()} = {names.number()}\n", ".json": "{}\n"}
        files[f"{folder}{names.snake()}{suffix}"] = text.get(suffix, names.phrase() + "\n")
    if r.random() < 0.3:
        files["README.md"] = f"# {names.word().capitalize()}\n\n{names.phrase().capitalize()}.\n"


FORMS = {  # suffix -> how an entry is written, line around it
    ".ini": ("{} = {}", "{}"), ".toml": ("{} = {}", "{}"), ".conf": ("{} = {}", "{}"),
    ".yaml": ("{}: {}", "{}"), ".env": ("{}={}", "{}"), ".json": ('"{}": {}', "  {}"),
    ".py": ("{} = {}", "{}"),
}


def setting_file(r, names, files):
    """Adds a settings file -> path, how to write an entry, its keys with values."""
    suffix = r.choice(list(FORMS))
    entry, line = FORMS[suffix]
    capital = suffix in (".py", ".env")
    keys = {}
    for _ in range(r.randint(2, 6)):
        key = names.two() if r.random() < 0.85 else names.word()
        keys[key.upper() if capital else key] = value(r, names, suffix)
    stem = names.snake() if r.random() < 0.5 else r.choice(("settings", "config", "options"))
    path = (names.word() + "/" if r.random() < 0.25 else "") + stem + suffix

    def write(key, v):
        quoted = isinstance(v, str) and v not in ("true", "false") and suffix in (".json", ".toml",
                                                                                ".py")
        return entry.format(key, f'"{v}"' if quoted else v)
    body = [line.format(write(k, v)) for k, v in keys.items()]
    if suffix == ".json":
        body = ["{"] + [b + "," for b in body[:-1]] + body[-1:] + ["}"]
    elif suffix in (".ini", ".toml") and r.random() < 0.5:
        body.insert(0, f"[{names.word()}]")
    files[path] = "\n".join(body) + "\n"
    return path, write, keys


def value(r, names, suffix):
    form = r.choices(("number", "word", "flag"), (7, 2, 0 if suffix == ".py" else 1))[0]
    return {"number": names.number, "word": names.word,
            "flag": lambda: r.choice(("true", "false"))}[form]()
