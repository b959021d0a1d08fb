#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# stage.sh BUILD OUT: puts what the image has of ours, from a finished build, under OUT.
set -eu

build=$1 out=$2 source=$(cd "$(dirname "$0")/../.." && pwd)
install -d "$out/usr/bin" "$out/usr/lib/sluice" "$out/usr/share/doc/sluice"
for program in sluiced sluicectl; do
  install -m 0755 --strip "$build/cmd/$program/$program" "$out/usr/bin/$program"
done
for script in prepare-node.sh install-packages.sh; do
  install -m 0755 "$source/deploy/image/$script" "$out/usr/lib/sluice/$script"
done
install -m 0644 "$source/deploy/image/packages.txt" "$out/usr/lib/sluice/packages.txt"
install -m 0644 "$source/LICENSE" "$out/usr/share/doc/sluice/copyright"
