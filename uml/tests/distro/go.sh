#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# go.sh - a runtime that preempts its threads by signals; the tests of its own library
# shellcheck source=uml/tests/distro/lib.sh
. "${0%/*}/lib.sh"

export GOFLAGS=-mod=mod GOPROXY=off GOCACHE=$PWD/cache GOPATH=$PWD/path GO111MODULE=off GOTOOLCHAIN=local
cp "$here/main.go" .
passes "compile" go build -o main main.go
for procs in 1 2 8; do
	check "run, $procs threads" env GOMAXPROCS="$procs" ./main
done
check "run, a collection each time" env GOGC=1 ./main
packages="os/signal sync"
! long || packages+=" sync/atomic context time os os/exec net syscall bufio sort strconv math container/heap encoding/json compress/flate crypto/sha256 net/http/httptest"
! full || packages+=" runtime net/http crypto/tls runtime/debug runtime/pprof database/sql"
for name in $packages; do
	timeout -k 5 900 go test -short -v "$name" >"$out/test-${name//\//_}.log" 2>&1 </dev/null
	sed -nE 's/^ *--- (PASS|FAIL|SKIP): (\S+).*/\2 \1/p' "$out/test-${name//\//_}.log" | sort | while read -r test word; do result "$name $test" "$word"; done
	result "$name" "$(grep -cE '^(ok|FAIL)\s+'"$name" "$out/test-${name//\//_}.log")"
done
