// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of seccomp stubs, kernel side: the pages that an address space shares
 * with its stub, and the end of stubs that are kept for other address spaces.
 */

#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/log2.h>
#include <linux/shrinker.h>
#include <linux/slab.h>

#include <as-layout.h>
#include <init.h>
#include <mm_id.h>
#include <stub-data.h>

/**
 * stub_guard_alloc() - Take a kept stub, or allocate the pages that a new one shares
 * @id:		The address space; its own copy is there already
 *
 * Return: 0, or -ENOMEM
 */
int stub_guard_alloc(struct mm_id *id)
{
	struct stub_guard *guard = stub_guard(id);
	int ret;

	if (!stub_guard_on)
		return 0;

	guard->listener = -1;
	if (stub_guard_parked) {
		guard->stub = kzalloc(os_stub_guard_record_size(), GFP_KERNEL);
		if (!guard->stub)
			return -ENOMEM;
	}
	while ((ret = stub_guard_take(id)) < 0)
		free_pages(guard->shared, ilog2(STUB_DATA_PAGES));
	if (ret)
		return 0;

	guard->shared = __get_free_pages(GFP_KERNEL | __GFP_ZERO,
					 ilog2(STUB_DATA_PAGES));
	ret = guard->shared ? os_stub_guard_prepare(id) : -ENOMEM;
	if (ret < 0) {
		free_pages(guard->shared, ilog2(STUB_DATA_PAGES));
		kfree(guard->stub);
	}
	return ret;
}

/**
 * stub_guard_free() - Free the pages that a stub has shared, which has ended
 * @id:		The address space
 */
void stub_guard_free(struct mm_id *id)
{
	if (!stub_guard_on)
		return;

	os_stub_guard_detach(id);
	free_pages(stub_guard(id)->shared, ilog2(STUB_DATA_PAGES));
	kfree(stub_guard(id)->stub);
}

/**
 * stub_guard_put() - Keep the stub of an address space that ends
 * @id:		The address space
 *
 * Return: 1 if it is kept, and with it all that it shares; 0 if it is to be ended
 */
int stub_guard_put(struct mm_id *id)
{
	if (!os_stub_guard_put(id))
		return 0;

	kfree(stub_guard(id)->stub);
	return 1;
}

static unsigned long kept_count(struct shrinker *shrinker,
				struct shrink_control *sc)
{
	return os_stub_guard_kept();
}

static unsigned long kept_scan(struct shrinker *shrinker,
			       struct shrink_control *sc)
{
	unsigned long pages, freed = 0;

	while (freed < sc->nr_to_scan) {
		pages = os_stub_guard_drop();
		if (!pages)
			break;
		free_pages(pages, ilog2(STUB_DATA_PAGES));
		freed++;
	}

	return freed ?: SHRINK_STOP;
}

/* Kept stubs end when memory is short */
static int __init stub_guard_shrinker(void)
{
	struct shrinker *shrinker;

	if (!stub_guard_parked)
		return 0;

	shrinker = shrinker_alloc(0, "stubguard");
	if (!shrinker)
		return -ENOMEM;
	shrinker->count_objects = kept_count;
	shrinker->scan_objects = kept_scan;
	shrinker_register(shrinker);
	return 0;
}
fs_initcall(stub_guard_shrinker);

/* A reboot runs another kernel in this process, which does not know the stubs */
static void stub_guard_stop(void)
{
	while (stub_guard_parked && os_stub_guard_drop())
		;
}

__uml_exitcall(stub_guard_stop);
