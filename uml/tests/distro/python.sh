#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# python.sh - CPython's own tests; distro.py reads the cases in their XML
# shellcheck source=uml/tests/distro/lib.sh
. "${0%/*}/lib.sh"

# Those that suite.py leaves out for its kernels lack a network. Some need minutes.
tests="test_signal test_threading test_subprocess test_mmap test_os test_socket test_select test_selectors"
! long || tests+=" test_asyncio test_ssl test_ftplib test_httplib test_urllib2_localnet test_socketserver test_multiprocessing_fork
	test_concurrent_futures test_gc test_faulthandler test_eintr test_posix test_pty test_fcntl test_ctypes test_io test_tarfile
	test_zipfile test_sqlite3 test_logging test_queue test_thread test_fork1 test_wait4 test_resource test_xml_etree test_re test_dict
	test_generators test_descr test_compile test_peg_generator test_venv test_tracemalloc test_gdb"
! full || tests+=" test_multiprocessing_spawn test_multiprocessing_forkserver test_lib2to3 test_tokenize test_unicodedata test_decimal test_bigmem test_pickle"
for name in $tests; do
	status=0
	mkdir -p work
	(cd work && timeout -k 5 600 python3 -B -m test -v -u network,largefile,-gui -i test_itimer_virtual -i test_siginterrupt_off \
		--junit-xml "$out/$name.xml" "$name" >"$out/$name.log" 2>&1 </dev/null) || status=$?
	rm -rf work
	# 2: a test failed; the cases tell which. 3: no test was run
	[ -s "$out/$name.xml" ] || result "$name" "status $status"
done
