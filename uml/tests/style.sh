#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# style.sh [VERSION]: the kernel's own checkpatch.pl over the series and the glue. Each file of the glue must be brought by one
# patch of the series.
set -euo pipefail

# shellcheck source=uml/common.sh
. "$(dirname "$0")/../common.sh"

checkpatch=$cache_dir/src/linux-${1:-$(default_version)}/scripts/checkpatch.pl
[ -e "$checkpatch" ] || die "$(short "$checkpatch") is not there: make uml"

# arch/um's host side uses UM_KERN_ERR, which checkpatch does not know, and the C library's types, writes
# help texts at the left margin, and tests for ENOSYS.
ignore=ENOSYS,PRINTK_WITHOUT_KERN_LEVEL,PREFER_KERNEL_TYPES,PARENTHESIS_ALIGNMENT,FILE_PATH_CHANGES,COMMIT_MESSAGE
for patch in "$uml_dir"/series/*.patch; do
	perl "$checkpatch" --no-tree --strict --no-signoff --quiet --no-summary --ignore FILE_PATH_CHANGES,ENOSYS - <"$patch"
done
find "$uml_dir/glue" -name '*.[ch]' -print0 |
	xargs -0 -n 1 perl "$checkpatch" --no-tree --file --strict --quiet --no-summary --ignore "$ignore"
diff <(cd "$uml_dir/glue" && find . -type f -printf '%P\n' | sort) <(sed -n 's/^Brings: //p' "$uml_dir"/series/*.patch | sort) ||
	die "the lines \"Brings:\" of the series do not name each file of the glue once"
echo "ok, checkpatch finds nothing in the series and the glue"
