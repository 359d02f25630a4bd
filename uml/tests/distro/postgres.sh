#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# postgres.sh - a database: SQL, load, a crash
# shellcheck source=uml/tests/distro/lib.sh
. "${0%/*}/lib.sh"

bin=$(dirname "$(find /usr/lib/postgresql -name initdb | tail -n 1)")
export PGDATA=$PWD/data PGHOST=$PWD PGUSER=postgres
user() { setpriv --reuid postgres --regid postgres --init-groups "$@"; }
ctl() { user "$bin/pg_ctl" -w -s -l "$PWD/log" -o "-k $PWD -c listen_addresses= -c max_parallel_workers_per_gather=2 -c min_parallel_table_scan_size=0" "$@"; }
sql() { user psql -X -A -t -v ON_ERROR_STOP=0 "$@"; }
normal+=('s/(latency|initial connection|tps|duration).*/\1/' 's/^.*(number of failed|NOTICE)/\1/')

passes "initdb" user "$bin/initdb" -A trust --locale=C.UTF-8 -k
passes "start" ctl start
n=20000
! long || n=200000
check "create" sql -c "create table t as select i, md5(i::text) m, (i * 7919) % 10007 k from generate_series(1, $n) i" -c "create index on t (k)" \
	-c "create index on t using hash (m)" -c "alter table t add primary key (i)" -c "vacuum analyze t" -c "select count(*), sum(k), max(m) from t"
check "queries" sql -c "select k, count(*), md5(string_agg(m, '' order by i)) from t group by k order by k limit 50" \
	-c "select count(*) from t a join t b on a.k = b.i" -c "select sum(s) from (select sum(k) over (partition by k % 10 order by i) s from t) x" \
	-c "with recursive f(a, b, n) as (select 0::numeric, 1::numeric, 0 union all select b, a + b, n + 1 from f where n < 300) select max(a) from f" \
	-c "select jsonb_object_agg(i, m) #>> '{17}' from (select * from t order by i limit 100) x" -c "select to_tsvector('english', 'the quick brown foxes jumped') @@ to_tsquery('fox & jump')"
check "a parallel query" sql -c "set parallel_setup_cost = 0" -c "set parallel_tuple_cost = 0" -c "explain (costs off) select count(*), sum(k) from t where m like '%a%'" \
	-c "select count(*), sum(k) from t where m like '%a%'"
check "errors" sql -c "select 1/0" -c "select sqrt(-1)" -c "insert into t values (1, '', 0)" -c "select exp(10000.0::float8)" -c "do \$\$ begin for i in 1..2000 loop begin perform 1/0; exception when others then null; end; end loop; end \$\$" -c "select 2"
check "a statement's timeout" sql -c "set statement_timeout = '300ms'" -c "select pg_sleep(100)" -c "select 3"
passes "pgbench -i" user pgbench -i -q -s 2 postgres
clients=4 count=100
! long || clients=16 count=400
check "pgbench" user pgbench -n -c "$clients" -j 4 -t "$count" --random-seed=7 postgres
check "pgbench's sums" sql -c "select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history), (select sum(bbalance) from pgbench_branches) = (select sum(tbalance) from pgbench_tellers), (select count(*) from pgbench_history)"
check "pgbench -S, prepared" user pgbench -n -S -M prepared -c "$clients" -j 2 -t $((count * 10)) --random-seed=7 postgres
load() {
	user pgbench -n -c 4 -T 30 postgres >/dev/null 2>&1 &
	sleep 3
	kill -KILL "$(head -n 1 "$PGDATA/postmaster.pid")"
	wait
	# Its children notice, and end.
	waits sh -c '! pgrep -u postgres postgres'
	ctl start && sql -c "select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)"
}
check "a crash and its recovery" load
check "dump and restore" sh -c "setpriv --reuid postgres --regid postgres --init-groups sh -c 'pg_dump -Fc -f dump postgres && createdb two && pg_restore -j 2 -d two dump && psql -X -A -t -c \"select count(*), sum(k) from t\" two'"
check "checksums" sh -c "setpriv --reuid postgres --regid postgres --init-groups $bin/pg_ctl -w -s stop && setpriv --reuid postgres --regid postgres $bin/pg_checksums -c | grep -i bad"
