#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# netfilter.sh - namespaces' networks and what filters them
# shellcheck disable=SC2016 # what other programs expand
# shellcheck source=uml/tests/distro/lib.sh
. "${0%/*}/lib.sh"

normal+=('s/time.*//' '/^(rtt|PING|64 bytes|$)/d' 's/if[0-9]+:?//g' 's/packets [0-9]+ bytes [0-9]+/COUNT/' 's/\[[0-9]+:[0-9]+\]/COUNT/' '/^#/d')
net() {
	ip netns add a && ip netns add b && ip netns add r
	ip link add a0 netns a type veth peer name ra netns r
	ip link add b0 netns b type veth peer name rb netns r
	ip -n a addr add 10.1.0.2/24 dev a0; ip -n b addr add 10.2.0.2/24 dev b0
	ip -n r addr add 10.1.0.1/24 dev ra; ip -n r addr add 10.2.0.1/24 dev rb
	for n in a b r; do ip -n "$n" link set lo up; done
	ip -n a link set a0 up; ip -n b link set b0 up; ip -n r link set ra up; ip -n r link set rb up
	ip -n a route add default via 10.1.0.1; ip -n b route add default via 10.2.0.1
	ip netns exec r sysctl -q net.ipv4.ip_forward=1
	ip -n a -4 -o addr | wc -l
}
check "namespaces and a router" net
at() { ip netns exec "$@"; }
check "ping" at a ping -c 20 -i 0.01 -q 10.2.0.2
check "ping -6" ping -6 -c 5 -i 0.01 -q ::1
rules() {
	at r nft -f - <<-'NFT'
		table inet f {
			chain more {
				counter reject
			}
			set bad {
				type ipv4_addr; flags interval
				elements = { 10.9.0.0/16, 10.2.0.99 }
			}
			map m {
				type inet_service : verdict
				elements = { 80 : accept, 81 : drop, 82 : jump more }
			}
			chain forward {
				type filter hook forward priority 0; policy drop
				ct state established,related accept
				ip daddr @bad drop
				icmp type echo-request limit rate 1000/second counter accept
				tcp dport vmap @m
			}
		}
		table ip n {
			chain pre {
				type nat hook prerouting priority -100
				tcp dport 8080 dnat to 10.2.0.2:80
			}
			chain post {
				type nat hook postrouting priority 100
				oifname "rb" masquerade
			}
		}
	NFT
	at r nft -s list ruleset
}
check "nft" rules
served() {
	local port
	for port in 80 81 82; do at b ncat -k -l -c 'echo "served $NCAT_REMOTE_ADDR"' "10.2.0.2" "$port" & done
	sleep 2
	at a ping -c 3 -i 0.01 -q 10.2.0.2
	for port in 80 81 82 8080; do echo "$port: $(at a ncat -w 2 --recv-only "$([ "$port" = 8080 ] && echo 10.1.0.1 || echo 10.2.0.2)" "$port" 2>&1)"; done
	kill %1 %2 %3
	at r nft -s list table inet f | grep -c counter
}
check "nft: what passes" served
check "nft: a thousand elements" sh -c 'ip netns exec r nft add table x; (echo "add set x s { type ipv4_addr; }"; for i in $(seq 0 999); do echo "add element x s { 10.$((i / 250)).$((i % 250)).1 }"; done) | ip netns exec r nft -f - && ip netns exec r nft list set x s | grep -o "10\." | wc -l'
check "nft: errors" sh -c 'echo "add rule no no accept" | nft -f -; nft add table t; nft add chain t c "{ type filter hook nowhere priority 0; }"; nft delete table t'
for iptables in iptables-nft iptables-legacy ip6tables-nft; do
	tables() { "$iptables" -N own && "$iptables" -A own -p tcp -m multiport --dports 80,443 -m comment --comment x -j RETURN && "$iptables" -A own -m conntrack --ctstate INVALID -j DROP && "$iptables" -A INPUT -s "$1" -j own && "$iptables-save" 2>/dev/null; "$iptables" -F; "$iptables" -X; "$iptables" -S; }
	check "$iptables" at a bash -c "iptables=$iptables; $(declare -f tables); tables $([ "$iptables" = ip6tables-nft ] && echo fd00::/8 || echo 10.0.0.0/8)"
done
bridge() {
	ip -n r link add br0 type bridge && ip -n r link add link rb name rb.7 type vlan id 7 && ip -n r link set rb.7 master br0 && ip -n r -o link show master br0 | wc -l
	ip -n r link add mv0 link ra type macvlan mode bridge && ip -n r link del mv0 && echo ok
}
check "bridge, vlan, macvlan" bridge
check "tun" sh -c 'ip tuntap add dev t0 mode tun && ip addr add 10.7.0.1/24 dev t0 && ip link set t0 up && ip -o link show t0 | wc -l && ip tuntap del dev t0 mode tun'
check "much over veth" sh -c 'ip netns exec b sh -c "ncat -l 10.2.0.2 80 | md5sum" & sleep 1; head -c 30000000 /dev/zero | ip netns exec a ncat -w 5 --send-only 10.2.0.2 80; wait'
check "ss" sh -c 'ss -Hltn | wc -l; ss -s | head -1 | cut -c1-5'
for n in a b r; do ip netns del "$n"; done
