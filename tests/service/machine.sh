#!/bin/sh
# A machine of its own: systemd as PID 1 in the tree of a Debian, without a network but loopback. Nothing outlasts it.
#
#   machine.sh hold TREE CHANGES        show at CHANGES/root what TREE is with changes that are kept in memory, and stay
#                                       until standard input ends, as it does when who wants it is gone, however it went
#   machine.sh enter ROOT COMMAND ...   run a command in that tree, on the network of this machine
#   machine.sh start ROOT GROUPS        become PID 1 there, as a child of unshare; GROUPS: a fresh directory of cgroup2
set -eu
what=$1 root=$2
shift 2

case $what in
hold)
	mount -t tmpfs -o mode=755 tmpfs "$1"
	mkdir "$1/upper" "$1/work" "$1/root"
	mount -t overlay -o "lowerdir=$root,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
	echo held
	exec cat >/dev/null
	;;
enter)
	mount -t proc proc "$root/proc"
	mount --rbind /dev "$root/dev"
	exec chroot "$root" "$@"
	;;
start)
	echo 0 >"$1/cgroup.procs"
	exec unshare --cgroup -- "$0" boot "$root"
	;;
boot)
	mount --make-rprivate /
	cd "$root"
	mount -t proc proc proc
	mount -t sysfs -o ro sysfs sys
	mount -t cgroup2 cgroup2 sys/fs/cgroup
	mount -t tmpfs -o mode=755 tmpfs dev
	# Without a console, which systemd would take for its own. Read-only: who is root in there can use these devices of the
	# whole machine, and not change whose they are.
	for device in null zero full random urandom tty; do
		touch "dev/$device"
		mount --bind "/dev/$device" "dev/$device"
		mount -o remount,bind,ro "dev/$device"
	done
	mkdir dev/pts dev/shm
	mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
	ln -s pts/ptmx dev/ptmx
	ln -s /proc/self/fd dev/fd
	mount -t tmpfs -o mode=755 tmpfs run
	mount -t tmpfs -o mode=1777 tmpfs tmp
	ip link set lo up
	pivot_root . mnt
	umount -l /mnt
	# What a manager of containers has to do: else what systemd mounts for a service, such as its credentials, is not seen.
	mount --make-rshared /
	exec env -i container=syncd-service-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd >/dev/null 2>&1
	;;
esac
