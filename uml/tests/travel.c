// SPDX-License-Identifier: GPL-2.0-only
/*
 * travel - tells the library of UML that the kernel is in time-travel mode
 *
 * To be loaded before libstubguard.so (LD_PRELOAD). A kernel that has that mode has no SMP, so it is another build.
 */
#define _GNU_SOURCE
#include <dlfcn.h>

#include "../../include/stubguard.h"

int stubguard_init(const struct stubguard_config *config)
{
	int (*init)(const struct stubguard_config *config);
	struct stubguard_config told = *config;

	*(void **)&init = dlsym(RTLD_NEXT, "stubguard_init");
	told.flags |= STUBGUARD_TIME_TRAVEL;
	return init(&told);
}
