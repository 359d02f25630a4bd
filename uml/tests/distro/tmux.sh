#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# tmux.sh - a terminal: windows, keys, programs that draw
# shellcheck disable=SC2016 # what other programs expand
# shellcheck source=uml/tests/distro/lib.sh
. "${0%/*}/lib.sh"

t() { tmux -L test -f /dev/null "$@"; }
export TERM=screen PS1='$ '
session() {
	t new-session -d -s s -x 80 -y 24 'sh' && sleep 1
	t send-keys -t s 'echo hello $((6*7))' Enter && sleep 1
	t split-window -t s -h 'sh' && sleep 1
	t send-keys -t s:0.1 'seq 100 | tail -3' Enter && sleep 1
	t send-keys -t s:0.0 'stty size; sleep 100' Enter && sleep 1
	t send-keys -t s:0.0 C-c && sleep 1
	t send-keys -t s:0.0 'sleep 100' Enter && sleep 1
	t send-keys -t s:0.0 C-z && sleep 1
	t send-keys -t s:0.0 'jobs' Enter && sleep 1
	t capture-pane -p -t s:0.0
	t capture-pane -p -t s:0.1
	t resize-window -t s -x 100 -y 30 && sleep 1
	t list-panes -t s -F '#{pane_width} #{pane_height}'
	t new-window -t s 'seq 1 200 | less' && sleep 2
	t send-keys -t s:1 G && sleep 1
	t capture-pane -p -t s:1 | tail -n 5
	t send-keys -t s:1 q && sleep 1
	t list-windows -t s -F '#{window_index} #{window_panes}'
	t kill-server
}
check "a session" session
check "script" sh -c 'script -q -c "tty | sed s/[0-9]*//g; stty -a | head -1 | cut -c1-10" /dev/null'
check "many panes" sh -c 'tmux -L two -f /dev/null new-session -d -x 200 -y 200; for i in 1 2 3 4 5 6 7 8; do tmux -L two split-window -d -l 5 "yes | head -100000 | tail -1; exec sleep 100"; done; sleep 3; tmux -L two list-panes | wc -l; tmux -L two kill-server'
