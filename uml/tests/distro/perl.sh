#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# perl.sh - an interpreter: forks, threads, signals, its modules
# shellcheck disable=SC2016 # what other programs expand
# shellcheck source=uml/tests/distro/lib.sh
. "${0%/*}/lib.sh"

check "version" perl -e 'print $]'
check "forks and pipes" perl -e 'for my $n (1 .. 200) { pipe my $r, my $w; my $p = fork // die; if (!$p) { print $w $n * $n; close $w; exit $n % 7 } close $w; $s += <$r>; waitpid $p, 0; $t += $? >> 8 } print "$s $t\n"'
check "threads" perl -Mthreads -Mthreads::shared -e 'my $n :shared = 0; $_->join for map { threads->create(sub { for (1 .. 500) { lock $n; $n++ } }) } 1 .. 8; print "$n\n"'
check "signals" perl -e '$SIG{USR1} = sub { $n++ }; for (1 .. 5000) { kill USR1 => $$ } print "$n\n"; $SIG{ALRM} = sub { die "late\n" }; alarm 1; eval { 1 while 1 }; print $@'
check "a hash of a million" perl -MDigest::MD5=md5_hex -e 'my %h; $h{$_ * 7919 % 1000003} = $_ for 1 .. 300000; print md5_hex(join ",", map { $h{$_} } sort { $a <=> $b } keys %h), "\n"'
check "expressions" perl -e 'my $t = join " ", map { $_ ** 2 } 1 .. 20000; my $n = () = $t =~ /\b(\d*)(\d)\2(\d*)\b/g; print "$n\n"; print "aaa" x 20 =~ /^(a+)+$/ ? "yes\n" : "no\n"'
check "compression" perl -MCompress::Zlib -MDigest::SHA=sha256_hex -e 'my $d = join "", map { chr($_ % 251) } 1 .. 500000; print sha256_hex(uncompress(compress($d))) eq sha256_hex($d) ? "same\n" : "differs\n"'
check "sockets" perl -MIO::Socket::INET -e 'my $l = IO::Socket::INET->new(Listen => 128, LocalAddr => "127.0.0.1") or die; for (1 .. 100) { if (!fork) { my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $l->sockport); print $s "$_\n"; exit } } for (1 .. 100) { my $c = $l->accept; $n += <$c> } print "$n\n"'
check "a crash" perl -e 'kill SEGV => $$; sleep 5'
check "memory" perl -e 'for (1 .. 20) { my $x = "x" x (8 << 20); $n += length $x } print "$n\n"'
check "big numbers" perl -Mbigint -e 'print 3 ** 2000 % 1000000007, "\n"'
