#!/usr/bin/env bash
#
# Builds the extension with AddressSanitizer and UndefinedBehaviorSanitizer, runs the suites of
# scripts/test.sh with it in the stock server, and fails if anything is reported.
#
#   bash scripts/trust/sanitizers.sh [--quick]     --quick: without unit, pgtap and tap
#
# The server itself is not instrumented: what it allocates is known to AddressSanitizer, what is
# in its palloc chunks is not; that is for asserts.sh and valgrind.sh. PGXS compiles with -fwrapv,
# which makes signed overflow legal and hides it from the sanitizer; we do not want to rely on it,
# so it is turned off here.

set -euo pipefail

case ${1-} in
    '') suites=() ;;
    --quick) suites=(regress regress-preloaded isolation isolation-preloaded) ;;
    *)
        echo "usage: bash scripts/trust/sanitizers.sh [--quick]" >&2
        exit 2
        ;;
esac

# shellcheck source=scripts/trust/suites.sh
source "$(dirname "${BASH_SOURCE[0]}")/suites.sh"

# What the compiler suspects in instrumented code is no error; scripts/test.sh is strict without it.
FLAGS='-fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all'
FLAGS+=' -fno-wrapv -O1 -fno-omit-frame-pointer -Wno-error'

# A constructor of libgpg-error, which runs first, meets AddressSanitizer's in dlerror while
# neither is ready, and the server hangs: so something else has to allocate before all others.
build_first_malloc() {
    "${AS_USER[@]}" gcc -shared -fPIC -Wl,-z,initfirst -o "$TMP_ROOT/first_malloc.so" -x c - <<'C'
#include <stdlib.h>
__attribute__((constructor)) static void first(void) { free(malloc(1)); }
C
}

runtime() { gcc -print-file-name="$1"; }

choose_postgres
install_packages "${BUILD_PACKAGES[@]}" gcc
make_private_copy
build_first_malloc
wrap_server "
export LD_PRELOAD='$(runtime libasan.so) $(runtime libubsan.so) $TMP_ROOT/first_malloc.so'
export ASAN_OPTIONS='detect_leaks=0:abort_on_error=1'
export UBSAN_OPTIONS='print_stacktrace=1'
exec -a \"\$0\" \"\$0.unwrapped\" \"\$@\""
CS_BUILD_FLAGS=$FLAGS run_suites "${suites[@]}"
count_in_logs 'ERROR: AddressSanitizer|runtime error:|Sanitizer:DEADLYSIGNAL'
figure flags "$FLAGS"
figure compiler "$(g++ --version | head -n 1)"
end_part
