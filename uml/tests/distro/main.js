// SPDX-License-Identifier: GPL-2.0-only
// Compiled code, garbage, workers, WebAssembly, children. The output is always the same.
"use strict";
const { Worker, isMainThread, workerData, parentPort } = require("worker_threads");
const { execFileSync, spawn } = require("child_process");
const crypto = require("crypto");
const zlib = require("zlib");

function sieve(n) {
	const composite = new Uint8Array(n + 1);
	let count = 0;
	for (let i = 2; i <= n; i++) {
		if (composite[i]) continue;
		count++;
		for (let j = i * i; j <= n; j += i) composite[j] = 1;
	}
	return count;
}

function garbage(n) {
	let kept = [], sum = 0;
	for (let i = 0; i < n; i++) {
		kept[i % 1000] = { i, text: "x" + i, list: [i, i + 1] };
		sum = (sum + kept[(i * 7) % Math.min(i + 1, 1000)].list[1]) % 1000003;
	}
	return sum;
}

if (!isMainThread) {
	const shared = new Int32Array(workerData);
	for (let i = 0; i < 10000; i++) Atomics.add(shared, 0, 1);
	parentPort.postMessage(garbage(20000));
	return;
}

async function main() {
	console.log("sieve", sieve(500000));
	console.log("garbage", garbage(300000));
	console.log("sha", crypto.createHash("sha256").update("x".repeat(1e6)).digest("hex"));
	const packed = zlib.gzipSync(Buffer.alloc(1e6, "abcdefg"));
	console.log("gzip", zlib.gunzipSync(packed).equals(Buffer.alloc(1e6, "abcdefg")));
	const shared = new SharedArrayBuffer(4);
	const sums = await Promise.all([1, 2, 3, 4].map(() => new Promise((done, fail) => {
		const worker = new Worker(__filename, { workerData: shared });
		worker.on("message", done);
		worker.on("error", fail);
	})));
	await new Promise(done => setTimeout(done, 200));
	console.log("workers", new Int32Array(shared)[0], sums.join());
	// (func (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
	if (typeof WebAssembly !== "undefined") {
		const code = Uint8Array.from([0, 97, 115, 109, 1, 0, 0, 0, 1, 7, 1, 96, 2, 127, 127, 1, 127, 3, 2, 1, 0, 7, 7, 1, 3, 97, 100, 100,
			0, 0, 10, 9, 1, 7, 0, 32, 0, 32, 1, 106, 11]);
		const { instance } = await WebAssembly.instantiate(code);
		let n = 0;
		for (let i = 0; i < 200000; i++) n = instance.exports.add(n, i) | 0;
		console.log("wasm", n);
	}
	for (let i = 0; i < 5; i++) process.stdout.write(execFileSync("echo", ["child", String(i)]));
	const child = spawn("sleep", ["100"]);
	child.on("exit", (code, signal) => console.log("killed by", signal));
	setTimeout(() => child.kill(), 100);
	let ticks = 0;
	const timer = setInterval(() => { if (++ticks === 20) { clearInterval(timer); console.log("ticks", ticks); } }, 5);
}
main();
