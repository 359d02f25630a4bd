#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# nginx.sh - a web server under load
# shellcheck disable=SC2094 # ab is a program and its output
# shellcheck source=uml/tests/distro/lib.sh
. "${0%/*}/lib.sh"

normal+=('/^(Server Software|Time|Requests|Transfer|Concurrency|Percent|Connect|Processing|Waiting|Total:|Completed|Finished| +[0-9]+%|This is|Copyright|Licensed|Benchmarking|$)/d' '/\[Kbytes|min  mean|Total transferred/d')
mkdir html
for i in 1 10 100 1000; do head -c "${i}000" /dev/zero | tr '\0' x >"html/$i"; done
cat >conf <<CONF
worker_processes 4; pid $PWD/pid; error_log $PWD/errors; user root;
events { worker_connections 256; }
http {
	access_log $PWD/access; gzip on; gzip_types *; sendfile on; keepalive_requests 1000; aio threads;
	server { listen 127.0.0.1:8080; root $PWD/html; location /up/ { proxy_pass http://127.0.0.1:8081/; } }
	server { listen 127.0.0.1:8081; root $PWD/html; }
	server { listen 127.0.0.1:8443 ssl; ssl_certificate $PWD/cert; ssl_certificate_key $PWD/key; root $PWD/html; }
}
CONF
passes "certificate" openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -subj /CN=guest -days 2
check "configuration" nginx -q -t -c "$PWD/conf"
passes "start" nginx -c "$PWD/conf"
n=500
! long || n=5000
for file in 1 100 1000 up/10; do
	check "load: $file" ab -q -n "$n" -c 20 "http://127.0.0.1:8080/$file"
done
check "load, connections kept, compressed" ab -q -k -n "$n" -c 20 -H 'Accept-Encoding: gzip' http://127.0.0.1:8080/100
check "load over TLS" sh -c "ab -q -n $((n / 5)) -c 10 https://127.0.0.1:8443/10 | grep -v -i '^ssl\|server temp\|tls'"
reload() {
	ab -q -n "$n" -c 10 http://127.0.0.1:8080/10 >ab &
	for _ in 1 2 3 4 5; do nginx -c "$PWD/conf" -s reload; sleep 0.3; done
	wait %1
	grep -E '^(Complete|Failed)' ab
}
check "reloads under load" reload
passes "stop" nginx -c "$PWD/conf" -s quit
