#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# sqlite.sh - a database in a file, of several processes
# shellcheck source=uml/tests/distro/lib.sh
. "${0%/*}/lib.sh"

n=20000
! long || n=300000
check "queries" sqlite3 a.db "pragma journal_mode=wal; create table t(i integer primary key, k, m); with recursive c(x) as (select 1 union all select x+1 from c where x<$n) insert into t select x, (x*7919)%10007, hex(x*x) from c;
	create index tk on t(k); create index tm on t(m, k); analyze; select count(*), sum(k), max(m) from t; select k, count(*) from t group by k order by 2 desc, 1 limit 9;
	update t set k = k + 1 where i % 3 = 0; delete from t where i % 7 = 0; vacuum; select count(*), sum(k) from t; pragma integrity_check;"
check "text search, JSON" sqlite3 b.db "create virtual table f using fts5(x); insert into f select 'the ' || value || ' word' from json_each('[\"one\",\"two\",\"three\"]'); select * from f where f match 'two'; select json_extract('{\"a\":[1,2,{\"b\":3}]}', '\$.a[2].b');"
writers() {
	local i
	sqlite3 c.db 'pragma journal_mode=wal; create table w(p, n)'
	for i in 1 2 3 4; do
		for _ in $(seq 50); do echo "insert into w select $i, count(*) from w where p = $i;"; done | sqlite3 -cmd '.timeout 60000' c.db &
	done
	wait
	sqlite3 c.db 'select p, count(*), sum(n) from w group by p; pragma integrity_check'
}
check "several writers" writers
torn() {
	sqlite3 d.db 'create table w(n); insert into w values(0)'
	for _ in 1 2 3 4 5 6; do
		(for i in $(seq 2000); do echo "update w set n = n + 1; select 'at' || n from w;"; done | sqlite3 d.db >/dev/null) &
		sleep 0.3
		pkill -KILL -x sqlite3
		wait 2>/dev/null
	done
	sqlite3 d.db 'pragma integrity_check; select count(*) from w'
}
check "killed writers" torn
