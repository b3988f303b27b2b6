package stage

const sysSeccomp = 317 // SYS_SECCOMP
