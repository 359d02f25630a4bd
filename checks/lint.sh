#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Format and lints of all sources: Rust, shell, C, Python; licence lines; leftovers.
set -euo pipefail
cd "$(dirname "$0")/.."
bad=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

fail() {
	printf 'lint: %s\n' "$*" >&2
	bad=$((bad + 1))
}

need() {
	command -v "$1" >/dev/null && return
	fail "$1 is not installed"
	return 1
}

# All files that are or will be tracked; a tree without git is a release, which has no other files.
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
	git ls-files --cached --others --exclude-standard
else
	find . -path ./target -prune -o -path ./build -prune -o -path ./.cache -prune -o -type f -printf '%P\n'
fi | sort >"$tmp/names"
mapfile -t files < <(while IFS= read -r name; do [ ! -f "$name" ] || printf '%s\n' "$name"; done <"$tmp/names")

shell=() c=() python=() sources=() code=()
for file in "${files[@]}"; do
	first=
	IFS= read -r first <"$file" || true
	case $file in
	LICENSE* | COPYING* | *.lock | .gitignore | */.gitignore | fuzz/corpus/*) ;;
	# Their formats have no comments.
	debian/changelog | debian/copyright | debian/source/format | debian/*.install | debian/*.docs | debian/*.symbols) ;;
	*.md | *.txt | *.patch | *.svg | *.png | *.json) sources+=("$file") ;;
	*)
		sources+=("$file")
		code+=("$file")
		;;
	esac
	case $first in
	'#!'*python*) python+=("$file") ;;
	'#!'*[/\ ]sh | '#!'*[/\ ]bash | '#!'*sh\ -*) shell+=("$file") ;;
	*) case $file in
		*.sh) shell+=("$file") ;;
		*.py) python+=("$file") ;;
		# uml/glue compiles only in a kernel tree, whose own checks apply (uml/tests/style.sh).
		uml/glue/*) ;;
		*.c) c+=("$file") ;;
		esac ;;
	esac
done

# ---- Rust
cargo fmt --check --manifest-path fuzz/Cargo.toml >/dev/null 2>&1 || fail "cargo fmt would change fuzz/"
cargo fmt --check >"$tmp/out" 2>&1 || fail "cargo fmt would change: $(sed -n "s,^Diff in $PWD/\([^:]*\):.*,\1,p" "$tmp/out" | sort | uniq -c | awk '{printf "%s%s (%s)", n++ ? ", " : "", $2, $1}')"
if ! cargo clippy --all-targets --locked --quiet --message-format short -- -D warnings >"$tmp/out" 2>&1; then
	grep -E '^[^ ]+:[0-9]+:' "$tmp/out" | sort -u >"$tmp/complaints" || true
	[ -s "$tmp/complaints" ] || cp "$tmp/out" "$tmp/complaints"
	cat "$tmp/complaints" >&2
	fail "cargo clippy: $(wc -l <"$tmp/complaints") complaints"
fi

RUSTFLAGS='--cfg fuzzing' cargo clippy --locked --quiet --manifest-path fuzz/Cargo.toml --target-dir build/fuzz/clippy \
	--message-format short -- -D warnings >&2 || fail "cargo clippy complains of fuzz/"

# ---- shell
if need shellcheck; then
	shellcheck -x "${shell[@]}" >&2 || fail "shellcheck complains"
fi

# ---- C. Without -fsyntax-only, since half of gcc's warnings come from its optimiser.
for cc in gcc clang; do
	need "$cc" || continue
	for file in "${c[@]}"; do
		flags=(-O2 -Wall -Wextra -Werror)
		case $file in
		c-tests/*) flags+=(-std=c11 -D_GNU_SOURCE -U_FORTIFY_SOURCE -Wmissing-prototypes -I include -I c-tests/common -I c-tests/window) ;;
		uml/guests/*) flags+=(-D_GNU_SOURCE) ;;
		run/*) flags+=(-std=gnu11 -D_GNU_SOURCE -DVERSION='"0"' -Wmissing-prototypes) ;;
		esac
		"$cc" "${flags[@]}" -S -o /dev/null "$file" 2>"$tmp/out" && continue
		head -n 10 "$tmp/out" >&2
		fail "$file: $cc complains"
	done
done

# ---- Python: compiles; no compiled file is left
for file in "${python[@]}"; do
	python3 -c 'import sys; compile(open(sys.argv[1]).read(), sys.argv[1], "exec")' "$file" || fail "$file: not Python 3"
done

# ---- each source: a licence line near its top, no marker of unfinished work
for file in "${code[@]}"; do
	head -n 3 "$file" | grep -q 'SPDX-License-Identifier: GPL-2\.0-only' ||
		fail "$file: no SPDX line in its first three lines"
done
# The brackets keep this script from finding itself.
if grep -nE '\b(TO[D]O|FI[X]ME|X[X]X)\b' "${sources[@]}" /dev/null >"$tmp/out"; then
	fail "something is left to do:" "$(head -n 5 "$tmp/out")"
fi
if grep -nIE '[[:blank:]]+$' "${code[@]}" /dev/null >"$tmp/out"; then
	fail "blanks at the end of a line:" "$(head -n 5 "$tmp/out")"
fi

if [ "$bad" -ne 0 ]; then
	echo "lint: FAILED, $bad problem(s)"
	exit 1
fi
echo "lint: ok, rustfmt, clippy, ${#shell[@]} shell scripts, ${#c[@]} C files with gcc and clang, ${#python[@]} Python files, ${#code[@]} sources with a licence line"
