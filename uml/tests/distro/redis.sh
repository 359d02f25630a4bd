#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# redis.sh - a database in memory: commands, a fork for each snapshot, load
# shellcheck source=uml/tests/distro/lib.sh
. "${0%/*}/lib.sh"

cli() { redis-cli -s "$PWD/s" "$@"; }
start() {
	redis-server --unixsocket "$PWD/s" --port 6390 --dir "$PWD" --daemonize yes --appendonly yes --save '' --enable-debug-command yes --pidfile "$PWD/pid"
	# While it loads it answers, too.
	waits sh -c "[ \"\$(redis-cli -s '$PWD/s' ping)\" = PONG ]"
}
passes "start" start
n=20000
! long || n=200000
fill() {
	# shellcheck disable=SC2016 # lua
	cli eval 'for i = 1, ARGV[1] do redis.call("set", "k" .. i, string.rep(tostring(i), 5)); redis.call("zadd", "z", i % 1013, i); redis.call("hset", "h" .. i % 97, i, i * i); redis.call("sadd", "s", i % 5003) end return redis.call("dbsize")' 0 "$n"
	cli debug digest
}
check "fill" fill
check "commands" sh -c "redis-cli -s '$PWD/s' zrangebyscore z 5 5 limit 0 5; redis-cli -s '$PWD/s' scard s; redis-cli -s '$PWD/s' sort s limit 0 5 desc; redis-cli -s '$PWD/s' pfadd p a b c; redis-cli -s '$PWD/s' pfcount p"
saved() { cli bgsave && waits sh -c "redis-cli -s '$PWD/s' info persistence | grep -q rdb_bgsave_in_progress:0" && cli info persistence | grep -a rdb_last_bgsave_status; }
check "a snapshot" saved
rewritten() { cli bgrewriteaof && waits sh -c "redis-cli -s '$PWD/s' info persistence | grep -q aof_rewrite_in_progress:0" && cli info persistence | grep -a aof_last_bgrewrite_status; }
check "a rewrite" rewritten
requests=2000
! long || requests=20000
load() { redis-benchmark -p 6390 -q -n "$requests" -c 30 -t ping,set,get,incr,lpush,lrange_100,mset "$@" | tr '\r' '\n' | grep 'per second' | sed 's/:.*//'; }
check "load" load
check "load of several threads, in a pipeline" load --threads 3 -P 8
reloaded() { cli del key:__rand_int__ mylist counter:__rand_int__ >/dev/null; cli config set save '' >/dev/null; a=$(cli debug digest); cli debug reload; [ "$a" = "$(cli debug digest)" ] && echo same; }
check "reload" reloaded
killed() { cli debug digest >before; kill -KILL "$(cat pid)"; sleep 1; start && cli debug digest >after; if cmp before after; then echo same; else cat before after; fi; }
check "a crash and its recovery" killed
passes "memory test" redis-server --test-memory 16
cli shutdown nosave
