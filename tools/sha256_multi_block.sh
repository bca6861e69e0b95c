#!/bin/sh
# sha256_multi_block.sh OUT CC...: OpenSSL's function of that name, with what it needs and no other visible
# name, taken out of the static libcrypto that compiler CC links. Fails where there is none.
set -eu
out=$1
shift
archive=$("$@" -print-file-name=libcrypto.a)
[ -f "$archive" ]
ld -r -d -u sha256_multi_block -o "$out" "$archive"
objcopy --keep-global-symbol=sha256_multi_block "$out"
nm "$out" | grep -q ' T sha256_multi_block$'
# what it takes from outside is the C library's: anything else would need the rest of the archive
! nm -u "$out" | grep -vqE ' (_GLOBAL_OFFSET_TABLE_|getenv|secure_getenv|__[a-z_]*chk|__isoc23_[a-z]*|__ctype_[a-z_]*|str[a-z]*|mem[a-z]*)(@.*)?$'
