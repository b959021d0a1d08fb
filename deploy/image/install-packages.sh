#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Second stage of the image: the packages of packages.txt, which lies beside this script, and
# nothing that they only recommend. Run in the root that is to become the image.
set -eu

list=$(dirname "$0")/packages.txt
export DEBIAN_FRONTEND=noninteractive
# Debian's slim images leave documentation out; a root made with debootstrap does so by this.
cat >/etc/dpkg/dpkg.cfg.d/sluice <<'RULES'
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
RULES
apt-get update -q
# shellcheck disable=SC2046  # one word a line
apt-get install -y -q --no-install-recommends $(sed 's/#.*//' "$list")
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/lib/dpkg/*-old /var/log/apt \
  /var/log/dpkg.log /var/log/alternatives.log
