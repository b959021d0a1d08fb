#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every script passes shellcheck, every Python file Python's own compiler. Each of these is first
# shown a script that is wrong: a check that cannot fail checks nothing.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck disable=SC2016  # the unquoted variable is meant to be in the text
if printf '#!/bin/bash\nrm $1\n' | shellcheck - >/dev/null; then
  echo 'shellcheck finds nothing wrong with an unquoted variable' && exit 1
fi
compile='import ast, sys; [ast.parse(open(name).read(), name) for name in sys.argv[1:]]'
if python3 -c "$compile" /dev/stdin <<<'def f(:' 2>/dev/null; then
  echo 'Python finds nothing wrong with a syntax error' && exit 1
fi

mapfile -d '' scripts < <(find . \( -name build -o -name .git \) -prune -o \
  \( -name '*.sh' -o -path './.ci/run' \) -print0)
mapfile -d '' modules < <(find . \( -name build -o -name .git \) -prune -o -name '*.py' -print0)
shellcheck --external-sources --source-path=SCRIPTDIR "${scripts[@]}"
python3 -c "$compile" "${modules[@]}"
echo "${#scripts[@]} scripts, ${#modules[@]} Python files"
