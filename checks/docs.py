#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""docs/troubleshooting.md has each line that the library and the glue can print, and each counter of /proc/stubguard.

A line's text comes from the sources; its variable parts match anything. It must be in `code` in the first cell of a table's
row. Also: the target of each link in a document, and each page of docs/ that a source names, exists.
"""

import re
import subprocess

from elf import TOP, Report

PAGE = "docs/troubleshooting.md"
# Their lines are for uml/audit.py: docs/audit.md.
NOT_A_LOG = {"stubguard_audit.c", "audit.c"}
# Matches any text.
ANY = "\0"
# The line begins here: no text may come before.
BEGIN = "\1"

STRING = r'"(?:\\.|[^"\\])*"'
report = Report("docs")


def between(text, start):
    """The text in the parentheses that open at `start`, and its end. Parentheses in strings do not count."""
    depth = 0
    for match in re.compile(rf"{STRING}|'\\?.'|[()]").finditer(text, start):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if not depth:
            return text[start + 1 : match.start()], match.end()
    raise ValueError(f"unbalanced: {text[start:start + 60]}")


def without(text, *starts):
    """The text without these calls. `starts`: patterns of a call up to its parenthesis."""
    for start in starts:
        while match := re.search(rf"{start}\s*(?=\()", text):
            text = text[: match.start()] + text[between(text, match.end())[1] :]
    return text


def code_only(text):
    """The text without comments; strings stay."""
    return re.sub(rf"({STRING})|//[^\n]*|/\*.*?\*/", lambda m: m[1] or " ", text, flags=re.S)


def plain(literal):
    return literal[1:-1].replace("\\n", "").replace('\\"', '"').replace("\\'", "'")


def has_words(line):
    return re.search(r"[A-Za-z]{2}", line.replace(ANY, " "))


# ---- the library


def rust_sources():
    for path in sorted((TOP / "src").rglob("*.rs")):
        if "tests" in path.parts or path.name in ("tests.rs", "fuzz.rs"):
            continue
        text = re.split(r"#\[cfg\(test\)\]\s*(?:#\[[^\]]*\]\s*)*mod\s", code_only(path.read_text()))[0]
        yield path, without(text, r"\bglobal_asm!", r"\basm!", r"\bcompile_error!", r"\bassert!")


def chains(text):
    """Yields the lines that are built as .str("a").num(b).str("c"), each with all its alternatives."""
    last, lines = None, []
    for match in re.finditer(r"\.(?:str|num|hex)\(", text):
        inner, end = between(text, match.end() - 1)
        strings = [plain(s) for s in re.findall(STRING, inner)] if match[0] == ".str(" else []
        strings = [s for s in strings if not s.startswith("CARGO_")] or [ANY]
        if last is None or text[last : match.start()].strip():
            yield from lines
            lines = [""]
        lines = [line + s for line in lines for s in strings]
        last = end
    yield from lines


def library():
    """(lines, names): names are strings in tables."""
    lines, names = [], []
    for path, text in rust_sources():
        where = str(path.relative_to(TOP))
        lines += [(where, line) for line in chains(text) if has_words(line) and line != "stubguard: "]
        rest = without(text, r"\.str")
        # An arm of a match, or a member of a pair, is a name or a part of a line.
        for pattern in (rf"=>\s*({STRING})", rf"\(({STRING}),", rf"(?<=[A-Z]), ({STRING})\)"):
            for literal in re.findall(pattern, rest):
                text_of = plain(literal)
                if has_words(text_of):
                    (lines if text_of[0] in ",;: " else names).append((where, text_of))
        names += [(where, plain(s)) for s in re.findall(rf"const \w+: &str =\s*({STRING})", rest)]
    return lines, names


# ---- the glue


def glue():
    lines, names = [], []
    for path in sorted((TOP / "uml/glue").rglob("*.[ch]")):
        if path.name in NOT_A_LOG:
            continue
        where = str(path.relative_to(TOP))
        text = code_only(path.read_text())
        text = re.sub(r"^[ \t]*#[ \t]*include[^\n]*", "", text, flags=re.M)
        text = without(text, r"\b__uml_setup", r"\bstatic_assert", r"\basm(?:\s+volatile)?", r"\b__attribute__")
        names += [(where, name) for name in re.findall(r'\*name = "(\w+)"', text) if not name.endswith("_")]
        names += [(where, name) for name in re.findall(r'\{ "(\w+)", STUB_LOST_\w+ \}', text)]
        lines += [(where, line) for line in map(c_line, re.findall(rf"{STRING}(?:\s*{STRING})*", text)) if line]
    for path in sorted((TOP / "uml/series").glob("*.patch")):
        if path.name < "0100":
            continue
        where = str(path.relative_to(TOP))
        patch = "\n".join(line[1:] for line in path.read_text().splitlines() if line.startswith("+"))
        for match in re.finditer(r"\b(?:_?printk\w*|pr_\w+|panic|os_warn|os_info)\s*(?=\()", patch):
            inner = between(patch, match.end())[0]
            lines += [(where, line) for line in map(c_line, re.findall(rf"{STRING}(?:\s*{STRING})*", inner)) if line]
    return lines, names


def c_line(literals):
    """The line of a text, without the beginning of all lines; None if it is no line."""
    line = "".join(plain(s) for s in re.findall(STRING, literals))
    if " " not in line.strip() and "%" not in line:
        return None
    line = re.sub(r"^stubguard: |^%s : ", "", line)
    line = re.sub(r"%[-+ #0-9.]*(?:hh|h|ll|l|z)?[diouxXcsp]", ANY, line)
    begin = BEGIN if literals.rstrip().endswith('\\n"') and line[:1].isalnum() else ""
    return begin + line if has_words(line) else None


# ---- counters


def counters(names):
    header = (TOP / "include/stubguard.h").read_text()
    body = re.search(r"^struct stubguard_stats \{(.*?)^\}", code_only(header), re.S | re.M)[1]
    found = re.findall(r"uint64_t (\w+);", body)
    reasons = [plain(s[1:]) for _, text in rust_sources() for s in re.findall(rf'=>\s*(c{STRING})', text)]
    wanted = int(re.search(r"#define STUBGUARD_DENIALS (\d+)", header)[1])
    if len(reasons) != wanted:
        report.bad(f"{len(reasons)} names of denials in src, STUBGUARD_DENIALS is {wanted}: the check is broken")
    if not found:
        report.bad("no members of struct stubguard_stats: the check is broken")
    return found + [f"denied_{reason}" for reason in reasons] + names


# ---- links


def slug(heading):
    text = re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors(path):
    return {slug(h) for h in re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", path.read_text(), flags=re.S), re.M)}


def links(files):
    count = 0
    for path in files:
        where = str(path.relative_to(TOP))
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for name in re.findall(r"\bdocs/[\w./-]+\.(?:md|json|svg)\b", text):
            count += 1
            if not (TOP / name).is_file():
                report.bad(f"{where}: there is no {name}")
        if path.suffix != ".md":
            continue
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.S)):
            if re.match(r"https?:", target):
                continue
            count += 1
            file, _, anchor = target.partition("#")
            to = (path.parent / file).resolve() if file else path
            if not to.exists():
                report.bad(f"{where}: there is no {file}")
            elif anchor and anchor not in anchors(to):
                report.bad(f"{where}: {to.name} has no heading #{anchor}")
    return count


def tracked():
    """All files that are or will be tracked; in a tree without git the documents."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=TOP, capture_output=True, text=True).stdout if (TOP / ".git").exists() else ""
    return [TOP / name for name in names.split("\0") if name] or [*TOP.glob("*.md"), *(TOP / "docs").rglob("*.md")]


