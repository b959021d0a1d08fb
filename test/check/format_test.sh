#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Shows that format.sh refuses either style where the other belongs.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir "$tree/bpf"
cp "$here/../../.clang-format" "$tree"
cp "$here/../../bpf/.clang-format" "$tree/bpf"
export FORMAT_ROOT=$tree
kernel='/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */'
cpp='// SPDX-License-Identifier: Apache-2.0'

# expect <good|bad> <file> <text>
expect() {
  local got=good
  printf '%s\n' "$3" >"$tree/$2"
  "$here/format.sh" >/dev/null 2>&1 || got=bad
  rm "$tree/$2"
  [[ $got == "$1" ]] || { echo "format.sh calls it $got, not $1: $3" && exit 1; }
}

kernel_text=$'int f(void)\n{\n\treturn 0;\n}'
cpp_text='int f() { return 0; }'
expect good bpf/a.h "$kernel"$'\n'"$kernel_text"
expect bad bpf/a.h "$kernel"$'\n'"$cpp_text"
expect good a.cc "$cpp"$'\n'"$cpp_text"
expect bad a.cc "$cpp"$'\n'"$kernel_text"
