package stage

const sysSeccomp = 277 // SYS_SECCOMP
