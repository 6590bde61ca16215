// Before version 8, qemu returns the error of a connection (SO_ERROR) with this machine's number. MIPS has other numbers.
// Preloaded into such a qemu, this translates them.

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
