// Before version 8, qemu hands a program the error of a connection (SO_ERROR) by the number that it has on this machine.
// MIPS has other numbers for those. Loaded into such a qemu, this gives it MIPS's.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/socket.h>

int getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
	int (*of_libc)(int, int, int, void *, socklen_t *) = dlsym(RTLD_NEXT, "getsockopt");
	int result = of_libc(fd, level, name, value, size);

	if (result == 0 && level == SOL_SOCKET && name == SO_ERROR) {
		int *error = value;
		switch (*error) {
		case ENETUNREACH: *error = 128; break;
		case ECONNRESET: *error = 131; break;
		case ETIMEDOUT: *error = 145; break;
		case ECONNREFUSED: *error = 146; break;
		case EHOSTUNREACH: *error = 148; break;
		}
	}
	return result;
}
