#!/usr/bin/env bash
# Installs the real programs that tests talk to, where root and apt-get are there; says which stay missing, never fails.
# OVERREAD_NO_APT=1: install nothing, only say what is missing.
set -uo pipefail

# program or file that shows it is there : Debian packages that bring it
peers=(
  "Orthanc:orthanc"
  "/usr/share/orthanc/plugins/libOrthancDicomWeb.so:orthanc-dicomweb"
  "/usr/share/orthanc/plugins/libOrthancPython.so:orthanc-python"
  "storescu:dcmtk"
  "dciodvfy:dicom3tools"
  "java:default-jre-headless"
  "/usr/share/java/pixelmed.jar:libpixelmed-java libxalan2-java"
  "chromium:chromium"
  "nginx:nginx-light"
  "/usr/lib/postgresql:postgresql"
  "odil:odil"
  "strace:strace"
)

is_there() { if [[ $1 == /* ]]; then [ -e "$1" ]; else PATH=$PATH:/usr/sbin command -v "$1" >/dev/null; fi; }
missing_packages() { for peer in "${peers[@]}"; do is_there "${peer%%:*}" || printf '%s ' "${peer#*:}"; done; }

wanted=$(missing_packages)
[ -z "$wanted" ] && exit 0
if [ "${OVERREAD_NO_APT:-0}" = 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "peers: installing $wanted"
  # Debian starts a daemon on installing it; the tests start their own on their own ports.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && trap 'rm -f $policy' EXIT; fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq || echo "peers: apt-get update failed, trying with the lists at hand"
  # One by one: a package that cannot be had must not keep the others away.
  for package in $wanted; do
    apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>&1 || echo "peers: apt-get cannot install $package"
  done
fi
left=$(missing_packages)
[ -z "$left" ] || echo "peers: not here, their tests will be skipped and say so: $left (Debian packages)"
exit 0
