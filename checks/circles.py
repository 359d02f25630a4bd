#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""No files of src/ depend on each other in a circle: each can be read after those that it depends on.

A file depends on each module that it names by a path from `crate::` or `super::`. Tests and comments do not count.
"""

import re
import sys
from pathlib import Path

SRC = Path(__file__).resolve().parent.parent / "src"


def module(path):
    """The file's module, as a tuple of names: src/window/mod.rs is ("window",)."""
    parts = path.relative_to(SRC).with_suffix("").parts
    return parts[:-1] if parts[-1] == "mod" else parts


def code(path):
    """The text without comments and tests."""
    text = re.sub(r"(?m)^\s*//.*$", "", path.read_text())
    return re.sub(r"(?ms)^#\[cfg\(test\)\].*?^(?:\}|.*;)$", "", text)


def expand(path):
    """The paths that `a::{b, c::{d}}` names."""
    match = re.fullmatch(r"([\w:]*)\{(.*)\}", path, re.S)
    if not match:
        return [path]
    found, depth, start = [], 0, 0
    inside = match[2] + ","
    for at, char in enumerate(inside):
        depth += {"{": 1, "}": -1}.get(char, 0)
        if char == "," and depth == 0:
            part = inside[start:at].strip()
            start = at + 1
            if part:
                found += [match[1] + rest for rest in expand(part)]
    return found


def named(text):
    """All paths from `crate::` or `super::`, whole."""
    for match in re.finditer(r"\b(?:crate|super)::", text):
        at, depth = match.start(), 0
        while at < len(text) and (depth or re.match(r"[\w:{]", text[at])):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        yield from expand(text[match.start():at])


def dependencies(modules, name, path):
    found = set()
    for dependency in named(code(path)):
        words = [word for word in dependency.split("::") if word not in ("self", "")]
        base = ()
        while words and words[0] in ("crate", "super"):
            if words.pop(0) == "super":
                base = (base or name)[:-1]
        words = list(base) + words
        for length in range(len(words), 0, -1):
            if tuple(words[:length]) in modules:
                found.add(tuple(words[:length]))
                break
    return found - {name}


def circles(graph):
    """The groups of modules that reach each other (Tarjan's algorithm)."""
    order, low, stack, groups = {}, {}, [], []

    def visit(node):
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in graph[node]:
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            group = stack[stack.index(node):]
            del stack[stack.index(node):]
            if len(group) > 1:
                groups.append(group)

    for node in graph:
        if node not in order:
            visit(node)
    return groups


def main():
    files = {
        module(path): path
        for path in SRC.rglob("*.rs")
        if not {"tests", "fuzz", "lib"} & set(path.relative_to(SRC).with_suffix("").parts)
    }
    graph = {name: dependencies(files, name, path) for name, path in files.items()}
    found = circles(graph)
    for group in found:
        for name in group:
            others = ", ".join("::".join(other) for other in sorted(graph[name] & set(group)))
            print(f"circles: {'::'.join(name)} needs {others}", file=sys.stderr)
    edges = sum(len(others) for others in graph.values())
    if found or not edges:
        sys.exit("circles: FAILED")
    print(f"circles: ok, {len(files)} files, {edges} dependencies, none in a circle")


main()
