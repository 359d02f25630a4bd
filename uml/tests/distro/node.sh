#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# node.sh - an engine with compilers: workers, WebAssembly, child processes
# shellcheck source=uml/tests/distro/lib.sh
. "${0%/*}/lib.sh"

cp "$here/main.js" .
check "run" node main.js
check "run, the interpreter alone" node --jitless main.js
check "run, code is moved and thrown away" node --gc-interval=500 --always-sparkplug main.js
check "run, a small heap" node --max-old-space-size=64 --max-semi-space-size=1 main.js
check "an exception" node -e 'JSON.parse("{")' 2>/dev/null
check "out of memory" sh -c 'node --max-old-space-size=32 -e "const a = []; for (;;) a.push(new Array(1000).fill(1))" >/dev/null 2>&1; echo $?'
http() { node -e 'const h = require("http"); const s = h.createServer((q, r) => r.end(q.url)).listen(0, "127.0.0.1", async () => { let n = 0; const one = i => new Promise(d => h.get({ port: s.address().port, host: "127.0.0.1", path: "/" + i }, r => { r.on("data", x => n += Number(String(x).slice(1))); r.on("end", d) })); for (let i = 0; i < 20; i++) await Promise.all([...Array(25).keys()].map(one)); console.log(n); s.close(() => process.exit()) })'; }
check "a server and its clients" http
check "a cluster" node -e 'const c = require("cluster"); if (c.isPrimary) { let n = 0, left = 4; for (let i = 0; i < 4; i++) c.fork(); c.on("message", (w, m) => n += m); c.on("exit", () => --left || console.log(n)) } else process.send(7, () => process.exit())'
