#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what third_party/packages.txt lists, with apt, and nothing else. Says nothing and takes
# no time when all is there; starts no service that a package brings.
set -euo pipefail

folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() {
  printf 'third_party/install.sh: %s\n' "$1" >&2
  exit 1
}

# Prints the listed packages that are not installed, or older than the list asks for.
missing_packages() {
  local package version rest installed
  declare -A versions=()
  while read -r package version; do
    versions[$package]=$version
  done < <(dpkg-query -W -f '${db:Status-Status} ${Package} ${Version}\n' 2>/dev/null |
    sed -n 's/^installed //p')
  while IFS='|' read -r package version rest; do
    package=${package//[[:space:]]/}
    version=${version//[[:space:]]/}
    [[ -z $package || $package == \#* ]] && continue
    [[ -n $version && -n $rest ]] || fail "packages.txt: the line of $package lacks columns"
    installed=${versions[$package]:-}
    if [[ -z $installed ]] || ! newer_or_equal "$installed" "$version"; then
      printf '%s\n' "$package"
    fi
  done <"$folder/packages.txt"
}

# dpkg's own comparison, asked only where the texts differ in more than a suffix: a process for
# each package would take longer than all the rest.
newer_or_equal() {
  [[ $1 == "$2"* ]] || dpkg --compare-versions "$1" ge "$2"
}

# While packages are installed, invoke-rc.d is told to start nothing: nginx is used by the tests
# with their own configuration only.
policy=/usr/sbin/policy-rc.d
kept=
forbid_services() {
  if [[ -e $policy || -L $policy ]]; then
    kept=$(mktemp -d)
    mv "$policy" "$kept/policy-rc.d"
  fi
  trap restore_services EXIT
  trap 'exit 130' INT TERM HUP
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 0755 "$policy"
}

restore_services() {
  rm -f "$policy"
  if [[ -n $kept ]]; then
    mv "$kept/policy-rc.d" "$policy"
    rmdir "$kept"
  fi
}

apt() {
  DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=120 "$@"
}

main() {
  command -v dpkg-query >/dev/null ||
    fail 'this is not a Debian system; install by hand what packages.txt lists'
  local list log missing
  list=$(missing_packages)
  [[ -n $list ]] || exit 0
  mapfile -t missing <<<"$list"
  [[ $EUID -eq 0 ]] || fail "not installed: ${missing[*]}. Run as root: sudo third_party/install.sh"

  printf 'Installing %d packages: %s\n' "${#missing[@]}" "${missing[*]}"
  log=$(mktemp)
  forbid_services
  # A list that cannot be fetched is only a warning to apt-get update; made an error here, so that
  # "no network" is told from "no such package".
  apt -o APT::Update::Error-Mode=any update >"$log" 2>&1 </dev/null || {
    tail -n 5 "$log" >&2
    fail 'the package lists could not be fetched: a network and a mirror in the apt sources?'
  }
  apt install --no-install-recommends "${missing[@]}" >"$log" 2>&1 </dev/null || {
    tail -n 20 "$log" >&2
    fail "apt could not install: ${missing[*]}"
  }
  rm -f "$log"
  list=$(missing_packages)
  [[ -z $list ]] || fail "too old in this release: ${list//$'\n'/ } (see packages.txt)"
}

main "$@"