def main():
    page = (TOP / PAGE).read_text()
    spans = [span for cell in re.findall(r"^\| (.*?) \|", page, re.M) for span in re.findall(r"`([^`]+)`", cell)]
    exact = set(spans)
    lines, names = library()
    glue_lines, counter_names = glue()
    if not lines or not names or not glue_lines or not counter_names:
        report.bad("no lines, names or counters found in the sources: the check is broken")
    for where, line in sorted(set(lines + glue_lines)):
        pattern = re.compile(".*?".join(map(re.escape, line.lstrip(BEGIN).split(ANY))))
        found = pattern.match if line.startswith(BEGIN) else pattern.search
        if not any(map(found, spans)):
            report.bad(f"{PAGE} lacks a line of {where}: {line.strip(BEGIN + ' ').replace(ANY, '...')}")
    for where, name in sorted(set(names)):
        if name not in exact:
            report.bad(f"{PAGE} lacks a name of {where}: {name}")
    found = counters([name for _, name in counter_names])
    for name in found:
        if name not in exact:
            report.bad(f"{PAGE} lacks the counter {name}")
    count = links([p for p in tracked() if p.is_file() and "corpus" not in p.parts and p.suffix != ".lock"])
    report.end(f"{len(set(lines + glue_lines))} lines, {len(set(names))} names, {len(found)} counters, {count} links")


if __name__ == "__main__":
    main()
