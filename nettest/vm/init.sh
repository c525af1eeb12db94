#!/bin/busybox sh
# The guest's first process: runs /run-tests and switches the machine off.
/bin/busybox --install -s /usr/bin
export PATH=/bin:/usr/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ln -s /proc/self/fd /dev/fd
mount -t tmpfs tmpfs /dev/shm 2>/dev/null
mkdir -p /var/lib /etc /root /src
echo /usr/bin/modprobe >/proc/sys/kernel/modprobe
ip link set lo up
stty -F /dev/ttyS1 raw -echo
sh /run-tests >/dev/ttyS1 2>&1 </dev/null
poweroff -f
