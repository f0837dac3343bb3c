# only runsc: this machine's own root lacks capabilities, so runc cannot give all
run --privileged base sh -c 'grep -E "CapEff|CapBnd" /proc/self/status; mount -t tmpfs x /mnt && echo mounted; echo 4 > /proc/sys/kernel/msgmni && cat /proc/sys/kernel/msgmni'
#> CapEff:	0000003fffffffff
#> CapBnd:	0000003fffffffff
#> mounted
#> 4
