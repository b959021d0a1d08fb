#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Layout of C and C++: what clang-format makes of it. With --fix, lays it out.
#
# bpf/ and those headers of maps/ that the BPF programs share are laid out as the kernel is
# (bpf/.clang-format; told by their licence line, as clang-format itself knows only folders),
# everything else as C++ (.clang-format).
set -euo pipefail

cd "${FORMAT_ROOT:-$(dirname "${BASH_SOURCE[0]}")/../..}"
if [[ ${1:-} == --fix ]]; then flags=(-i); else flags=(--dry-run -Werror); fi

kernel=() cpp=()
while IFS= read -r -d '' file; do
  if head -n 3 "$file" | grep -q 'SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause'; then
    kernel+=("$file")
  else
    cpp+=("$file")
  fi
done < <(find . \( -name build -o -name .git \) -prune -o \
  \( -name '*.c' -o -name '*.h' -o -name '*.cc' \) -print0)

status=0
[[ ${#kernel[@]} -eq 0 ]] ||
  clang-format --style=file:bpf/.clang-format "${flags[@]}" "${kernel[@]}" || status=1
[[ ${#cpp[@]} -eq 0 ]] ||
  clang-format --style=file:.clang-format "${flags[@]}" "${cpp[@]}" || status=1
[[ $status -eq 0 ]] || echo 'not laid out as clang-format does: test/check/format.sh --fix'
exit $status
