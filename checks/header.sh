#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Compiles the header alone, in the oldest languages that it promises, with both compilers, and checks each
# function's comment. (`cargo test --test header` checks that the header is current.)
set -eu
cd "$(dirname "$0")/.."
header=include/stubguard.h
bad=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

fail() {
	printf 'header: %s\n' "$*" >&2
	bad=$((bad + 1))
}

# Included twice, to test the include guard; uses everything that is not a function.
cat >"$tmp/alone.c" <<'EOF'
#include <stubguard.h>
#include <stubguard.h>
static void take(int level, const char *message)
{
	(void)level;
	(void)message;
}
int use(struct stubguard_config *config, struct stubguard_stats *stats)
{
	stubguard_log_fn log = take;

	config->size = sizeof(*config);
	config->log = log;
	config->layout.size = 0;
	stats->denied[STUBGUARD_DENIALS - 1] = 0;
	return stubguard_init(config);
}
EOF
cp "$tmp/alone.c" "$tmp/alone.cc"

compile() {
	command -v "$1" >/dev/null || {
		fail "$1 is not installed"
		return
	}
	"$@" -Wall -Wextra -Werror -pedantic \
		-fsyntax-only -I include || fail "$header does not compile with $*"
}
compile gcc -std=c99 "$tmp/alone.c"
compile clang -std=c99 "$tmp/alone.c"
compile g++ -std=c++11 "$tmp/alone.cc"
compile clang++ -std=c++11 "$tmp/alone.cc"

# A kernel includes it, so each macro needs our prefix.
sed -n 's/^#define \([A-Za-z0-9_]*\).*/\1/p' "$header" | grep -v '^STUBGUARD_' >"$tmp/names" || true
while IFS= read -r name; do fail "$name: a macro without our prefix"; done <"$tmp/names"

# One line a function: its name, its type, its comment.
lint=$(awk '
	/^\/\*\*/ { doc = ""; inside = 1 }
	inside { doc = doc " " $0; if (/\*\//) inside = 0; next }
	/^[a-z][a-zA-Z0-9_ *]*\(/ && !/^typedef/ {
		name = $0; sub(/\(.*/, "", name)
		type = name; sub(/[a-z_0-9]+$/, "", type); sub(/.*[ *]/, "", name)
		n++
		if (doc == "") print name ": has no comment"
		else {
			# A comment must say what is returned; for a value, the first sentence may name it.
			told = doc ~ /[Rr]eturns? |return value/ || (type !~ /^(extern )?int $/ && doc ~ /^ \/\*\*  \* (The|What) /)
			if (!told) print name ": its comment does not say what it returns"
			if (doc !~ /[Tt]hread/) print name ": its comment does not say which thread may call it"
		}
		doc = ""
	}
	END { if (n < 10) print "only " n " functions were found"; print "count " n }
' "$header")
count=${lint##*count }
printf '%s\n' "$lint" | grep -v '^count ' >"$tmp/lint" || true
while IFS= read -r line; do fail "$line"; done <"$tmp/lint"

if [ "$bad" -ne 0 ]; then
	echo "header: FAILED, $bad problem(s)"
	exit 1
fi
echo "header: ok, compiles alone as C99 and C++11 with gcc and clang; $count functions say what they return, and on which thread"
