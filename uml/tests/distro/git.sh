#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# git.sh - version control: histories, packs, a server, fsck
# shellcheck disable=SC2016 # what other programs expand
# shellcheck source=uml/tests/distro/lib.sh
. "${0%/*}/lib.sh"

export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_CONFIG_GLOBAL=$PWD/config
git config --global init.defaultBranch main
git config --global safe.directory '*'
git config --global pack.threads 4
n=60
! long || n=400
history() {
	local i
	git init -q a && cd a || return
	for ((i = 1; i <= n; i++)); do
		export GIT_AUTHOR_DATE="@$((1000000000 + i)) +0000" GIT_COMMITTER_DATE="@$((1000000000 + i)) +0000"
		mkdir -p "d$((i % 7))"
		seq "$i" $((i * 20)) >"d$((i % 7))/f$((i % 31))"
		git add -A && git commit -q -m "commit $i"
		[ $((i % 50)) -ne 0 ] || { git checkout -q -b "b$i" HEAD~10 && echo "$i" >side && git add side && git commit -q -m side && git checkout -q main && git merge -q -m merge "b$i"; }
	done
	git log --format=%H | cksum
	git rev-parse HEAD
}
check "a history" history
check "fsck" git -C a fsck --full --strict --no-progress
check "gc" git -C a gc --quiet --aggressive --prune=now
check "fsck, packed" git -C a fsck --full --strict --no-progress
check "packs" sh -c 'git -C a count-objects -v | grep -E "^(count|packs|garbage|in-pack)"; cd a && git verify-pack .git/objects/pack/*.idx'
check "log, blame, diff" sh -c 'git -C a log --stat | cksum; git -C a blame -s d1/f1 | cksum; git -C a diff HEAD~20 | cksum; git -C a log -S 777 --oneline | cksum'
check "clone" sh -c 'git clone -q --no-local a b && git -C b rev-parse HEAD && git -C b fsck --no-progress'
daemon() {
	local daemon
	git daemon --base-path="$PWD" --export-all --enable=receive-pack --listen=127.0.0.1 >/dev/null 2>&1 &
	daemon=$!
	waits git ls-remote git://127.0.0.1/a
	for i in 1 2 3 4; do git clone -q git://127.0.0.1/a "c$i" & done
	wait %2 %3 %4 %5
	git init -q --bare p && git -C c1 push -q git://127.0.0.1/p main && git -C p rev-parse main
	git -C c4 rev-parse HEAD && git -C c4 fsck --no-progress
	kill "$daemon"
}
check "a server" daemon
check "rebase, stash, bisect" sh -c 'cd b && git checkout -q -b r HEAD~5 && echo x >x && git add x && git commit -q --date=@1 -m x && git rebase -q main >/dev/null && git log -1 --format=%s && echo y >x && git stash -q && git stash pop -q && git diff --stat && git checkout -q x && git bisect start -q HEAD HEAD~30 >/dev/null && git bisect run sh -c "[ \$(git rev-list --count HEAD) -lt 50 ]" | grep "first bad" | sed "s/ .*//" | wc -l'
check "archive" sh -c 'git -C a archive --format=tar HEAD | sha256sum'
check "damage is found" sh -c 'f=$(ls b/.git/objects/pack/*.pack | head -1); chmod +w $f; printf xxxx | dd of=$f bs=1 seek=2000 conv=notrunc 2>/dev/null; git -C b fsck --no-progress >/dev/null 2>&1; [ $? -ne 0 ] && echo damaged'
