#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# openssl.sh - ciphers, digests, keys, connections
# shellcheck source=uml/tests/distro/lib.sh
. "${0%/*}/lib.sh"

head -c 1000000 /dev/zero | openssl enc -aes-128-ctr -K 00 -iv 00 2>/dev/null >data
head -c 20000 data >some
digests() { for d in $(openssl list -digest-commands); do echo "$d $(openssl dgst "-$d" -r <data 2>&1 | cut -d' ' -f1)"; done; }
check "digests" digests
ciphers() {
	local c
	for c in $(openssl list -cipher-commands); do
		case $c in aes* | aria* | camellia* | chacha* | des* | sm4* | bf* | cast* | rc4*) ;; *) continue ;; esac
		openssl enc "-$c" -pbkdf2 -k secret -S 0011223344556677 -in some -out x 2>/dev/null && openssl enc -d "-$c" -pbkdf2 -k secret -S 0011223344556677 -in x 2>/dev/null | cmp - some && echo "$c $(cksum <x)"
	done
}
check "ciphers" ciphers
for key in "RSA -pkeyopt rsa_keygen_bits:3072" "EC -pkeyopt ec_paramgen_curve:P-384" ED25519 X25519 ED448; do
	# shellcheck disable=SC2086 # options
	passes "key: ${key%% *}" openssl genpkey -algorithm $key -out "key-${key%% *}"
done
signed() { openssl dgst -sha256 -sign key-RSA -out sig data && openssl dgst -sha256 -verify <(openssl pkey -in key-RSA -pubout) -signature sig data; }
check "a signature" signed
check "with the processor's plainest code" env OPENSSL_ia32cap=:0 openssl dgst -sha256 -r data
passes "certificate" openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -subj /CN=guest -days 2
connections() {
	local server c
	openssl s_server -accept 4433 -cert cert -key key -www -quiet >/dev/null 2>&1 &
	server=$!
	waits sh -c 'echo | openssl s_client -connect 127.0.0.1:4433 -brief'
	for c in $(openssl ciphers -s -tls1_2 'aRSA:!PSK:!SRP' | tr ':' ' '); do
		echo "$c $(printf 'GET / HTTP/1.0\r\n\r\n' | openssl s_client -connect 127.0.0.1:4433 -tls1_2 -cipher "$c" -quiet -ign_eof 2>/dev/null | head -n 1)"
	done
	for c in TLS_AES_128_GCM_SHA256 TLS_AES_256_GCM_SHA384 TLS_CHACHA20_POLY1305_SHA256; do
		echo "$c $(printf 'GET / HTTP/1.0\r\n\r\n' | openssl s_client -connect 127.0.0.1:4433 -tls1_3 -ciphersuites "$c" -quiet -ign_eof 2>/dev/null | head -n 1)"
	done
	kill "$server"
}
check "connections" connections
passes "speed, several processes" openssl speed -seconds 1 -multi 4 sha256
