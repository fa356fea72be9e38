#!/bin/sh
# Let systemd judge the units of a directory, by default of this one: every line understood, hardly anything exposed.
set -eu
units=${1:-$(dirname "$0")}
exposure_max=15 # tenths of systemd's scale, on which an unconfined service has 95

if ! command -v systemd-analyze >/dev/null; then
	echo "skipped: systemd-analyze is not here, so nobody judges the units in $units"
	exit 0
fi

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
mkdir -p "$place/system" "$place/user" "$place/run"
for kind in system user; do
	[ $kind = system ] && unit=$units/syncd.service || unit=$units/user/syncd.service
	# The programs of a unit have to exist, and syncd need not be installed here.
	sed "s|^\(Exec[A-Za-z]*=\)[^ ]*|\1$(command -v true)|" "$unit" >"$place/$kind/syncd.service"
	XDG_RUNTIME_DIR=$place/run systemd-analyze --$kind verify --man=no --recursive-errors=no "$place/$kind/syncd.service"
done
systemd-analyze security --offline=true --threshold=$exposure_max --no-pager "$place/system/syncd.service" >"$place/report" || {
	cat "$place/report"
	exit 1
}
